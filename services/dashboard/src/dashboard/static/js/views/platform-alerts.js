/** What is wrong with the platform itself, as its alert rules see it. */

import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { time } from "../core/format.js";
import { empty, loaded } from "../core/panel.js";
import { scrolling, table } from "../core/tables.js";
import { severity } from "../core/toasts.js";

/**
 * Show them in `place`.
 * @param {HTMLElement} place
 * @returns {{reload: (quiet?: boolean) => Promise<void>, end: () => void}}
 */
export function mountPlatformAlerts(place) {
  return loaded(place, (signal) => get("platform-alerts", {}, signal), show, { lines: 3 });
}

function show({ configured, items }) {
  if (items.length) return platformAlertTable(items);
  if (configured) return empty("Nothing is wrong", "No alert about the platform fires.");
  return empty("Not watched", "The setting TICKLAKE_DASHBOARD_ALERTMANAGER names no one to ask.");
}

/** The alerts that fire, worst first. */
function platformAlertTable(items) {
  const rows = items.map((alert) =>
    h(
      "tr",
      {},
      h("td", {}, severity(alert.severity)),
      h("th", { scope: "row" }, alert.name, guide(alert.runbook)),
      h(
        "td",
        { class: "wrap" },
        alert.summary || alert.description,
        alert.summary && alert.description ? h("small", { class: "muted under" }, alert.description) : null,
      ),
      h("td", { class: "nowrap" }, time(alert.since)),
      h("td", {}, alert.state),
      h(
        "td",
        { class: "wrap" },
        Object.entries(alert.labels)
          .map(([name, value]) => `${name} ${value}`)
          .join(", "),
      ),
    ),
  );
  const columns = ["Severity", "Alert", "What is wrong", "Since", "State", "Labels"].map((label) => ({ label }));
  const caption = "Alerts about the platform that fire now, worst first";
  return scrolling("Platform alerts", table({ caption, columns, rows }));
}

/** Link to the remedy, where the rule has one; other schemes than the web's are not followed. */
function guide(runbook) {
  if (!/^https?:\/\//.test(runbook ?? "")) return null;
  return h("small", { class: "under" }, h("a", { href: runbook, rel: "noreferrer noopener" }, "what to do"));
}
