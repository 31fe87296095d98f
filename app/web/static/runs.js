// The list of runs: which is shown, which are ticked for comparison.

import { get } from "./api.js";
import { $, h } from "./dom.js";
import { errorCard } from "./errors.js";
import { number, t } from "./i18n.js";
import { isLive, title } from "./run.js";

const MOST_COMPARED = 8;
const NEWEST = "train-demo?limit=20";
const LOOK_MS = 3000;

let jobs = [];
let next = null;
let shown = new Set();
const ticked = new Set();

/** Read the newest runs; rejects never, and shows what went wrong instead. */
export async function load() {
  await read(NEWEST, []);
  return jobs;
}

async function read(path, before) {
  try {
    const page = await get(path);
    jobs = [...before, ...page.jobs];
    next = page.next;
    $("runs-trouble").replaceChildren();
  } catch (error) {
    $("runs-trouble").replaceChildren(errorCard(error, { again: () => read(path, before) }));
  }
  draw();
}

/** Take in a job that has changed, or is new. */
export function update(job) {
  const at = jobs.findIndex((each) => each.id === job.id);
  const known = jobs[at];
  if (at < 0) jobs = [job, ...jobs];
  else jobs = jobs.with(at, job);
  const isSame = known && known.status === job.status && Math.round(100 * known.progress) === Math.round(100 * job.progress);
  if (!isSame || known.dataset?.name !== job.dataset?.name) draw();
}

export function remove(id) {
  jobs = jobs.filter((job) => job.id !== id);
  ticked.delete(id);
  draw();
}

export function setShown(ids) {
  shown = new Set(ids);
  draw();
}

export function draw() {
  $("no-runs").hidden = jobs.length > 0;
  $("older").hidden = !next;
  const active = document.activeElement?.id;
  $("runs").replaceChildren(...jobs.map(item));
  if (active) document.getElementById(active)?.focus();
  $("compare").disabled = ticked.size < 2;
}

function item(job) {
  const label = title(job);
  const tick = h("input", { type: "checkbox", id: `tick-${job.id}` });
  tick.checked = ticked.has(job.id);
  tick.disabled = !job.history.length || (!tick.checked && ticked.size >= MOST_COMPARED);
  tick.setAttribute("aria-label", t("runs.tick", { title: label }));
  tick.addEventListener("change", () => {
    if (tick.checked) ticked.add(job.id);
    else ticked.delete(job.id);
    draw();
  });
  const isCurrent = shown.has(job.id) && shown.size === 1;
  return h(
    "li",
    {},
    tick,
    h(
      "a",
      { href: `#${job.id}`, id: `link-${job.id}`, title: when(job), "aria-current": isCurrent ? "true" : null },
      h("span", {}, label),
      h("span", { class: "outcome", "data-status": job.status }, outcome(job)),
    ),
  );
}

const when = (job) => new Date(job.created_at).toLocaleString(document.documentElement.lang);

function outcome(job) {
  if (job.result) return `${number(100 * job.result.test_accuracy, 2)}%`;
  if (job.status === "running") return `${number(100 * job.progress, 0)}%`;
  return t(`status.${job.status}`);
}

$("older").addEventListener("click", () => next && read(next.replace(/^.*\/train-demo/, "train-demo"), jobs));
$("compare").addEventListener("click", () => {
  location.hash = jobs.map((job) => job.id).filter((id) => ticked.has(id)).reverse().join(",");
});
document.addEventListener("language", draw);

// The run that is shown tells how it goes on; of others that wait or run, the list has to ask.
setInterval(() => {
  if (!document.hidden && jobs.some((job) => isLive(job) && !shown.has(job.id))) refresh();
}, LOOK_MS);

async function refresh() {
  try {
    const page = await get(NEWEST);
    page.jobs.filter((job) => !shown.has(job.id)).forEach(update);
  } catch {
    // It is asked again soon.
  }
}

export const live = () => jobs.find(isLive);
export const newest = () => jobs[0];
