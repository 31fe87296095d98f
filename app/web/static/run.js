// One training run as it goes: its progress, its curves, and in the end its result.

import { call, events, get } from "./api.js";
import { Chart } from "./chart.js";
import { button, h, icon, say } from "./dom.js";
import { Drawing } from "./draw.js";
import { errorCard } from "./errors.js";
import { number, setText, t } from "./i18n.js";
import { resultCards, time } from "./result.js";

const RECONNECT_MS = [300, 1000, 3000];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const isLive = (job) => job.status === "queued" || job.status === "running";

/** A run in a few words. */
export function title({ options, dataset }) {
  const units = [options.hidden_units].flat().join("-") || "–";
  return t("run.title", { data: dataset?.name ?? options.dataset, units, epochs: options.epochs });
}

const fullTitle = (job) => `${title(job)} · ${t("run.seed", { seed: String(job.options.seed) })}`;

/** The points of a run's curves; `batches` are those within epochs that this page has seen. */
export function curves(history, batches, metric, { name, colour = 0, withValidation = true }) {
  const whole = history.filter((epoch) => Number.isFinite(epoch[metric])).map((epoch) => [epoch.epoch, epoch[metric]]);
  const within = batches.filter((point) => Number.isFinite(point[metric])).map((point) => [point.at, point[metric]]);
  const points = [...within, ...whole].sort((a, b) => a[0] - b[0]);
  const found = [{ name: name ?? t("chart.training"), points, dots: whole, colour }];
  const validation = history.filter((epoch) => Number.isFinite(epoch[`val_${metric}`]));
  if (withValidation && validation.length) {
    const dots = validation.map((epoch) => [epoch.epoch, epoch[`val_${metric}`]]);
    found.push({ name: `${name ? `${name}, ` : ""}${t("chart.validation")}`, points: dots, dots, colour: name ? colour : 1, dashed: true });
  }
  return found;
}

const pointOf = ({ epoch, batch, batches, loss, accuracy }) => ({ at: epoch - 1 + batch / batches, loss, accuracy });

export class RunView {
  /** `onChange` is called with the job whenever its status or progress has changed. */
  constructor(job, { onChange, onRepeat, onGone }) {
    this.job = job;
    this._onChange = onChange;
    this._onGone = onGone;
    this._batches = [];
    this._last = 0; // the id of the last event that was seen
    this._leaving = new AbortController();
    this._loss = new Chart("chart.loss", { from: 0, digits: 3 });
    this._accuracy = new Chart("chart.accuracy", { from: 1, digits: 3 });
    this._status = h("span", { class: "pill" });
    this._bar = h("progress", { max: 1, label: "run.progress" });
    this._where = h("p", { class: "quiet where" });
    this._cancel = button("stop", "run.cancel", () => this._end());
    this._repeat = button("retry", "run.repeat", () => onRepeat(this.job.options));
    this._bin = button("bin", "run.delete", () => this._delete());
    this._trouble = h("div");
    this._score = h("div", { class: "score", hidden: true });
    this._result = h("div", { class: "cards" });
    this.element = h(
      "div",
      { class: "run" },
      h(
        "section",
        { class: "card" },
        h("div", { class: "row head" }, h("h2", {}, fullTitle(job)), this._status),
        this._score,
        this._bar,
        this._where,
        h("div", { class: "row tools" }, this._cancel, this._repeat, this._bin, this._picture("png"), this._picture("svg")),
        this._trouble,
      ),
      h("div", { class: "charts" }, this._loss.element, this._accuracy.element),
      this._result,
    );
    this._show();
    if (isLive(job)) this._follow();
  }

  /** Listen no longer: another run is shown. */
  close() {
    this._leaving.abort();
  }

  redraw() {
    this.element.querySelector("h2").textContent = fullTitle(this.job);
    this._show();
  }

  // -- what happens ------------------------------------------------------------------------------------------

  async _follow() {
    for (let failures = 0; !this._leaving.signal.aborted; ) {
      try {
        const headers = this._last ? { "Last-Event-ID": String(this._last) } : {};
        const response = await call(this._path("events"), { signal: this._leaving.signal, headers });
        failures = 0;
        this._trouble.replaceChildren();
        if (response.status !== 204) {
          for await (const event of events(response)) this._take(event);
        }
        this.job = await get(this._path(), { signal: this._leaving.signal });
        this._show();
        if (!isLive(this.job)) return this._ended();
      } catch (error) {
        if (error.name === "AbortError") return undefined;
        failures += 1;
        if (error.status > 0 && error.status !== 503) {
          this._trouble.replaceChildren(errorCard(error, { again: () => this._follow() }));
          return undefined;
        }
        this._trouble.replaceChildren(h("p", { class: "notice bad", role: "status", t: "run.lost" }));
        await pause(RECONNECT_MS[Math.min(failures, RECONNECT_MS.length) - 1]);
      }
    }
    return undefined;
  }

  _take({ name, data, id }) {
    if (id) this._last = Number(id);
    const job = this.job;
    if (name === "started") {
      this.job = { ...job, status: "running", dataset: data.dataset };
      this.element.querySelector("h2").textContent = fullTitle(this.job);
    } else if (name === "batch") {
      // The mean so far jumps about at an epoch's start, where it is the mean of little.
      const isTelling = data.epoch === 1 || data.batch / data.batches > 0.03;
      if (isTelling) this._batches.push(pointOf(data));
      this.job = { ...job, status: "running", step: data, progress: data.progress, eta_s: data.eta_s };
    } else if (name === "epoch") {
      const history = [...job.history.filter((epoch) => epoch.epoch !== data.epoch), data];
      this.job = { ...job, status: "running", history, progress: data.progress };
      say(t("run.epoch.said", { epoch: data.epoch, accuracy: number(100 * data.accuracy, 1) }));
    }
    this._soon();
  }

  /** Show what has come, once for each frame. */
  _soon() {
    if (this._isDue) return;
    this._isDue = true;
    requestAnimationFrame(() => {
      this._isDue = false;
      this._show();
    });
  }

  _ended() {
    say(t(`status.${this.job.status}`));
  }

  // -- what is shown -----------------------------------------------------------------------------------------

  _show() {
    const job = this.job;
    this._status.dataset.status = job.status;
    setText(this._status, `status.${job.status}`);
    this._bar.hidden = !isLive(job);
    if (job.status === "queued" || !job.step) this._bar.removeAttribute("value");
    else this._bar.value = job.progress;
    this._cancel.hidden = !isLive(job);
    this._repeat.hidden = this._bin.hidden = isLive(job);
    this._showWhere();
    const epochs = job.options.epochs;
    for (const [chart, metric] of [[this._loss, "loss"], [this._accuracy, "accuracy"]]) {
      chart.draw(curves(job.history, this._batches, metric, {}), epochs);
    }
    if (job.error) this._trouble.replaceChildren(failed(job.error));
    if (job.result?.confusion_matrix && this._resultOf !== job.id) this._showResult();
    this._onChange(job);
  }

  _showWhere() {
    const { status, step, eta_s: left, dataset } = this.job;
    const parts = [];
    if (status === "running" && step) {
      parts.push(t("run.epoch", { epoch: step.epoch, epochs: step.epochs }), t("run.batch", { batch: step.batch, batches: step.batches }));
      if (left !== null && left !== undefined) parts.push(t("run.left", { time: time(Math.max(left, 1)) }));
    } else if (status === "running") parts.push(t("run.preparing"));
    else if (status === "queued") parts.push(t("run.queued"));
    if (dataset && !isLive(this.job)) parts.push(t("run.data", { ...dataset }), dataset.reason);
    this._where.textContent = parts.join(" · ");
  }

  _showResult() {
    const { id, result } = this.job;
    this._resultOf = id;
    const facts = [
      ["score.accuracy", `${number(100 * result.test_accuracy, 2)}%`],
      ["score.loss", result.test_loss === null ? "–" : number(result.test_loss, 4)],
      ["score.parameters", number(result.cost.parameters)],
      ["score.time", time(result.cost.measured_total_s)],
    ];
    this._score.hidden = false;
    this._score.replaceChildren(
      ...facts.map(([key, value]) => h("div", {}, h("strong", {}, value), h("span", { class: "quiet", t: key }))),
    );
    if (result.stopped) this._score.append(h("p", { class: "quiet" }, result.stopped));
    const drawing = new Drawing(this._path("predict"));
    this._result.replaceChildren(drawing.element, ...resultCards(result, (image) => drawing.show(image)));
  }

  // -- what can be done --------------------------------------------------------------------------------------

  _path(part) {
    return `train-demo/${encodeURIComponent(this.job.id)}${part ? `/${part}` : ""}`;
  }

  async _end() {
    this._cancel.disabled = true;
    try {
      const response = await call(this._path(), { method: "DELETE" });
      if (response.status !== 204) this.job = await response.json();
      this._show();
    } catch (error) {
      this._trouble.replaceChildren(errorCard(error, { again: () => this._end() }));
    } finally {
      this._cancel.disabled = false;
    }
  }

  async _delete() {
    try {
      await call(this._path(), { method: "DELETE" });
    } catch (error) {
      if (error.status !== 404) {
        this._trouble.replaceChildren(errorCard(error, { again: () => this._delete() }));
        return;
      }
    }
    this._onGone(this.job.id);
  }

  _picture(format) {
    return h(
      "button",
      { type: "button", class: "ghost", onclick: () => save(this._path(`plot.${format}`), `${this.job.id}.${format}`, this._trouble) },
      icon("down"),
      format.toUpperCase(),
    );
  }
}

/** Save a picture that the service draws; not by a link, which could not bring the API key. */
export async function save(path, name, trouble) {
  try {
    const blob = await (await call(path)).blob();
    const link = h("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  } catch (error) {
    trouble.replaceChildren(errorCard(error, { again: () => save(path, name, trouble) }));
  }
}

const failed = ({ message }) =>
  h("div", { class: "notice bad", role: "alert" }, h("p", { t: "run.failed" }), h("p", { class: "quiet", dir: "auto" }, message));
