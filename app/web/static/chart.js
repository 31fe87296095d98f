// Line charts in SVG: axes with round numbers, lines that grow while a run trains.

import { h, s } from "./dom.js";
import { number, t } from "./i18n.js";

const HEIGHT = 236;
const LEFT = 46;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 36;

/** A chart of curves {name, points: [[x, y], …], dots: [[x, y], …], colour: 0…7, dashed} over epochs. */
export class Chart {
  constructor(titleKey, { from, digits }) {
    this._titleKey = titleKey;
    this._from = from; // a value that the y axis always shows
    this._digits = digits;
    this._svg = s("svg", { role: "img", class: "chart", height: HEIGHT });
    this._width = 480;
    this._drawn = [[], 1];
    this._legend = h("ul", { class: "legend" });
    this.element = h("figure", { class: "card" }, h("figcaption", { t: titleKey }), this._svg, this._legend);
    new ResizeObserver(([{ contentRect }]) => {
      if (!contentRect.width || contentRect.width === this._width) return;
      this._width = contentRect.width;
      this.draw(...this._drawn);
    }).observe(this._svg);
  }

  draw(curves, epochs) {
    this._drawn = [curves, epochs];
    const width = this._width;
    const drawn = curves.filter((curve) => curve.points.length || curve.dots?.length);
    const ys = drawn.flatMap((curve) => [...curve.points, ...(curve.dots ?? [])].map(([, y]) => y));
    const yTicks = ys.length ? ticks(Math.min(this._from, ...ys), Math.max(this._from, ...ys)) : ticks(0, 1);
    const xTicks = wholeTicks(epochs);
    const x = (value) => LEFT + (value / Math.max(1, epochs)) * (width - LEFT - RIGHT);
    const [low, high] = [yTicks[0], yTicks.at(-1)];
    const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    this._svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this._svg.replaceChildren(
      ...yTicks.flatMap((value) => [
        s("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
        s("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)),
      ]),
      ...xTicks.map((value) => s("text", { class: "tick", x: x(value), y: HEIGHT - 20, "text-anchor": "middle" }, number(value))),
      s("text", { class: "tick", x: width - RIGHT, y: HEIGHT - 5, "text-anchor": "end" }, t("chart.epochs")),
      ...drawn.flatMap((curve) => this._curve(curve, x, y)),
    );
    this._svg.setAttribute("aria-label", this._summary(drawn));
    this._legend.hidden = drawn.length < 2;
    this._legend.replaceChildren(...drawn.map((curve) => entry(curve)));
  }

  _curve({ points, dots = [], colour, dashed }, x, y) {
    const line = points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`).join(" ");
    return [
      s("polyline", { class: `line c${colour}`, points: line, "stroke-dasharray": dashed ? "5 4" : null }),
      ...dots.map(([px, py]) => s("circle", { class: `dot-mark c${colour}`, cx: x(px), cy: y(py), r: 3.2 })),
    ];
  }

  /** What the chart shows, for those who don't see it: where each curve begins and ends. */
  _summary(curves) {
    const parts = curves.map(({ name, points, dots }) => {
      const all = points.length ? points : dots;
      const [first, last] = [all[0][1], all.at(-1)[1]];
      return t("chart.summary", { name, first: number(first, this._digits), last: number(last, this._digits) });
    });
    return [t(this._titleKey), ...parts].join(". ");
  }
}

const entry = ({ name, colour, dashed }) =>
  h("li", {}, s("svg", { viewBox: "0 0 22 8", width: 22, height: 8, "aria-hidden": "true" },
    s("line", { class: `line c${colour}`, x1: 0, x2: 22, y1: 4, y2: 4, "stroke-dasharray": dashed ? "5 4" : null })), name);

/** Round numbers from at most `low` to at least `high`. */
function ticks(low, high) {
  const step = roundStep((high - low || 0.1) / 4);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(6)));
}

function wholeTicks(most) {
  const step = Math.max(1, roundStep(most / 8));
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
}

function roundStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}
