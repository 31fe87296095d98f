// What went wrong, in the reader's words, where it happened, and what can be done about it.

import { key, setKey } from "./api.js";
import { h } from "./dom.js";
import { setText } from "./i18n.js";

const BY_CODE = {
  weights_gone: "error.weights",
  too_many_at_once: "error.at_once",
  not_ready: "error.not_ready",
  engine_unavailable: "error.not_ready",
  draining: "error.draining",
  overloaded: "error.full",
  timeout: "error.timeout",
  database_unavailable: "error.database",
  context_length_exceeded: "error.too_long",
  conversation_busy: "error.busy",
  conversation_not_found: "error.gone",
  too_large: "error.too_long",
  engine_error: "error.internal",
  internal_error: "error.internal",
};

const BY_STATUS = {
  0: "error.unreachable",
  401: "error.key",
  403: "error.forbidden",
  404: "error.missing",
  413: "error.too_long",
  429: "error.often",
  503: "error.full",
};

/** The key of the words for an error. */
export function wordsFor(error) {
  if (error.status === 429 && error.code === "queue_full") return "error.queue";
  if (error.code in BY_CODE) return BY_CODE[error.code];
  if (error.status in BY_STATUS) return BY_STATUS[error.status];
  return error.status < 500 ? "error.field" : "error.internal";
}

/** A card about an error. `again` tries once more; `more` are further buttons. */
export function errorCard(error, { again, more = [] } = {}) {
  const isUnknown = error.status === undefined;
  if (isUnknown) console.error(error);
  const card = h(
    "div",
    { class: "notice bad", role: "alert" },
    h("p", { class: "what", t: isUnknown ? "error.page" : wordsFor(error) }),
    h("p", { class: "quiet detail", dir: "auto", translate: "no" }, detail(error)),
  );
  if (error.status === 401) card.append(keyForm(again));
  else if (again) card.append(h("div", { class: "row" }, againButton(again, error.retryAfter), ...more));
  else if (more.length) card.append(h("div", { class: "row" }, ...more));
  return card;
}

const detail = (error) => [error.message, error.requestId && `(${error.requestId})`].filter(Boolean).join(" ");

/** Try again, once the service wants to hear of it. */
function againButton(again, seconds) {
  const words = h("span", { t: "again" });
  const button = h("button", { type: "button", onclick: again }, words);
  let left = Math.min(Math.ceil(seconds ?? 0), 3600);
  const tick = () => {
    button.disabled = left > 0;
    setText(words, left > 0 ? "again.in" : "again", left > 0 ? { seconds: left } : undefined);
    if (left > 0) setTimeout(tick, 1000);
    left -= 1;
  };
  tick();
  return button;
}

/** The service asks for an API key: here is where to give it. */
function keyForm(again) {
  const field = h("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true });
  field.value = key();
  const form = h(
    "form",
    { class: "key-form" },
    h("label", {}, h("span", { t: "key" }), field),
    h("button", { type: "submit", class: "primary" }, h("span", { t: "key.use" })),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setKey(field.value.trim());
    document.dispatchEvent(new Event("key"));
    again?.();
  });
  return form;
}
