// The training page: begin a run, watch it, look at what it has learnt, compare it with others.

import { call, get } from "./api.js";
import { Comparison } from "./compare.js";
import { $ } from "./dom.js";
import { errorCard } from "./errors.js";
import "./frame.js";
import * as form from "./options.js";
import { RunView } from "./run.js";
import * as runs from "./runs.js";

const isNarrow = () => matchMedia("(max-width: 860px)").matches;

let view = null;
let address = null; // what `view` shows

async function open() {
  const wanted = location.hash.startsWith("#train_") ? location.hash.slice(1) : "";
  if (wanted === address) return;
  address = wanted;
  view?.close();
  view = null;
  const ids = wanted.split(",").filter(Boolean);
  runs.setShown(ids);
  $("welcome").hidden = ids.length > 0;
  $("view").replaceChildren();
  if (!ids.length) return;
  try {
    const jobs = await Promise.all(ids.map((id) => get(`train-demo/${encodeURIComponent(id)}`)));
    if (address !== wanted) return;
    show(jobs.length === 1 ? runView(jobs[0]) : new Comparison(jobs));
  } catch (error) {
    if (address !== wanted) return;
    $("view").replaceChildren(errorCard(error, error.status === 404 ? {} : { again: reopen }));
  }
}

function reopen() {
  address = null;
  open();
}

function show(made) {
  view = made;
  $("view").replaceChildren(made.element);
}

function runView(job) {
  return new RunView(job, {
    onChange: runs.update,
    onRepeat(options) {
      form.fill(options);
      $("begin").open = true;
      $("start").focus();
    },
    onGone(id) {
      runs.remove(id);
      location.hash = "";
    },
  });
}

async function start() {
  $("start-trouble").replaceChildren();
  const wrong = form.firstWrong();
  if (wrong) {
    form.showWrong(...wrong);
    return;
  }
  $("start").disabled = true;
  try {
    const job = await (await call("train-demo", { json: form.options() })).json();
    runs.update(job);
    location.hash = job.id;
    if (isNarrow()) {
      $("begin").open = false;
      $("main").scrollIntoView({ behavior: "smooth" });
    }
  } catch (error) {
    const isShown = error.status === 422 && form.showWrong(error.param?.split(".")[0], error.message);
    if (!isShown) $("start-trouble").replaceChildren(errorCard(error, { again: start }));
  } finally {
    $("start").disabled = false;
  }
}

$("options").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
addEventListener("hashchange", open);
document.addEventListener("language", () => view?.redraw());
document.addEventListener("key", begin);

/** Whoever comes without an address sees the run that is under way, else the newest. */
async function begin() {
  await runs.load();
  const found = runs.live() ?? runs.newest();
  if (!location.hash && found) history.replaceState(null, "", `#${found.id}`);
  if (location.hash && isNarrow()) $("begin").open = false;
  reopen();
}

begin();
