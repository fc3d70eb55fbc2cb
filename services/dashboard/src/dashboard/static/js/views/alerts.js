/** Market alerts as they came, and the rules that raise them. */

import { get } from "../core/api.js";
import { card, h } from "../core/dom.js";
import { seconds, sourceBadge, stamp, two } from "../core/format.js";
import { empty, loaded } from "../core/panel.js";
import { hash } from "../core/router.js";
import { on, state } from "../core/state.js";
import { scrolling, table } from "../core/tables.js";
import { severity } from "../core/toasts.js";

/** @param {HTMLElement} root */
export function mount(root) {
  const places = { alerts: h("div"), rules: h("div") };
  root.append(card("Market alerts", places.alerts), card("Rules", places.rules));
  const alerts = loaded(
    places.alerts,
    (signal) => get("alerts", { limit: 100 }, signal),
    (data) =>
      data.items.length
        ? alertTable(data.items)
        : empty("No alert yet", "Alerts appear here, and as a notification, the moment a rule is met."),
  );
  const rules = loaded(
    places.rules,
    (signal) => get("alerts/rules", {}, signal),
    (data) => {
      if (data.items.length) return ruleTable(data.items);
      return data.configured
        ? empty("The rules file has no rule")
        : empty(
            "No rules yet",
            "The service market-alerts has not published any; ",
            h("code", {}, "make live"),
            " starts it.",
          );
    },
    { lines: 4 },
  );
  const ends = [
    on("alert", () => alerts.reload(true)),
    on("connection", () => state.connection === "open" && alerts.reload(true)),
  ];
  return {
    end() {
      for (const end of ends) end();
      alerts.end();
      rules.end();
    },
  };
}

function alertTable(items) {
  const badge = (alert) => h("span", { class: "under" }, sourceBadge(alert.source, "Ticks"));
  const rows = items.map((alert) =>
    h(
      "tr",
      { "data-alert": alert.alert_id },
      h("th", { scope: "row" }, h("a", { href: hash("chart", alert.symbol) }, alert.symbol), badge(alert)),
      h("td", {}, stamp(alert.event_time)),
      h("td", {}, severity(alert.severity), h("small", { class: "muted under" }, alert.state)),
      h("td", { class: "wrap" }, alert.message, h("small", { class: "muted under" }, `rule ${alert.rule}`)),
      h("td", { class: "number" }, two(alert.value)),
      h("td", { class: "number" }, two(alert.threshold)),
    ),
  );
  const columns = [
    ...["Symbol", "Time", "Severity", "Message"].map((label) => ({ label })),
    { label: "Value", number: true },
    { label: "Threshold", number: true },
  ];
  return scrolling("Market alerts", table({ caption: "Market alerts, newest first", columns, rows }));
}

/** A duration as rules carry it (900s) for people; anything else as it is. */
const span = (value) =>
  /^\d+s$/.test(value) ? seconds(Number.parseInt(value, 10)).replace(/ 00 (s|min)$/, "") : value;

function ruleTable(items) {
  const rows = items.map((rule) => {
    const symbols = Array.isArray(rule.symbols) ? rule.symbols.join(", ") : (rule.symbols ?? "all");
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, rule.name, h("small", { class: "muted under" }, rule.label ?? rule.kind)),
      h("td", {}, severity(rule.severity ?? "warning")),
      h(
        "td",
        { class: "wrap" },
        rule.sentence ?? "–",
        rule.description ? h("small", { class: "muted under" }, rule.description) : null,
      ),
      h("td", { class: "wrap narrow" }, symbols),
      h("td", { class: "nowrap" }, span(rule.cooldown ?? "–")),
      h("td", {}, rule.targets ? rule.targets.join(", ") : "all set up"),
    );
  });
  const columns = ["Rule", "Severity", "Condition", "Symbols", "Cooldown", "Sent to"].map((label) => ({ label }));
  return scrolling("Rules", table({ caption: "Rules in force", columns, rows }));
}
