// The chat page: which conversation is shown, and what the reader does with it.

import { copy, curl } from "./clipboard.js";
import * as composer from "./composer.js";
import { $, h, say as tell } from "./dom.js";
import { errorCard } from "./errors.js";
import { sidePanel } from "./frame.js";
import * as history from "./history.js";
import { t } from "./i18n.js";
import * as talk from "./conversation.js";
import * as scroll from "./scroll.js";
import { lookNow } from "./service.js";
import * as settings from "./settings.js";
import { read, write } from "./store.js";

const SETTINGS = ["temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens", "seed", "system", "stop"];

const live = new Map(); // conversations whose reply is being written, also while another one is shown
let conversation = new talk.Conversation();
let edited = null; // the last turn, while its message is written anew

const panels = {
  history: sidePanel($("history"), $("open-history"), { openWhenWide: true }),
  settings: sidePanel($("settings"), $("open-settings"), { openWhenWide: false }),
};

// -- which conversation --------------------------------------------------------------------------------------

async function open() {
  const id = location.hash.startsWith("#conv_") ? location.hash.slice(1) : null;
  if (id === conversation.id && (id || conversation.isEmpty)) return;
  panels.history.closeIfOver();
  const opened = live.get(id) ?? new talk.Conversation(id);
  present(opened);
  if (!id || opened.running) return;
  try {
    opened.loading = opened.load();
    await opened.loading;
    if (conversation !== opened) return;
    history.remember(id, opened.turns[0]?.input ?? t("history.untitled"), false);
    present(opened);
  } catch (error) {
    if (conversation === opened) notOpened(id, error);
  }
}

function notOpened(id, error) {
  const isGone = error.status === 404;
  if (isGone) history.forget(id);
  const again = () => {
    conversation = new talk.Conversation();
    open();
  };
  const anew = h("button", { type: "button", onclick: startNew }, h("span", { t: "history.new" }));
  $("turns").replaceChildren(errorCard(error, isGone ? { more: [anew] } : { again }));
}

function present(shown) {
  if (shown !== conversation) edit(null);
  conversation = shown;
  history.setCurrent(shown.id);
  $("turns").replaceChildren(...shown.turns.map((turn) => turn.element));
  $("greeting").hidden = !shown.isEmpty;
  composer.showRunning(Boolean(shown.running));
  settings.showSystem(shown.id && shown.turns.length ? shown.system : undefined);
  offerActions();
  scroll.toEnd();
}

function startNew() {
  if (location.hash) window.history.pushState(null, "", location.pathname + location.search);
  present(new talk.Conversation());
  panels.history.closeIfOver();
  $("input").focus();
}

/** Let the address name the conversation that is shown, or none. */
function showAddress() {
  const address = conversation.id ? `#${conversation.id}` : location.pathname + location.search;
  window.history.replaceState(null, "", address);
  history.setCurrent(conversation.id);
}

// -- saying --------------------------------------------------------------------------------------------------

/** Send a message, or with `turn` try that one again; returns false if a reply is still being written. */
function send(input, turn = null, seed = undefined) {
  const mine = conversation;
  if (mine.running) return false;
  if (mine.loading && !mine.isLoaded) {
    // Said before what was said earlier is there: it waits for that.
    mine.loading.then(() => conversation === mine && send(input), () => composer.write(input));
    return true;
  }
  const wrong = settings.firstWrong();
  if (wrong) {
    panels.settings.open();
    wrong.reportValidity();
    return false;
  }
  const fields = settings.fields(mine.system);
  if (seed !== undefined) fields.seed = seed;
  if (seed === null) delete fields.seed;
  if (isLooking()) fields.logprobs = talk.ALTERNATIVES;
  const view = turn ?? mine.add(input);
  if (!turn) $("turns").append(view.element);
  $("greeting").hidden = true;
  const reply = mine.answer(view, fields, {
    onBegin() {
      live.set(mine.id, mine);
      history.remember(mine.id, input, true);
      if (conversation === mine) showAddress();
    },
    onPiece() {
      if (conversation === mine) scroll.follow();
    },
  });
  offerActions();
  composer.showRunning(true);
  scroll.toEnd();
  reply.then((outcome) => ended(mine, view, outcome));
  return true;
}

function ended(mine, view, { error, lostId }) {
  live.delete(lostId ?? mine.id);
  if (lostId) history.forget(lostId);
  if (error) {
    view.fail(card(error, view));
    view.trouble.querySelector("input")?.focus(); // an API key is asked for
    lookNow();
  } else tell(view.text);
  if (conversation !== mine) return;
  composer.showRunning(false);
  showAddress();
  offerActions();
  scroll.follow();
}

function card(error, view) {
  const more = [];
  if (!view.isStored) {
    const edit = () => {
      conversation.drop(view);
      composer.write(view.input);
      $("greeting").hidden = !conversation.isEmpty;
      offerActions();
    };
    more.push(h("button", { type: "button", onclick: edit }, h("span", { t: "error.edit" })));
  }
  if (SETTINGS.includes(error.param)) {
    more.push(h("button", { type: "button", onclick: panels.settings.open }, h("span", { t: "error.settings" })));
  }
  if (error.code === "conversation_not_found") {
    more.push(h("button", { type: "button", onclick: startNew }, h("span", { t: "history.new" })));
    return errorCard(error, { more });
  }
  const { input, seed = null } = view.body;
  const again = () => {
    view.say(input); // where an edit failed, the message is the old one meanwhile
    send(input, view, seed);
  };
  return errorCard(error, { again, more });
}

/** Write the message of the last turn anew, or (null) leave that. */
function edit(view) {
  if (edited && !view) composer.write("");
  edited = view;
  $("editing").hidden = !view;
  if (view) composer.write(view.input);
}

/** Send what was written: a new message, or another one in place of the last. */
function say(input) {
  const view = edited;
  if (!view) return send(input);
  const before = view.input;
  view.say(input);
  const isSent = send(input, view, null);
  if (isSent) edit(null);
  else view.say(before);
  return isSent;
}

/** Each turn can be copied, the last one tried again too. */
function offerActions() {
  const { turns, running } = conversation;
  for (const view of turns) {
    const actions = [];
    const isLast = view === turns.at(-1);
    if (running && isLast) {
      view.offer([]);
      continue;
    }
    if (view.text) actions.push(["copy", "turn.copy", (button) => copy(view.text, button)]);
    if (isLast && !view.hasFailed) {
      actions.push(["retry", "turn.retry", () => send(view.input, view, null)]);
      if (view.seed !== undefined) actions.push(["same", "turn.same", () => send(view.input, view, view.seed)]);
      if (view.isStored) actions.push(["edit", "turn.edit", () => edit(view)]);
    }
    const body = isLast && conversation.lastRequest(view);
    if (body) actions.push(["terminal", "turn.curl", (button) => copy(curl("chat", body), button)]);
    view.offer(actions);
  }
  const last = turns.at(-1);
  $("look-later").hidden = Boolean(running) || last?.seed === undefined || last.hasTokens;
}

// -- looking inside ------------------------------------------------------------------------------------------

const isLooking = () => document.body.classList.contains("looking");

function look(isOn) {
  document.body.classList.toggle("looking", isOn);
  $("look").setAttribute("aria-pressed", String(isOn));
  $("legend").hidden = !isOn;
  write("look", isOn || undefined);
}

// -- start ---------------------------------------------------------------------------------------------------

composer.start({ send: say, stop: () => (edited ? edit(null) : conversation.running?.abort()) });
$("edit-no").addEventListener("click", () => edit(null));
history.start((id) => id === conversation.id && startNew());
$("new").addEventListener("click", startNew);
$("look").addEventListener("click", () => look(!isLooking()));
for (const each of document.querySelectorAll("[data-try]")) {
  each.addEventListener("click", () => send(t(each.dataset.try)));
}
addEventListener("hashchange", open);
addEventListener("popstate", open);
look(read("look", false));
open();
if (matchMedia("(hover: hover)").matches) $("input").focus();
