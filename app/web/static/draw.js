// A place to draw a digit, with mouse, pen or finger, and what the classifier reads in it, stroke by stroke.

import { call } from "./api.js";
import { button, h } from "./dom.js";
import { errorCard } from "./errors.js";
import { number, setText } from "./i18n.js";

const SIDE = 28; // what the classifier takes
const SCALE = 10;
const PEN = 2.1 * SCALE;

export class Drawing {
  /** `path` is where pictures are read: a job's /predict. */
  constructor(path) {
    this._path = path;
    this._canvas = h("canvas", { width: SIDE * SCALE, height: SIDE * SCALE, role: "img", label: "draw.canvas" });
    this._context = this._canvas.getContext("2d", { willReadFrequently: true });
    this._bars = [...Array(10).keys()].map(bar);
    this._verdict = h("p", { class: "verdict", role: "status" });
    this._trouble = h("div");
    this._pen = null;
    this._isReading = false;
    this._isStale = false;
    this.element = h(
      "section",
      { class: "card drawing" },
      h("h3", { t: "draw" }),
      h("p", { class: "quiet", t: "draw.about" }),
      h(
        "div",
        { class: "drawing-parts" },
        h("div", { class: "paper" }, this._canvas, button("bin", "draw.clear", () => this.clear())),
        h("div", { class: "reading" }, this._verdict, h("ul", { class: "bars" }, ...this._bars.map((each) => each.element))),
      ),
      this._trouble,
    );
    this._canvas.addEventListener("pointerdown", (event) => this._begin(event));
    this._canvas.addEventListener("pointermove", (event) => this._move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      this._canvas.addEventListener(name, () => (this._pen = null));
    }
    this.clear();
  }

  clear() {
    this._context.fillStyle = "black";
    this._context.fillRect(0, 0, this._canvas.width, this._canvas.height);
    this._isEmpty = true;
    this._show(null);
  }

  /** Put a picture there (a data URL of 28×28) and read it. */
  async show(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    this._context.imageSmoothingEnabled = false;
    this._context.drawImage(image, 0, 0, this._canvas.width, this._canvas.height);
    this._isEmpty = false;
    this.element.scrollIntoView({ block: "nearest", behavior: "smooth" });
    this._read();
  }

  _begin(event) {
    if (event.button) return;
    event.preventDefault();
    this._canvas.setPointerCapture(event.pointerId);
    this._pen = this._point(event);
    this._line(this._pen);
  }

  _move(event) {
    if (!this._pen) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) this._line(this._point(each));
  }

  _point(event) {
    const box = this._canvas.getBoundingClientRect();
    const scale = this._canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  _line(to) {
    const context = this._context;
    context.strokeStyle = "white";
    context.lineWidth = PEN;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(...this._pen);
    context.lineTo(to[0] + 0.01, to[1]); // a line to where it is already would leave no dot
    context.stroke();
    this._pen = to;
    this._isEmpty = false;
    this._read();
  }

  /** Have it read as it is now; one request at a time, and after each another if something was drawn meanwhile. */
  async _read() {
    this._isStale = true;
    if (this._isReading) return;
    this._isReading = true;
    try {
      while (this._isStale && !this._isEmpty) {
        this._isStale = false;
        const response = await call(this._path, { json: { image: this._pixels() } });
        const reading = await response.json();
        if (!this._isEmpty) this._show(reading);
      }
      this._trouble.replaceChildren();
    } catch (error) {
      if (error.status === 422) this._show(null); // too little to be read
      else this._trouble.replaceChildren(errorCard(error, { again: () => this._read() }));
    } finally {
      this._isReading = false;
    }
  }

  /** 28 rows of 28 grey levels: each the mean of its square. */
  _pixels() {
    const { data } = this._context.getImageData(0, 0, this._canvas.width, this._canvas.height);
    const rows = Array.from({ length: SIDE }, () => Array(SIDE).fill(0));
    const width = SIDE * SCALE;
    for (let i = 0; i < data.length; i += 4) {
      const place = i / 4;
      rows[Math.floor(place / width / SCALE)][Math.floor((place % width) / SCALE)] += data[i] / SCALE ** 2;
    }
    return rows.map((row) => row.map(Math.round));
  }

  _show(reading) {
    if (reading) setText(this._verdict, "draw.verdict", { digit: reading.digit });
    else setText(this._verdict, "draw.empty");
    this._verdict.classList.toggle("quiet", !reading);
    this._bars.forEach((each, digit) => each.set(reading?.probabilities[digit] ?? 0, reading?.digit === digit));
  }
}

function bar(digit) {
  const share = h("span", { class: "share" });
  const percent = h("span", { class: "percent" });
  const element = h("li", {}, h("b", {}, String(digit)), h("span", { class: "track" }, share), percent);
  return {
    element,
    set(probability, isBest) {
      share.style.width = `${100 * probability}%`;
      percent.textContent = `${number(100 * probability, 1)}%`;
      element.classList.toggle("is-best", isBest);
    },
  };
}
