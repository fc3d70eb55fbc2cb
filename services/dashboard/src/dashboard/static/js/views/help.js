/** Keyboard shortcuts, and the dialog that lists them. */

import { h } from "../core/dom.js";
import { VIEWS } from "../core/router.js";
import { toggleTheme } from "../core/theme.js";
import { step } from "./watchlist.js";

const KEY = "ticklake.shortcuts";
const SHORTCUTS = [
  [["1", "…", "5"], "Chart, Risk, Compare, Platform, Alerts"],
  [["j", "k"], "Next and previous symbol of the watchlist"],
  [["w"], "Into the watchlist; ↑ ↓ move, Enter opens"],
  [["c"], "Into the chart; ← → read bar by bar, + − zoom, Home End jump"],
  [["t"], "Light or dark"],
  [["Esc"], "Dismiss notifications"],
  [["?"], "This list"],
];

let active = true;

/** Wire shortcuts, the dialog and its button. */
export function setUpHelp(dialog, button) {
  try {
    active = localStorage.getItem(KEY) !== "off";
  } catch {
    // On where storage is forbidden.
  }
  const choice = h("input", { type: "checkbox", id: "shortcuts", onchange: (event) => remember(event.target.checked) });
  choice.checked = active;
  dialog.append(
    h(
      "header",
      {},
      h("h2", { id: "help-title" }, "Keyboard"),
      h("button", { type: "button", class: "icon", "aria-label": "Close", onclick: () => dialog.close() }, "×"),
    ),
    h(
      "dl",
      {},
      SHORTCUTS.map(([keys, what]) => [
        h(
          "dt",
          {},
          keys.map((key) => (key === "…" ? " … " : [h("kbd", {}, key), " "])),
        ),
        h("dd", {}, what),
      ]),
    ),
    h("p", {}, h("label", { for: "shortcuts" }, choice, " Single-key shortcuts")),
  );
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  button.addEventListener("click", () => dialog.showModal());
  document.addEventListener("keydown", (event) => pressed(event, dialog));
}

function remember(on) {
  active = on;
  try {
    localStorage.setItem(KEY, on ? "on" : "off");
  } catch {
    // Lasts until the page is left.
  }
}

function pressed(event, dialog) {
  if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
  if (event.target.closest?.("input, select, textarea")) return;
  // `?` opens the list also when shortcuts are off: it is where they are switched on again.
  if (event.key === "?") return dialog.showModal();
  if (!active) return undefined;
  const view = /^[1-5]$/.test(event.key) ? VIEWS[event.key] : null;
  if (view) location.hash = `#/${view}`;
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "t") toggleTheme();
  else if (event.key === "w")
    (document.querySelector("#watchlist a[aria-current]") ?? document.querySelector("#watchlist a"))?.focus();
  else if (event.key === "c") document.querySelector(".chart")?.focus();
  return undefined;
}
