// The line at the foot: what is served, where, in which precision, how fast, and whether it can answer now.

import { $, h } from "./dom.js";
import { number, setText } from "./i18n.js";

const CALM_MS = 15_000;
const WATCHFUL_MS = 1_500;

let health = null;
let watchers = 0;
let timer = 0;

/** The last known state of the service; null before it is known or when it can't be reached. */
export const state = () => health;

/** See how the service is. */
export async function lookNow() {
  clearTimeout(timer);
  try {
    health = await readHealth();
  } catch {
    health = null;
  }
  show();
  document.dispatchEvent(new Event("service"));
  const isCalm = health?.status === "ready" && !watchers;
  timer = setTimeout(lookNow, isCalm ? CALM_MS : WATCHFUL_MS);
}

async function readHealth() {
  const response = await fetch("health", { cache: "no-store" }); // 503 has the state too
  const found = await response.json();
  if (!found.engine) throw new Error("no health");
  return found;
}

function show() {
  const engine = health?.engine.state ?? "unreachable";
  $("state").dataset.state = engine;
  const known = ["loading", "ready", "stalled", "restarting", "refused", "closed"].includes(engine);
  setText($("state-text"), `state.${known ? engine : "unreachable"}`);
  if (!health) return;
  const { name, device, precision, reason } = health.model;
  const facts = [name, device, precision].filter(Boolean);
  $("model").replaceChildren(...facts.map((fact) => h("span", { class: "fact" }, fact)));
  $("model").title = reason;
}

/** Show how fast the tokens of a reply come. */
export function showRate(tokensPerS) {
  if (tokensPerS > 0) setText($("rate"), "rate", { rate: number(tokensPerS, 1) });
}

/** Look often, until the returned function is called: somebody is waiting. */
export function watchClosely() {
  watchers += 1;
  lookNow();
  return () => {
    watchers -= 1;
  };
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else lookNow();
});
lookNow();
