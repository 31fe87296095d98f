// Copying, also where the browser's clipboard is closed to pages that come without TLS.

import { key } from "./api.js";
import { say } from "./dom.js";
import { setText, t } from "./i18n.js";

export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text);
  }
  const words = button.querySelector("[data-t]");
  const before = words.dataset.t;
  if (before === "copied") return;
  setText(words, "copied");
  say(t("copied"));
  setTimeout(() => setText(words, before), 1500);
}

function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** A request as a command line. An API key is left to a variable, so that it does not travel along. */
export function curl(path, body) {
  const lines = [`curl -N ${quote(new URL(path, location.href).href.replace(/#.*/, ""))}`];
  lines.push(`-H 'Content-Type: application/json'`);
  if (key()) lines.push(`-H "Authorization: Bearer $TROIKA_API_KEY"`);
  lines.push(`-d ${quote(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
