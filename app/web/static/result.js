// What a finished run has come to: confusion matrix, worst mistakes, layers, and what the network costs.

import { h } from "./dom.js";
import { number, setAttribute } from "./i18n.js";

const DIGITS = [...Array(10).keys()];

const card = (key, ...children) => h("section", { class: "card" }, h("h3", { t: key }), ...children);
const percent = (share, digits = 2) => `${number(100 * share, digits)}%`;

/** The cards of a result; `onPick` is called with the image (a data URL) of a mistake that is pointed at. */
export function resultCards({ confusion_matrix: matrix, mistakes, summary, cost }, onPick) {
  return [matrixCard(matrix), mistakesCard(mistakes, onPick), layersCard(summary), costCard(cost)];
}

function matrixCard(matrix) {
  const head = h("tr", {}, h("td"), ...DIGITS.map((digit) => h("th", { scope: "col" }, String(digit))));
  const rows = matrix.map((counts, digit) => {
    const all = counts.reduce((sum, count) => sum + count, 0) || 1;
    return h("tr", {}, h("th", { scope: "row" }, String(digit)), ...counts.map((count, read) => cell(count, all, digit, read)));
  });
  return card(
    "matrix",
    h("p", { class: "quiet", t: "matrix.about" }),
    h("table", { class: "matrix" }, h("thead", {}, head), h("tbody", {}, ...rows)),
  );
}

function cell(count, all, digit, read) {
  const isRight = digit === read;
  const made = h("td", { class: isRight ? "right" : count ? "mistaken" : null }, count || "");
  // Mistakes are rare: their tint grows with the root of their share, so that they can be told apart.
  made.style.setProperty("--share", isRight ? count / all : Math.min(1, Math.sqrt((4 * count) / all)));
  setAttribute(made, "title", "matrix.cell", { digit, read, count });
  return made;
}

function mistakesCard(mistakes, onPick) {
  if (!mistakes.length) return card("mistakes", h("p", { class: "quiet", t: "mistakes.none" }));
  const items = mistakes.map(({ image, label, predicted, confidence }) => {
    const source = `data:image/png;base64,${image}`;
    const words = ["mistakes.one", { label, predicted, confidence: percent(confidence, 1) }];
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", onclick: () => onPick(source) },
        h("img", { src: source, alt: "", width: 56, height: 56 }),
        h("span", { class: "unseen", t: words }),
        h("span", { "aria-hidden": "true" }, `${label} → `, h("b", {}, String(predicted))),
        h("span", { class: "quiet", "aria-hidden": "true" }, percent(confidence, 1)),
      ),
    );
  });
  return card("mistakes", h("p", { class: "quiet", t: "mistakes.about" }), h("ul", { class: "mistakes" }, ...items));
}

function layersCard(summary) {
  const total = summary.reduce((sum, layer) => sum + layer.parameters, 0);
  return card(
    "layers",
    table(
      ["layers.name", "layers.type", "layers.shape", "layers.parameters"],
      summary.map((layer) => [layer.name, layer.type, layer.output_shape.join(" × "), number(layer.parameters)]),
      [h("span", { t: "layers.total" }), "", "", number(total)],
    ),
  );
}

function costCard(cost) {
  const counts = [
    ["cost.parameters", number(cost.parameters)],
    ["cost.multiply_adds", number(cost.multiply_adds_forward)],
    ["cost.forward", number(cost.forward_flops)],
    ["cost.backward", number(cost.backward_flops)],
  ].map(([key, value]) => [h("span", { t: key }), value]);
  const times = [
    ["cost.step", time(cost.predicted_step_s), time(cost.measured_step_s)],
    ["cost.total", time(cost.predicted_total_s), time(cost.measured_total_s)],
  ].map(([key, ...values]) => [h("span", { t: key }), ...values]);
  const { overhead_s: overhead, flops_per_s: speed, seconds_per_parameter: each } = cost.calibration;
  const speeds = { overhead: time(overhead), speed: number(speed / 1e9, 1), each: number(each * 1e9, 2) };
  return card(
    "cost",
    h("p", { class: "quiet", t: "cost.about" }),
    table(["cost.count", "cost.each"], counts),
    table(["cost.time", "cost.predicted", "cost.measured"], times),
    h("p", { class: "quiet", t: ["cost.model", speeds] }),
  );
}

function table(heads, rows, foot) {
  const line = (cells, name = "td") =>
    h("tr", {}, ...cells.map((content, i) => (i ? h(name, {}, content) : h("th", { scope: "row" }, content))));
  return h(
    "div",
    { class: "scrolling" },
    h(
      "table",
      { class: "facts" },
      h("thead", {}, h("tr", {}, ...heads.map((key) => h("th", { scope: "col", t: key })))),
      h("tbody", {}, ...rows.map((row) => line(row))),
      foot && h("tfoot", {}, line(foot)),
    ),
  );
}

/** Seconds in the unit that suits them. */
export function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${number(seconds * 1e6, 0)} µs`;
  if (seconds < 1) return `${number(seconds * 1000, seconds < 0.01 ? 2 : 0)} ms`;
  return `${number(seconds, seconds < 10 ? 1 : 0)} s`;
}
