/** Symbols whose rows wait for a person's decision. The page only reads: it names the command that decides. */

import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { session, sourceBadge, whole } from "../core/format.js";
import { empty, loaded } from "../core/panel.js";
import { hash } from "../core/router.js";
import { scrolling, table } from "../core/tables.js";

/**
 * Show them in `place`.
 * @param {HTMLElement} place
 * @returns {{reload: (quiet?: boolean) => Promise<void>, end: () => void}}
 */
export function mountHeld(place) {
  return loaded(place, (signal) => get("held", {}, signal), show, { lines: 2 });
}

function show({ items }) {
  if (!items.length) return empty("Nothing is held", "No symbol's answer waits for a person's decision.");
  return [
    heldTable(items),
    h(
      "p",
      { class: "muted" },
      "Look and decide with ",
      h("code", {}, "ticklake held show|release|drop SYMBOL"),
      " or, in Airflow, with the DAG ",
      h("code", {}, "held_symbols"),
      ".",
    ),
  ];
}

function heldTable(items) {
  const rows = items.map((item) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, item.symbol, h("span", { class: "under" }, sourceBadge(item.source, "History"))),
      h("td", { class: "nowrap" }, session(item.since_date), runsOf(item)),
      h("td", { class: "names" }, h("a", { href: hash("platform", item.run_id) }, item.run_id)),
      h("td", { class: "number" }, whole(item.rows)),
      h("td", { class: "wrap" }, item.reasons.join("; "), state(item)),
      h("td", {}, h("code", {}, decision(item))),
    ),
  );
  const columns = [
    { label: "Symbol" },
    { label: "Since" },
    { label: "Run" },
    { label: "Rows", number: true },
    { label: "Why" },
    { label: "To decide" },
  ];
  return scrolling("Held symbols", table({ caption: "Symbols that wait for a person's decision", columns, rows }));
}

function runsOf(item) {
  return item.runs > 1 ? h("small", { class: "muted under" }, `${whole(item.runs)} runs`) : null;
}

function state(item) {
  return item.released ? h("small", { class: "muted under" }, `${item.released}; its run is not done`) : null;
}

/** What can be done: there is nothing to release where the source gave no answer. */
function decision(item) {
  return `ticklake held ${item.answer ? "release" : "drop"} ${item.symbol}`;
}
