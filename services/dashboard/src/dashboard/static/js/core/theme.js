/** Light and dark: the system's choice until a person makes one. */

import { svg } from "./dom.js";

const KEY = "ticklake.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();
const probe = document.createElement("i");
probe.hidden = true;

/** @returns {boolean} whether the page is dark now */
function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : dark.matches;
}

/** Call `listener` after each change of colours. @returns {() => void} ends it */
export function onTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * A colour token as canvases understand it.
 * @param {string} name such as "up" for --up
 * @param {number} [alpha] 0 to 1
 * @returns {string} rgb(…) or rgba(…)
 */
export function colour(name, alpha = 1) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(--${name})`;
  const parts = getComputedStyle(probe)
    .color.match(/[\d.]+/g)
    .slice(0, 3)
    .map(Number);
  return alpha === 1 ? `rgb(${parts.join(", ")})` : `rgba(${parts.join(", ")}, ${alpha})`;
}

/** Switch between light and dark, and remember it. */
export function toggleTheme() {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // Not remembered where storage is forbidden.
  }
  changed();
}

/** Wire the header's switch. @param {HTMLButtonElement} button */
export function setUpTheme(button) {
  button.addEventListener("click", toggleTheme);
  dark.addEventListener("change", changed);
  onTheme(() => label(button));
  label(button);
}

function label(button) {
  const next = isDark() ? "light" : "dark";
  button.setAttribute("aria-label", `Switch to ${next} colours`);
  button.title = `Switch to ${next} colours (t)`;
  const sun =
    "M12 4V2M12 22v-2M4 12H2M22 12h-2M6 6L4.6 4.6M19.4 19.4L18 18M6 18l-1.4 1.4M19.4 4.6L18 6M12 8a4 4 0 100 8 4 4 0 000-8z";
  const moon = "M20 14.5A8 8 0 019.5 4a8 8 0 1010.5 10.5z";
  button.replaceChildren(
    svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: isDark() ? sun : moon })),
  );
}

function changed() {
  for (const listener of listeners) listener();
}
