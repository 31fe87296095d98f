// Where a message is written: grows with it, Enter sends, Shift+Enter is a new line, Escape stops the reply.

import { $ } from "./dom.js";

const input = $("input");

export function start({ send, stop }) {
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit(send);
  });
  $("stop").addEventListener("click", stop);
  input.addEventListener("input", fit);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    // While an input method composes characters, Enter belongs to it (229: Safari's way to say so).
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    submit(send);
  });
  fit();
}

function submit(send) {
  if (input.value.trim() && send(input.value)) write("");
}

/** Put a text there to be edited. */
export function write(text) {
  input.value = text;
  fit();
  input.focus();
}

function fit() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

export function showRunning(isRunning) {
  const hadFocus = document.activeElement === $("stop") || document.activeElement === $("send");
  $("send").hidden = isRunning;
  $("stop").hidden = !isRunning;
  if (hadFocus) input.focus();
}
