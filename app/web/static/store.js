// What this browser keeps. Where it may keep nothing (a private window, say), the page works without.

const PREFIX = "troika.";

export function read(name, fallback) {
  try {
    const found = localStorage.getItem(PREFIX + name);
    return found === null ? fallback : JSON.parse(found);
  } catch {
    return fallback;
  }
}

export function write(name, value) {
  try {
    if (value === undefined) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Full or forbidden: what was to be kept is lost with the tab.
  }
}

/** Hear of changes that another tab makes. */
export function watch(name, changed) {
  addEventListener("storage", (event) => {
    if (event.key === PREFIX + name || event.key === null) changed();
  });
}
