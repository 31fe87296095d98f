// The form of a training run: what it asks for, how big the network is, and which option the service found wrong.

import { $ } from "./dom.js";
import { setText, t } from "./i18n.js";

const form = $("options");
const INPUTS = 28 * 28;
const CLASSES = 10;
const NUMBERS = ["epochs", "batch_size", "dropout", "learning_rate", "momentum", "train_fraction", "validation_split", "early_stopping", "seed", "workers"];
const CHOICES = ["dataset", "optimizer", "loss"];

/** The widths of the hidden layers; null if that isn't a list of numbers. */
function hiddenUnits() {
  const parts = $("hidden_units").value.split(/[\s,，、]+/).filter(Boolean);
  return parts.every((part) => /^\d{1,6}$/.test(part)) ? parts.map(Number) : null;
}

/** The options as the service takes them; what is empty is left to it. */
export function options() {
  const found = { augment: $("augment").checked };
  for (const name of CHOICES) found[name] = $(name).value;
  for (const name of NUMBERS) {
    if ($(name).value !== "" && !$(name).disabled) found[name] = Number($(name).value);
  }
  const units = hiddenUnits();
  found.hidden_units = units === null ? $("hidden_units").value : units.length === 1 ? units[0] : units;
  return found;
}

/** Fill the form with the options of an earlier run. */
export function fill(given) {
  const { early_stopping: patience } = given;
  const shown = { ...given, early_stopping: patience === true ? 2 : patience || "" };
  for (const name of [...CHOICES, ...NUMBERS]) $(name).value = shown[name] ?? "";
  $("hidden_units").value = [given.hidden_units].flat().join(", ");
  $("augment").checked = given.augment;
  changed();
}

/** Mark the field that can't be used; returns whether there is such a field. */
export function showWrong(name, message) {
  const field = name && $(name);
  if (!field || !form.contains(field)) return false;
  $(`${name}-wrong`).textContent = message;
  $(`${name}-wrong`).hidden = false;
  field.setAttribute("aria-invalid", "true");
  field.closest("details:not([open])")?.setAttribute("open", "");
  field.focus();
  return true;
}

/** The first field whose value is out of its bounds, and what is wrong with it: mostly in the browser's own words. */
export function firstWrong() {
  if (hiddenUnits() === null) return ["hidden_units", t("opt.hidden_units.wrong")];
  const field = [...form.elements].find((each) => each.willValidate && !each.checkValidity());
  return field ? [field.name, field.validationMessage] : null;
}

function changed() {
  for (const wrong of form.querySelectorAll(".wrong")) wrong.hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  $("momentum").disabled = $("optimizer").value !== "sgd";
  $("learning_rate").placeholder = $("optimizer").value === "sgd" ? "0.01" : "0.001";
  const units = hiddenUnits();
  $("shape").hidden = units === null;
  if (units === null) return;
  const widths = [INPUTS, ...units, CLASSES];
  const parameters = widths.slice(1).reduce((sum, width, i) => sum + width * (widths[i] + 1), 0);
  setText($("shape"), "train.shape", { widths: widths.join(" → "), parameters });
}

form.addEventListener("input", changed);
changed();
