// The page's words in the reader's language. `strings.<language>.js` is made by the service from strings.json.
//
// An element says which words it shows: data-t for its text, data-t-<attribute> for an attribute. So a change of the
// language changes them all in place.

const ATTRIBUTES = ["aria-label", "title", "placeholder"];
const given = new WeakMap();
let words = await load(document.documentElement.dataset.language);

async function load(language) {
  return (await import(`./strings.${language}.js`)).default;
}

export const language = () => document.documentElement.dataset.language;

/** The words of a key, with {names} replaced by values. */
export function t(key, values = {}) {
  if (!(key in words)) throw new Error(`no words for ${key}`);
  return words[key].replace(/\{(\w+)\}/g, (_, name) => number(values[name]));
}

/** A number as the language writes it; anything else as it is. */
export function number(value, digits) {
  if (typeof value !== "number") return String(value);
  const options = digits === undefined ? { maximumFractionDigits: 2 } : { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString(document.documentElement.lang, options);
}

/** Let an element show the words of a key, now and after a change of the language. */
export function setText(element, key, values) {
  if (element.dataset.t === key && !values) return;
  element.dataset.t = key;
  if (values) given.set(element, values);
  element.textContent = t(key, values);
}

/** Likewise for one of its attributes. */
export function setAttribute(element, attribute, key, values) {
  element.setAttribute(`data-t-${attribute}`, key);
  if (values) given.set(element, values);
  element.setAttribute(attribute, t(key, values));
}

export async function setLanguage(next) {
  words = await load(next);
  const root = document.documentElement;
  root.dataset.language = next;
  root.lang = next === "zh" ? "zh-CN" : next;
  document.cookie = `troika_language=${next}; path=/; max-age=31536000; samesite=lax`;
  for (const element of document.querySelectorAll("[data-t]")) {
    element.textContent = t(element.dataset.t, given.get(element));
  }
  for (const attribute of ATTRIBUTES) {
    for (const element of document.querySelectorAll(`[data-t-${attribute}]`)) {
      element.setAttribute(attribute, t(element.getAttribute(`data-t-${attribute}`), given.get(element)));
    }
  }
  document.dispatchEvent(new Event("language"));
}
