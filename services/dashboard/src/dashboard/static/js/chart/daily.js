/** Loads daily bars and indicators, keeps them, and describes what the chart shows. */

import { history } from "../core/api.js";
import { ADJUSTMENTS } from "../core/as-known.js";
import { h } from "../core/dom.js";
import { arrow, compact, percent, price, session, sourceBadge, two } from "../core/format.js";
import { columnsOf, INDICATORS } from "./indicators.js";
import { empty, failed, isOurs, noBatch, skeleton } from "../core/panel.js";
import { PriceChart } from "./price-chart.js";
import { hash } from "../core/router.js";
import { known, on, state, symbolsAsked } from "../core/state.js";
import { scrolling, table } from "../core/tables.js";

const MONTHS = { "1M": 1, "3M": 3, "6M": 6, "1Y": 12, "5Y": 60 };
export const RANGES = [...Object.keys(MONTHS), "All"];
const FIRST_DAY = "1900-01-01";
const TABLE_ROWS = 60;

/** The daily chart of a symbol, its summary and its table. */
export class DailyPart {
  constructor(place) {
    this.box = h("div", { class: "charts" });
    this.notice = h("div");
    this.summary = h("p", { class: "summary", id: "chart-summary" });
    this.details = h("details", { class: "data-table" }, h("summary", {}, "The bars as a table"));
    this.details.addEventListener("toggle", () => this.drawTable());
    place.append(this.notice, this.box, this.summary, this.details);
    this.chart = new PriceChart(this.box);
    this.loaded = null;
    this.stop = new AbortController();
    this.failed = false;
    const heal = () =>
      this.failed && state.connection === "open" && state.status?.store?.state === "ok" && this.show(this.asked);
    this.ends = [on("status", heal), on("symbols", () => this.grown())];
  }

  /** @param {{symbol: string, range: string, indicators: string[], adjust: string, asOf: string | null}} asked */
  async show(asked) {
    this.asked = asked;
    this.stop.abort();
    const { signal } = (this.stop = new AbortController());
    const same = ["symbol", "adjust", "asOf"].every((name) => this.loaded?.[name] === asked[name]);
    if (!same) this.veil(skeleton(8, true));
    await symbolsAsked;
    if (signal.aborted) return;
    if (state.symbolsKnown && !known(asked.symbol)?.sessions) {
      this.loaded = null;
      this.veil(this.none());
      return;
    }
    try {
      const data = await this.load(asked, same ? this.loaded : null, signal);
      if (signal.aborted) return;
      this.failed = false;
      this.loaded = data;
      this.draw();
    } catch (error) {
      if (signal.aborted) return;
      this.failed = !isOurs(error);
      this.loaded = null;
      if (error.status === undefined) console.error(error);
      this.veil(error.status === 404 && !state.symbols.length ? noBatch() : failed(error, () => this.show(asked)));
    }
  }

  /** What the chart needs, with what is there already. */
  async load({ symbol, range, indicators, adjust, asOf }, have, signal) {
    const from = startOf(symbol, MONTHS[range] === undefined ? null : Math.max(MONTHS[range], 12), asOf);
    const enough = have && have.from <= from;
    const data = enough ? have : { symbol, adjust, asOf, from, columns: new Map() };
    if (!enough) {
      const answer = await history(symbol, "bars", { from, adjust, as_of: asOf }, signal);
      Object.assign(data, { bars: answer.items, source: answer.source, knownAt: answer.known_at });
    }
    const missing = columnsOf(indicators).filter((name) => !data.columns.has(name));
    if (missing.length && data.bars.length) {
      const answer = await history(
        symbol,
        "indicators",
        { names: missing.join(","), from: data.from, source: data.source, as_of: asOf },
        signal,
      );
      for (const name of missing)
        data.columns.set(name, new Map(answer.items.map((row) => [row.session_date, row[name]])));
    }
    return { ...data, indicators };
  }

  draw() {
    const { bars } = this.loaded;
    const { symbol, range, asOf } = this.asked;
    if (!bars.length) {
      this.veil(this.none());
      return;
    }
    this.notice.replaceChildren();
    for (const part of [this.box, this.summary, this.details]) part.hidden = false;
    const start = startOf(symbol, MONTHS[range] ?? null, asOf);
    const first = Math.max(
      bars.findIndex((bar) => bar.session_date >= start),
      0,
    );
    this.chart.draw(this.loaded, { from: first - 0.5, to: bars.length + 1.5 });
    this.drawSummary(bars.slice(first));
    this.drawTable();
  }

  none() {
    const { symbol } = this.asked;
    if (!state.symbols.some((each) => each.sessions > 0)) return noBatch();
    if (!state.quotes.has(symbol))
      return empty(`Nothing is known of ${symbol}`, "It has neither daily history nor live prices.");
    return empty(
      `No daily history of ${symbol}`,
      "It has live prices only: see its ",
      h("a", { href: hash("chart", symbol, { mode: "15m" }) }, "window charts"),
      ".",
    );
  }

  drawSummary(bars) {
    const { symbol, source, adjust, asOf, knownAt, indicators, columns } = this.loaded;
    const [first, last] = [bars[0], bars.at(-1)];
    const change = (last.close / first.close - 1) * 100;
    const most = bars.reduce((best, bar) => (bar.high > best.high ? bar : best));
    const least = bars.reduce((best, bar) => (bar.low < best.low ? bar : best));
    const values = indicators
      .flatMap((name) => INDICATORS[name].lines)
      .map((line) => `${line.label} ${two(columns.get(line.name)?.get(last.session_date))}`);
    this.summary.replaceChildren(
      sourceBadge(source, "History"),
      ` ${symbol} closed at ${price(last.close)} on ${session(last.session_date)}, ` +
        `${arrow(change)} ${percent(change)} ` +
        `over ${bars.length} sessions since ${session(first.session_date)}. ` +
        `Highest ${price(most.high)} on ${session(most.session_date)}, ` +
        `lowest ${price(least.low)} on ${session(least.session_date)}. ` +
        (values.length ? `At the last close: ${values.join(", ")}. ` : "") +
        (values.length && adjust !== "all" ? "Indicators are of prices adjusted for splits and dividends. " : "") +
        `${ADJUSTMENTS[adjust].text}, as known on ${session((asOf ?? knownAt).slice(0, 10))}` +
        `${asOf ? ` by the source's answer of ${session(knownAt.slice(0, 10))}` : ""}. `,
      h("a", { href: "https://www.tradingview.com/", rel: "noreferrer noopener" }, "Charts by TradingView"),
    );
  }

  drawTable() {
    this.details.querySelector(".scroll")?.remove();
    if (!this.details.open || !this.loaded?.bars?.length) return;
    const bars = this.loaded.bars.slice(-TABLE_ROWS).reverse();
    const rows = bars.map((bar) =>
      h(
        "tr",
        {},
        h("th", { scope: "row", class: "nowrap" }, session(bar.session_date)),
        [bar.open, bar.high, bar.low, bar.close].map((value) => h("td", { class: "number" }, price(value))),
        h("td", { class: "number" }, compact(bar.volume)),
      ),
    );
    const columns = [
      { label: "Session" },
      ...["Open", "High", "Low", "Close", "Volume"].map((label) => ({ label, number: true })),
    ];
    const caption = `The newest ${bars.length} daily bars of ${this.loaded.symbol}, newest first`;
    this.details.append(scrolling(caption, table({ caption, columns, rows })));
  }

  /** A notice in the chart's place. */
  veil(notice) {
    this.chart.remove();
    for (const part of [this.box, this.summary, this.details]) part.hidden = true;
    this.notice.replaceChildren(notice);
  }

  /** A newer batch is in the lake. */
  grown() {
    const newest = known(this.asked?.symbol)?.last_session;
    const last = this.loaded?.bars?.at(-1)?.session_date;
    if (!this.asked || this.asked.asOf || !newest || this.failed || last === newest) return;
    this.loaded = null;
    this.show(this.asked);
  }

  quote() {
    this.chart.setLive();
  }

  redraw() {
    const range = this.chart.panes?.range();
    if (this.loaded?.bars?.length) this.chart.draw(this.loaded, range);
  }

  end() {
    this.stop.abort();
    for (const end of this.ends) end();
    this.chart.remove();
  }
}

/** First day of a range that ends with the last session known then; null months mean all there is. */
function startOf(symbol, months, asOf) {
  if (months === null) return FIRST_DAY;
  const newest = known(symbol)?.last_session ?? new Date().toISOString().slice(0, 10);
  const last = asOf && asOf.slice(0, 10) < newest ? asOf.slice(0, 10) : newest;
  if (Number.isNaN(Date.parse(last))) return FIRST_DAY;
  const day = new Date(`${last}T00:00:00Z`);
  day.setUTCMonth(day.getUTCMonth() - months);
  return day.toISOString().slice(0, 10);
}
