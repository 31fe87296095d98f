// Elements, found and made. Whatever text goes in goes in as text: nothing here or elsewhere takes HTML.

import { setAttribute, setText, t } from "./i18n.js";

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element. `t` is the key of its words, `label` of its aria-label, `on…` a listener; the rest are attributes. */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "t") setText(element, ...[value].flat());
    else if (name === "label") setAttribute(element, "aria-label", value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function icon(name) {
  return s("svg", { class: "icon", "aria-hidden": "true" }, s("use", { href: `#icon-${name}` }));
}

/** A button with an icon and words. */
export function button(iconName, key, onclick, attributes = {}) {
  return h("button", { type: "button", class: "ghost", onclick, ...attributes }, icon(iconName), h("span", { t: key }));
}

/** Have a screen reader say something. */
export function say(text) {
  $("said").textContent = text;
}

/** Ask before something that can't be undone; resolves to whether the answer was yes. */
export function ask(question, yes) {
  const dialog = $("ask");
  $("ask-question").textContent = t(question);
  $("ask-yes").textContent = t(yes);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
