/** A market alert as it arrives: shown for a while, announced to screen readers once. */

import { h } from "./dom.js";
import { time } from "./format.js";
import { on } from "./state.js";

const SHOWN_MS = 12_000;
const AT_ONCE = 4;

/** Show alerts in `place`. */
export function setUpToasts(place) {
  // The regions exist before their text does: screen readers announce only what changes in a known one.
  const polite = h("div", { "aria-live": "polite", "aria-atomic": "false", "aria-relevant": "additions" });
  const urgent = h("div", { "aria-live": "assertive", "aria-atomic": "false", "aria-relevant": "additions" });
  place.append(urgent, polite);
  on("alert", (alert) => {
    if (alert.state === "cleared") return;
    show(alert.severity === "critical" ? urgent : polite, alert);
    const all = place.querySelectorAll(".toast");
    if (all.length > AT_ONCE) all[0].remove();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]"))
      for (const each of place.querySelectorAll(".toast")) each.remove();
  });
}

function show(region, alert) {
  const toast = h(
    "div",
    { class: `toast ${alert.severity}` },
    h(
      "p",
      {},
      severity(alert.severity),
      " ",
      h("a", { href: `#/chart/${encodeURIComponent(alert.symbol)}` }, alert.symbol),
    ),
    h("p", {}, alert.message),
    h("p", { class: "muted" }, time(alert.event_time, "time")),
    h("button", { type: "button", class: "icon", "aria-label": "Dismiss", onclick: () => toast.remove() }, "×"),
  );
  region.append(toast);
  // Not taken away under a pointer or a focus.
  const leave = () => (toast.matches(":hover, :focus-within") ? setTimeout(leave, 2_000) : toast.remove());
  setTimeout(leave, SHOWN_MS);
}

/** How grave an alert is, in word, sign and colour. */
export function severity(kind) {
  const sign = { info: "●", warning: "◆", critical: "■" }[kind] ?? "";
  const text = kind ? kind[0].toUpperCase() + kind.slice(1) : "";
  return h("span", { class: `severity ${kind}` }, h("span", { "aria-hidden": "true" }, sign), text);
}
