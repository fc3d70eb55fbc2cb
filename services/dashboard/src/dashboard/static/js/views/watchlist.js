/** The watchlist: one row per symbol, its price moving with the stream. */

import { h, svg } from "../core/dom.js";
import { arrow, compact, direction, percent, price, signed, utc, local } from "../core/format.js";
import { skeleton } from "../core/panel.js";
import { current, hash } from "../core/router.js";
import { known, listed, on, state } from "../core/state.js";

const WIDTH = 100;
const HEIGHT = 26;
const rows = new Map();
const waiting = new Set();
let frame = 0;
let body = null;

/** Draw the watchlist into `place` and keep it current. */
export function setUpWatchlist(place) {
  const heads = [
    ["Symbol", ""],
    ["Trend", "trend"],
    ["Last", "number price"],
    ["Change", "number change"],
    ["Volume", "number"],
  ];
  body = h("tbody");
  const table = h(
    "table",
    { id: "quotes" },
    h(
      "caption",
      { class: "visually-hidden" },
      "Live prices; change is against the previous close. Choose a symbol for its chart.",
    ),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        heads.map(([label, kind]) => h("th", { scope: "col", class: kind }, label)),
      ),
    ),
    body,
  );
  const wait = skeleton(8);
  place.append(h("header", {}, h("h2", {}, "Watchlist"), h("span", { class: "muted", id: "as-of" })), wait, table);
  table.hidden = true;
  body.addEventListener("keydown", moveByArrow);
  const draw = (symbols) => {
    for (const symbol of symbols) waiting.add(symbol);
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      const names = listed();
      wait.hidden = names.length > 0 || state.connection === "open";
      table.hidden = names.length === 0;
      const more = names.filter((symbol) => !rows.has(symbol));
      for (const symbol of more) addRow(symbol);
      if (more.length) body.append(...names.map((symbol) => rows.get(symbol).row));
      for (const symbol of waiting) if (rows.has(symbol)) drawRow(rows.get(symbol), symbol);
      waiting.clear();
      drawAsOf();
    });
  };
  on("quotes", draw);
  on("symbols", () => draw(listed()));
  on("status", () => draw(listed().filter((symbol) => !rows.has(symbol))));
  on("connection", () => draw([]));
  on("selected", markSelected);
}

function addRow(symbol) {
  const line = svg("polyline", { class: "spark", points: "" });
  const base = svg("line", { class: "spark-base", x1: 0, x2: WIDTH, y1: 0, y2: 0, visibility: "hidden" });
  const link = h("a", { href: hash("chart", symbol), "data-symbol": symbol }, symbol);
  const parts = {
    line,
    base,
    link,
    price: h("td", { class: "number price" }),
    change: h("td", { class: "number change" }),
    volume: h("td", { class: "number" }),
  };
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    base,
    line,
  );
  parts.row = h(
    "tr",
    { onclick: (event) => open(event, symbol) },
    h("th", { scope: "row" }, link),
    h("td", { class: "trend" }, picture),
    parts.price,
    parts.change,
    parts.volume,
  );
  rows.set(symbol, parts);
  waiting.add(symbol);
  markSelected();
}

function drawRow(parts, symbol) {
  const quote = state.quotes.get(symbol);
  if (!quote) {
    parts.price.textContent = price(known(symbol)?.last_close);
    parts.price.title = "Last close; no live price";
    parts.change.textContent = "–";
    parts.volume.textContent = "–";
    return;
  }
  const kind = direction(quote.change);
  parts.price.textContent = price(quote.price);
  parts.price.title = `${local(quote.event_time)}, ${utc(quote.event_time)}, ${quote.source}`;
  parts.change.className = `number change ${kind}`;
  parts.change.title =
    quote.change_since === "first_tick"
      ? "Since the first tick known"
      : `Previous close ${price(quote.previous_close)}`;
  parts.change.replaceChildren(
    h("span", {}, `${arrow(quote.change)} ${signed(quote.change)}`),
    h("span", {}, percent(quote.change_percent)),
  );
  parts.volume.textContent = compact(quote.volume);
  drawSpark(parts, state.sparks.get(symbol) ?? [], quote);
  if (quote.moved) flash(parts.price, quote.moved > 0 ? "up" : "down");
}

function drawSpark({ line, base }, points, quote) {
  if (points.length < 2) return;
  const level = quote.change_since === "first_tick" ? points[0] : (quote.previous_close ?? points[0]);
  const [least, most] = [Math.min(...points), Math.max(...points)];
  const span = most - least || 1;
  const y = (value) => HEIGHT - 3 - ((value - least) / span) * (HEIGHT - 6);
  line.setAttribute(
    "points",
    points.map((value, at) => `${((at / (points.length - 1)) * WIDTH).toFixed(1)},${y(value).toFixed(1)}`).join(" "),
  );
  line.setAttribute("class", `spark ${direction(points.at(-1) - points[0])}`);
  // The previous close is drawn only where it lies within the line's range, which it must not flatten.
  const within = level >= least && level <= most;
  base.setAttribute("visibility", within ? "visible" : "hidden");
  if (within) for (const end of ["y1", "y2"]) base.setAttribute(end, y(level).toFixed(1));
}

function flash(cell, kind) {
  cell.classList.remove("flash-up", "flash-down");
  void cell.offsetWidth; // Restarts the animation.
  cell.classList.add(`flash-${kind}`);
}

function drawAsOf() {
  const place = document.getElementById("as-of");
  const newest = [...state.quotes.values()].reduce(
    (last, quote) => (quote.event_time > last ? quote.event_time : last),
    "",
  );
  if (!newest) return place.replaceChildren();
  const text = local(newest);
  if (place.textContent !== text) place.textContent = text;
  place.title = `Newest tick, ${utc(newest)}`;
  return undefined;
}

function markSelected() {
  for (const [symbol, { row, link }] of rows) {
    const chosen = symbol === state.selected;
    row.classList.toggle("selected", chosen);
    if (chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function open(event, symbol) {
  if (event.target.closest("a")) return;
  location.hash = target(symbol);
}

/** The chart of `symbol`, with what is chosen in the present one. */
export function target(symbol) {
  const route = current();
  return hash("chart", symbol, route.view === "chart" ? Object.fromEntries(route.params) : {});
}

/** Select the symbol `step` rows further. */
export function step(by) {
  const names = listed().filter((symbol) => rows.has(symbol));
  const at = names.indexOf(state.selected);
  const next = names[Math.min(Math.max(at + by, 0), names.length - 1)];
  if (next) location.hash = target(next);
}

function moveByArrow(event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const links = [...body.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  if (!by || at < 0) return;
  event.preventDefault();
  links[Math.min(Math.max(at + by, 0), links.length - 1)].focus();
}
