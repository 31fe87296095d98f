// Several runs side by side: their curves in one plot, their scores in one table.

import { Chart } from "./chart.js";
import { button, h } from "./dom.js";
import { number, t } from "./i18n.js";
import { time } from "./result.js";
import { curves, save, title } from "./run.js";

export class Comparison {
  constructor(jobs) {
    this._jobs = jobs;
    this._loss = new Chart("chart.loss", { from: 0, digits: 3 });
    this._accuracy = new Chart("chart.accuracy", { from: 1, digits: 3 });
    this._table = h("div", { class: "scrolling" });
    const trouble = h("div");
    const path = (format) => `train-demo/plot.${format}?ids=${jobs.map((job) => job.id).join(",")}`;
    const saving = ["png", "svg"].map((format) =>
      button("down", `compare.${format}`, () => save(path(format), `troika-runs.${format}`, trouble)),
    );
    this.element = h(
      "div",
      { class: "run" },
      h(
        "section",
        { class: "card" },
        h("div", { class: "row head" }, h("h2", { t: ["compare", { count: jobs.length }] }), h("div", { class: "row" }, ...saving)),
        this._table,
        trouble,
      ),
      h("div", { class: "charts" }, this._loss.element, this._accuracy.element),
    );
    this.redraw();
  }

  close() {}

  redraw() {
    const epochs = Math.max(...this._jobs.map((job) => job.options.epochs));
    for (const [chart, metric] of [[this._loss, "loss"], [this._accuracy, "accuracy"]]) {
      const drawn = this._jobs.flatMap((job, i) => curves(job.history, [], metric, { name: name(job, i), colour: i }));
      chart.draw(drawn, epochs);
    }
    const heads = ["compare.run", "score.accuracy", "score.loss", "score.time", "compare.options"];
    this._table.replaceChildren(
      h(
        "table",
        { class: "facts" },
        h("thead", {}, h("tr", {}, ...heads.map((key) => h("th", { scope: "col", t: key })))),
        h("tbody", {}, ...this._jobs.map((job, i) => row(job, i, differing(this._jobs)))),
      ),
    );
  }
}

const name = (job, i) => `${i + 1} · ${title(job)}`;

/** The options in which the runs differ. */
function differing(jobs) {
  return Object.keys(jobs[0].options).filter((key) => new Set(jobs.map((job) => JSON.stringify(job.options[key]))).size > 1);
}

function row(job, i, keys) {
  const { result, history, options } = job;
  const seconds = history.reduce((sum, epoch) => sum + epoch.seconds, 0);
  const cells = [
    result ? `${number(100 * result.test_accuracy, 2)}%` : t(`status.${job.status}`),
    result?.test_loss ? number(result.test_loss, 4) : "–",
    time(seconds),
    keys.map((key) => `${t(`opt.${key}`)}: ${[options[key]].flat().join("-")}`).join(", ") || "–",
  ];
  return h("tr", {}, h("th", { scope: "row", class: `mark c${i}` }, name(job, i)), ...cells.map((text) => h("td", {}, text)));
}
