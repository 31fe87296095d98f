// The settings panel: what is sent with a message. What was never touched isn't sent, and the service's defaults hold.

import { key, setKey } from "./api.js";
import { $ } from "./dom.js";
import { read, write } from "./store.js";

const NAME = "settings";
const form = $("settings-form");
const numbers = [...form.querySelectorAll(".number")].map((field) => new NumberField(field));
const texts = { seed: $("seed"), system: $("system"), stop: $("stop-strings") };

function NumberField(field) {
  const [exact, slider] = field.querySelectorAll("input");
  const bound = (value) => Math.min(Number(exact.max), Math.max(Number(exact.min), value));
  this.name = exact.name;
  this.value = () => (exact.value === "" ? undefined : bound(Number(exact.value)));
  this.set = (value) => {
    exact.value = value === undefined ? "" : bound(value);
    slider.value = value ?? field.dataset.default;
  };
  slider.addEventListener("input", () => {
    exact.value = slider.value;
    keep();
  });
  exact.addEventListener("change", () => {
    this.set(this.value());
    keep();
  });
}

function keep(event) {
  const kept = Object.fromEntries(numbers.map((field) => [field.name, field.value()]));
  for (const [name, field] of Object.entries(texts)) kept[name] = field.value || undefined;
  // What stands there may be that of an old conversation; only one that was written here is kept for new ones.
  if (event?.target !== texts.system) kept.system = read(NAME, {}).system;
  write(NAME, kept);
}

function fill(kept) {
  for (const field of numbers) field.set(kept[field.name]);
  for (const [name, field] of Object.entries(texts)) field.value = kept[name] ?? "";
}

/** The first field that can't be sent as it is. */
export const firstWrong = () => [...form.elements].find((field) => field.willValidate && !field.checkValidity());

/** The fields of a request; `systemInForce` is the conversation's system message so far. */
export function fields(systemInForce) {
  const found = {};
  for (const field of numbers) {
    if (field.value() !== undefined) found[field.name] = field.value();
  }
  if (texts.seed.value) found.seed = Number(texts.seed.value);
  const stop = texts.stop.value.split("\n").filter(Boolean);
  if (stop.length) found.stop = stop;
  const system = texts.system.value.trim();
  if (system !== systemInForce) found.system = system;
  return found;
}

/** Show the system message of a conversation, or the one that new conversations begin with. */
export function showSystem(text = read(NAME, {}).system ?? "") {
  texts.system.value = text;
}

/** Show the field for an API key: the service asks for one. */
export function showKey() {
  $("key").value = key();
  $("key-field").hidden = !key();
}

for (const field of Object.values(texts)) field.addEventListener("input", keep);
$("key").addEventListener("change", () => {
  setKey($("key").value.trim());
});
$("defaults").addEventListener("click", () => {
  fill({ system: texts.system.value });
  keep();
});
form.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("key", showKey);
fill(read(NAME, {}));
showKey();
