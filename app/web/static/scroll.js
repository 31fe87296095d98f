// The log follows the reply that is being written, unless the reader has scrolled up to read.

import { $ } from "./dom.js";

const log = $("log");
const NEAR_PX = 60;
let isFollowing = true;

export function toEnd() {
  log.scrollTop = log.scrollHeight;
  isFollowing = true;
  $("to-end").hidden = true;
}

export function follow() {
  if (isFollowing) toEnd();
}

log.addEventListener(
  "scroll",
  () => {
    isFollowing = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_PX;
    $("to-end").hidden = isFollowing;
  },
  { passive: true },
);
$("to-end").addEventListener("click", toEnd);
new ResizeObserver(follow).observe(log);
