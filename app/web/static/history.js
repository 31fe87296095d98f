// The conversations of this browser: their ids are kept here, what was said is the service's to tell.

import { call } from "./api.js";
import { $, ask, h, icon } from "./dom.js";
import { t } from "./i18n.js";
import { read, watch, write } from "./store.js";

const MOST = 200;
const NAME = "conversations";

const all = () => read(NAME, []);

/** Remember a conversation; with `isNewest` that it has just gone on. */
export function remember(id, title, isNewest) {
  const known = all();
  const found = known.find((each) => each.id === id);
  if (found && !isNewest) return;
  const first = found ?? { id, title: title.trim().replace(/\s+/g, " ").slice(0, 80) };
  write(NAME, [first, ...known.filter((each) => each !== found)].slice(0, MOST));
  show();
}

export function forget(id) {
  write(NAME, all().filter((each) => each.id !== id));
  show();
}

let current = null;
let erased = () => {};

export function setCurrent(id) {
  current = id;
  show();
}

/** `onErased` is called with the id of a conversation that the reader has erased. */
export function start(onErased) {
  erased = onErased;
  watch(NAME, show);
  document.addEventListener("language", show);
  show();
}

function show() {
  const known = all();
  $("no-conversations").hidden = known.length > 0;
  $("conversations").replaceChildren(...known.map(item));
}

function item({ id, title }) {
  const bin = h("button", { type: "button", class: "ghost square", onclick: () => erase(id) }, icon("bin"));
  bin.setAttribute("aria-label", t("history.erase", { title }));
  return h(
    "li",
    {},
    h("a", { href: `#${id}`, "aria-current": id === current ? "true" : null, dir: "auto" }, title),
    bin,
  );
}

async function erase(id) {
  if (!(await ask("history.erase.ask", "history.erase.yes"))) return;
  try {
    await call(`conversations/${id}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) {
      $("conversations").before(refused());
      return;
    }
  }
  forget(id);
  erased(id);
}

function refused() {
  const notice = h("p", { class: "notice bad", role: "alert", t: "history.erase.failed" });
  setTimeout(() => notice.remove(), 8000);
  return notice;
}
