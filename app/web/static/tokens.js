// A reply's text and, where it came with probabilities, its tokens: tinted, each with what else might have stood there.

import { $, h } from "./dom.js";
import { number, t } from "./i18n.js";

const STEPS = [0.05, 0.2, 0.5, 0.8];

/** Which of five tints a probability has: 0 is the least likely. */
const tint = (p) => STEPS.filter((step) => p >= step).length;

const percent = (p) => (p < 0.0005 ? "< 0.1%" : `${number(100 * p, 1)}%`);

/** A token's text with its blanks to be seen. */
const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅";

/** Text that grows. Pieces without a token are plain; tokens whose text is not yet certain wait for it. */
export class TokenText {
  constructor(element) {
    this.element = element;
    this.text = "";
    this.count = 0;
    this.hasTokens = false;
    this._waiting = [];
    element.addEventListener("keydown", (event) => this._move(event));
  }

  add(text, token) {
    this.text += text;
    this.count += 1;
    if (token) this._waiting.push(token);
    if (!text) return;
    if (this._waiting.length) this._append(text);
    else this._appendPlain(text);
  }

  /** No more will come. What still waits has no text of its own: it is what ended the reply. */
  end(finishReason) {
    if (this._waiting.length && finishReason === "stop") this._append("∎", "end");
    this._waiting = [];
  }

  _appendPlain(text) {
    const last = this.element.lastChild;
    if (last?.nodeType === Node.TEXT_NODE) last.appendData(text);
    else this.element.append(text);
  }

  _append(text, kind = "") {
    const tokens = this._waiting;
    this._waiting = [];
    const p = Math.exp(tokens.reduce((sum, token) => sum + token.logprob, 0));
    const first = !this.hasTokens;
    this.hasTokens = true;
    const span = h("span", { class: `token ${kind}`, role: "button", tabindex: first ? 0 : -1, "data-p": tint(p) }, text);
    if (kind) span.setAttribute("aria-label", t("look.end"));
    span.addEventListener("pointerenter", () => show(span, tokens));
    span.addEventListener("pointerleave", hide);
    span.addEventListener("focus", () => show(span, tokens));
    span.addEventListener("blur", hide);
    span.addEventListener("click", () => span.focus());
    this.element.append(span);
  }

  _move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const all = [...this.element.querySelectorAll(".token")];
    const at = all.indexOf(event.target);
    if (event.key === "Escape") hide();
    if (at < 0) return;
    const next = { Home: all[0], End: all.at(-1) }[event.key] ?? (step && all[at + step]);
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}

// -- what stands beside a token while it is pointed at -------------------------------------------------------

let shown = null;

function show(span, tokens) {
  if (!document.body.classList.contains("looking")) return;
  const card = $("alternatives");
  card.replaceChildren(...tokens.map(table));
  card.hidden = false;
  shown?.removeAttribute("aria-describedby");
  shown = span;
  span.setAttribute("aria-describedby", "alternatives");
  place(card, span.getClientRects()[0] ?? span.getBoundingClientRect());
}

function hide() {
  $("alternatives").hidden = true;
  shown?.removeAttribute("aria-describedby");
  shown = null;
}

/** What might have stood at a place, the likeliest first, and which of it does. */
function table(token) {
  const isChosen = (each) => each.token === token.token && each.logprob === token.logprob;
  const rows = token.top.some(isChosen) ? token.top : [...token.top, token];
  return h("div", { class: "place" }, ...rows.map((each) => row(each, isChosen(each))));
}

function row({ token, logprob }, isChosen) {
  const p = Math.exp(logprob);
  const bar = h("span", { class: "share" });
  bar.style.width = `${Math.max(1, 100 * p)}%`;
  return h(
    "div",
    { class: isChosen ? "alternative is-chosen" : "alternative" },
    h("code", {}, visible(token)),
    h("span", { class: "track" }, bar),
    h("span", { class: "percent" }, percent(p)),
  );
}

/** Put the card above the token, or below where there is no room; always within the window. */
function place(card, at) {
  const { width, height } = card.getBoundingClientRect();
  const left = Math.min(Math.max(8, at.left + at.width / 2 - width / 2), innerWidth - width - 8);
  const above = at.top - height - 8;
  card.style.left = `${left}px`;
  card.style.top = `${above >= 8 ? above : at.bottom + 8}px`;
}

addEventListener("scroll", hide, { capture: true, passive: true });
