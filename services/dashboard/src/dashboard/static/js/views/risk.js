/** Risk of each symbol of the watchlist, and how they move together. */

import { get } from "../core/api.js";
import { asOf, KnownChoice } from "../core/as-known.js";
import { card, h } from "../core/dom.js";
import { direction, fraction, session, signedFraction, sourceBadge, two, whole } from "../core/format.js";
import { loaded, noBatch } from "../core/panel.js";
import { current, go, hash } from "../core/router.js";
import { on, symbolsAsked, withHistory } from "../core/state.js";
import { scrolling, table } from "../core/tables.js";

const PERIODS = { 63: "3 months", 126: "6 months", 252: "1 year", 756: "3 years", 1260: "5 years" };

/** A choice of sessions for a view. @returns {HTMLElement} */
export function periodChoice(view, chosen) {
  const options = Object.entries(PERIODS).map(([sessions, label]) =>
    h("option", { value: sessions, selected: sessions === String(chosen) }, label),
  );
  const change = (event) =>
    go(hash(view, null, { ...Object.fromEntries(current().params), sessions: event.target.value }), { replace: true });
  return h("label", { class: "end" }, "Period ", h("select", { id: `${view}-period`, onchange: change }, options));
}

/** The sessions that an address asks for. */
export function periodOf(route) {
  const asked = route.params.get("sessions");
  return asked in PERIODS ? asked : "252";
}

/** @param {HTMLElement} root @param {import("../core/router.js").Route} route */
export function mount(root, route) {
  let asked = route;
  const known = new KnownChoice();
  known.show(route);
  const head = h("section", { class: "card", "aria-labelledby": "risk-title" });
  const heading = h("header");
  const place = h("div");
  const matrix = h("div");
  const second = card("Correlation of daily returns", matrix);
  head.append(heading, place);
  root.append(head, second);
  const drawHead = () =>
    heading.replaceChildren(
      h("h2", { id: "risk-title" }, "Risk"),
      h("span", { class: "muted" }, "from daily returns on adjusted closes"),
      known.element,
      periodChoice("risk", periodOf(asked)),
    );
  const load = async (signal) => {
    await symbolsAsked;
    const symbols = withHistory();
    const [sessions, as_of] = [periodOf(asked), asOf(asked)];
    return get("risk", { symbols: symbols.slice(0, 30).join(","), sessions, as_of }, signal);
  };
  const show = (data) => {
    const some = data.items.length > 0;
    second.hidden = !some;
    matrix.replaceChildren(...(some ? [correlation(data.correlation)] : []));
    return some ? [figures(data.items), explanation(data)] : noBatch();
  };
  second.hidden = true;
  drawHead();
  const part = loaded(place, load, show, { lines: 10 });
  const end = on("symbols", () => part.reload(true));
  return {
    update(next) {
      asked = next;
      known.show(next);
      part.reload(true);
    },
    end() {
      end();
      part.end();
    },
  };
}

function figures(items) {
  // What is the same of all symbols is stated once, below.
  const [sources, spans] = [distinct(items, (item) => item.source), distinct(items, period)];
  const beside = (item) => [
    sources.length > 1 ? h("span", { class: "under" }, sourceBadge(item.source, "History")) : null,
    spans.length > 1 ? h("small", { class: "muted under" }, `${whole(item.sessions)} returns, ${period(item)}`) : null,
  ];
  const columns = [
    { label: "Symbol" },
    ...[
      "Volatility p.a.",
      "Max drawdown",
      "Drawdown now",
      "VaR 95%",
      "VaR 99%",
      "Shortfall 95%",
      "Best day",
      "Worst day",
    ].map((label) => ({ label, number: true })),
  ];
  const most = (name) => Math.max(...items.map((item) => Math.abs(item[name] ?? 0))) || 1;
  const [wildest, deepest] = [most("volatility_annualised"), most("max_drawdown")];
  const meter = (value, top, text) =>
    h("td", { class: "number meter", vars: { share: String(Math.min(Math.abs(value ?? 0) / top, 1)) } }, text);
  const number = (text, kind = "") => h("td", { class: `number ${kind}` }, text);
  const rows = items.map((item) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("a", { href: hash("chart", item.symbol) }, item.symbol), beside(item)),
      meter(item.volatility_annualised, wildest, fraction(item.volatility_annualised)),
      meter(item.max_drawdown, deepest, fraction(item.max_drawdown)),
      number(fraction(item.current_drawdown)),
      number(fraction(item.value_at_risk_95)),
      number(fraction(item.value_at_risk_99)),
      number(fraction(item.expected_shortfall_95)),
      number(signedFraction(item.best_day), direction(item.best_day)),
      number(signedFraction(item.worst_day), direction(item.worst_day)),
    ),
  );
  return scrolling("Risk figures", table({ caption: "Risk of each symbol", columns, rows, className: "dense" }));
}

const distinct = (items, of) => [...new Set(items.map(of))];
const period = (item) => `${session(item.from)} to ${session(item.to)}`;

function explanation(data) {
  const [sources, periods] = [distinct(data.items, (item) => item.source), distinct(data.items, period)];
  const counts = distinct(data.items, (item) => whole(item.sessions));
  return h(
    "p",
    { class: "summary" },
    sources.length === 1 ? [sourceBadge(sources[0], "History"), " "] : null,
    periods.length === 1 ? `${periods[0]}, ` : "Symbols cover different periods, ",
    `${counts.length === 1 ? counts[0] : `up to ${whole(data.sessions)}`} daily returns per symbol. `,
    "Volatility: standard deviation of the returns times the root of 252. ",
    "VaR: the loss of one day that was exceeded on 5% or 1% of the days (historical simulation); ",
    "shortfall: the mean loss on the worst 5%. The past does not bound the future.",
  );
}

const describe = ({ names, value }) => `${names} (${two(value)})`;

function correlation({ symbols, matrix, sessions }) {
  const cell = (value, row, column) => {
    const strength = Math.round(Math.min(Math.abs(value ?? 0), 1) * 42);
    const ground = `color-mix(in srgb, var(--${(value ?? 0) < 0 ? "down" : "accent"}) ${strength}%, var(--surface))`;
    return h("td", { vars: { "ground-of": ground }, title: `${symbols[row]} with ${symbols[column]}` }, two(value));
  };
  const rows = matrix.map((line, row) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, symbols[row]),
      line.map((value, column) => cell(value, row, column)),
    ),
  );
  const grid = table({
    caption: "Pearson correlation of daily returns, symbol by symbol",
    columns: [{ label: "" }, ...symbols.map((label) => ({ label }))],
    rows,
    className: "matrix",
  });
  grid.querySelector("thead th").replaceWith(h("td"));
  const pairs = matrix
    .flatMap((line, row) =>
      line.slice(0, row).map((value, column) => ({ value, names: `${symbols[column]} and ${symbols[row]}` })),
    )
    .filter((pair) => pair.value !== null);
  pairs.sort((a, b) => b.value - a.value);
  const ends = pairs.length ? `Most alike: ${describe(pairs[0])}; least: ${describe(pairs.at(-1))}. ` : "";
  return h(
    "div",
    {},
    h("div", { class: "body" }, scrolling("Correlation matrix", grid)),
    h(
      "p",
      { class: "summary" },
      `${ends}Over ${whole(sessions)} daily returns that all have in common; 1 is in step, 0 unrelated, −1 opposite.`,
    ),
  );
}
