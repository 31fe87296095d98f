// What both pages have around their content: language, theme, side panels.

import { $ } from "./dom.js";
import { language, setLanguage } from "./i18n.js";

const isNarrow = matchMedia("(max-width: 860px)");

// Not by its address, which names what is shown.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("main").focus();
});

function showLanguages() {
  const other = language() === "en" ? "zh" : "en";
  $("language").textContent = other === "zh" ? "中文" : "English";
  $("language").lang = other === "zh" ? "zh-CN" : "en";
}

$("language").addEventListener("click", async () => {
  await setLanguage(language() === "en" ? "zh" : "en");
  showLanguages();
});

$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  document.cookie = `troika_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
});

/** A panel at the side: part of the page where there is room, else over it and closed by Escape. */
export function sidePanel(panel, opener, { openWhenWide }) {
  let isOpen = openWhenWide && !isNarrow.matches;

  function show() {
    panel.close();
    if (isOpen && isNarrow.matches) panel.showModal();
    else panel.open = isOpen; // not show(), which would move the focus
    opener.setAttribute("aria-expanded", String(isOpen));
  }

  function set(open) {
    isOpen = open;
    show();
  }

  opener.addEventListener("click", () => set(!isOpen));
  panel.addEventListener("close", () => {
    if (isOpen && isNarrow.matches && !panel.open) set(false); // by Escape
  });
  panel.addEventListener("click", (event) => {
    const box = panel.getBoundingClientRect();
    const isBeside = event.clientX < box.left || event.clientX > box.right;
    const isBackdrop = event.target === panel && isNarrow.matches && isBeside;
    if (isBackdrop || event.target.closest("[data-close]")) {
      set(false);
      opener.focus();
    }
  });
  isNarrow.addEventListener("change", () => set(openWhenWide && !isNarrow.matches));
  show();
  return {
    open: () => set(true),
    closeIfOver: () => isNarrow.matches && set(false),
  };
}
