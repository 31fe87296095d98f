// One turn as it is shown: what was said, the reply as it comes, what became of it, and what can be done with it.

import { button, h } from "./dom.js";
import { number, setText } from "./i18n.js";
import { TokenText } from "./tokens.js";

export class TurnView {
  constructor(input) {
    this.input = input;
    this.said = input; // what the service was last known to have been told
    this.isStored = false; // whether the service has it
    this.isUncertain = false; // whether that could not be found out
    this.body = null; // the request that it was last sent with
    this.waiting = h("p", { class: "waiting", hidden: true }, h("span", { class: "pulse" }), h("span"));
    this.meta = h("p", { class: "meta quiet" });
    this.actions = h("div", { class: "actions" });
    this.trouble = h("div", { class: "trouble" });
    this.element = h(
      "article",
      { class: "turn" },
      h("h2", { class: "unseen", t: "you" }),
      h("p", { class: "said", dir: "auto" }, input),
      h("h2", { class: "unseen", t: "model" }),
      h("div"),
      this.waiting,
      this.trouble,
      this.meta,
      this.actions,
    );
    this.reset();
  }

  /** Another message in place of the one that was said. */
  say(input) {
    this.input = input;
    this.element.querySelector(".said").textContent = input;
  }

  get reply() {
    return this.element.children[3];
  }

  get text() {
    return this.content.text;
  }

  get hasBegun() {
    return this.content.count > 0;
  }

  get hasTokens() {
    return this.content.hasTokens;
  }

  get hasFailed() {
    return this.trouble.hasChildNodes();
  }

  get seed() {
    return this.facts?.seed;
  }

  /** Back to a turn that has no reply yet. */
  reset() {
    this.content = new TokenText(h("div", { class: "reply", dir: "auto" }));
    this.reply.replaceWith(this.content.element);
    this.facts = null;
    this.ahead = null; // how many requests wait before this one, once the service has told
    for (const part of [this.meta, this.actions, this.trouble]) part.replaceChildren();
    this.wait(null);
  }

  /** What is shown now, to `restore` it when another reply comes to nothing. */
  keep() {
    return { input: this.said, content: this.content, facts: this.facts };
  }

  restore({ input, content, facts }) {
    this.reset();
    this.say(input);
    this.reply.replaceWith(content.element);
    this.content = content;
    this.end(facts ?? {});
    this.isStored = true;
  }

  /** Show a turn as the service has stored it; what is shown already stays, with its tokens. */
  showStored(turn) {
    if (!turn.reply.startsWith(this.text) || !this.text) this.reset();
    this.say(turn.input);
    this.said = turn.input;
    this.content.add(turn.reply.slice(this.text.length));
    this.end(turn);
    this.isStored = true;
  }

  /** Say what is waited for; null: nothing any more. */
  wait(key, values) {
    this.waiting.hidden = !key;
    if (key) setText(this.waiting.lastChild, key, values);
  }

  add({ text, token }) {
    this.wait(null);
    this.content.add(text, token);
  }

  /** The end, with the facts: {finish_reason, usage, seed, timing, context}, as far as they are known. */
  end(facts) {
    this.wait(null);
    this.facts = facts;
    this.content.end(facts.finish_reason);
    const { finish_reason: reason, usage, timing, seed, context } = facts;
    const parts = [];
    if (reason === "cancelled") parts.push("turn.stopped");
    if (reason === "length") parts.push("turn.cut");
    if (usage?.completion_tokens) parts.push(["turn.tokens", { count: usage.completion_tokens }]);
    if (timing?.tokens_per_s) parts.push(["rate", { rate: number(timing.tokens_per_s, 1) }]);
    if (seed !== undefined) parts.push(["turn.seed", { seed: String(seed) }]);
    if (context?.turns_dropped) parts.push(["turn.dropped", { count: context.turns_dropped }]);
    this.meta.replaceChildren(...parts.map((words) => h("span", { t: words })));
  }

  fail(card) {
    this.wait(null);
    this.trouble.replaceChildren(card);
  }

  /** What can be done: a list of [icon, key of the words, listener]. */
  offer(actions) {
    this.actions.replaceChildren(
      ...actions.map(([iconName, key, act]) => {
        const made = button(iconName, key, () => act(made));
        return made;
      }),
    );
  }
}
