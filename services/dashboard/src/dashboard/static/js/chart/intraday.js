/** The running windows: price of the ticks, the windows' moving average and their volatility bands. */

import { get } from "../core/api.js";
import { BandFill } from "./band-fill.js";
import { h } from "../core/dom.js";
import { local, price, zoneName } from "../core/format.js";
import { empty, failed, skeleton } from "../core/panel.js";
import { Panes, writeLegend } from "./panes.js";
import { BAND_ALPHA, PRICE_FORMAT } from "./price-chart.js";
import { on, state } from "../core/state.js";
import { publish } from "../core/testing.js";
import { colour } from "../core/theme.js";
import { figures, present, running, sentence, windowTable } from "./window-facts.js";
import { lay, LINES } from "./window-lines.js";

const REDRAW_MS = 1_000;
const REFILL_MS = 30_000;
const REFILL = 40;
const SHAPES = {
  "15m": { step: 10, span: 2 * 3600, limit: 240 },
  "1h": { step: 60, span: 10 * 3600, limit: 200 },
};

/** The intraday chart of a symbol. */
export class IntradayPart {
  constructor(place) {
    this.facts = h("dl", { class: "facts" });
    this.notice = h("div");
    this.box = h("div", { class: "charts" });
    this.summary = h("p", { class: "summary", id: "chart-summary" });
    this.details = h("details", { class: "data-table" }, h("summary", {}, "Running windows as a table"));
    this.details.addEventListener("toggle", () => this.drawTable());
    place.append(this.notice, this.box, this.summary, this.facts, this.details);
    this.stop = new AbortController();
    this.timer = 0;
    // The stream has the fullest running window only; the others come with a request for all.
    const refill = setInterval(() => this.refill(), REFILL_MS);
    this.ends = [
      () => clearInterval(refill),
      on("window", (window) => this.take(window)),
      on("connection", () => this.back()),
    ];
  }

  /** @param {{symbol: string, mode: "15m" | "1h"}} asked */
  async show(asked) {
    this.asked = asked;
    this.stop.abort();
    const { signal } = (this.stop = new AbortController());
    this.veil(skeleton(8, true));
    const path = `symbols/${encodeURIComponent(asked.symbol)}`;
    const shape = SHAPES[asked.mode];
    try {
      const [windows, ticks] = await Promise.all([
        get(`${path}/windows`, { length: asked.mode, limit: shape.limit }, signal),
        get(`${path}/ticks`, { limit: 5000 }, signal),
      ]);
      if (signal.aborted) return;
      this.windows = new Map(windows.items.map((window) => [window.window_start, window]));
      this.ticks = ticks.items.map((tick) => [Date.parse(tick.event_time) / 1000, tick.price]);
      for (const window of state.windows.values()) if (this.mine(window)) this.windows.set(window.window_start, window);
      this.failed = false;
      this.build();
    } catch (error) {
      if (signal.aborted) return;
      this.failed = true;
      if (error.status === undefined) console.error(error);
      this.veil(failed(error, () => this.show(asked)));
    }
  }

  mine(window) {
    return window.symbol === this.asked?.symbol && window.window_length === this.asked.mode;
  }

  take(window) {
    if (!this.windows || !this.mine(window)) return;
    // A closed window is never replaced by a running one that arrives late.
    if (this.windows.get(window.window_start)?.final && !window.final) return;
    this.windows.set(window.window_start, window);
    this.later();
  }

  async refill() {
    if (!this.windows || this.failed || document.hidden) return;
    const { asked } = this;
    const path = `symbols/${encodeURIComponent(asked.symbol)}/windows`;
    const { items } = await get(path, { length: asked.mode, limit: REFILL }, this.stop.signal).catch(() => ({
      items: [],
    }));
    if (asked === this.asked) items.forEach((window) => this.take(window));
  }

  /** The symbol's quote moved. */
  quote() {
    const quote = state.quotes.get(this.asked?.symbol);
    if (!quote || !this.ticks) return;
    const at = Date.parse(quote.event_time) / 1000;
    if (at > (this.ticks.at(-1)?.[0] ?? 0)) this.ticks.push([at, quote.price]);
    this.later();
  }

  later() {
    this.timer ||= setTimeout(() => {
      this.timer = 0;
      if (this.panes) this.refresh();
      else if (!this.failed) this.build();
    }, REDRAW_MS);
  }

  /** What was missed while the stream was away is reloaded. */
  back() {
    if (state.connection === "open" && this.asked) this.show(this.asked);
  }

  build() {
    const shape = SHAPES[this.asked.mode];
    const last = Math.max(
      this.ticks.at(-1)?.[0] ?? 0,
      ...[...this.windows.values()].filter((each) => each.final).map((each) => Date.parse(each.window_end) / 1000),
    );
    const data = last ? lay(this.ticks, [...this.windows.values()], { ...shape, start: last - shape.span }) : null;
    if (!data?.times.length) {
      this.veil(empty(`No ticks of ${this.asked.symbol} yet`, "Windows appear here a minute after the first tick."));
      return;
    }
    this.start = data.times[0];
    this.notice.replaceChildren();
    for (const part of [this.box, this.facts, this.summary, this.details]) part.hidden = false;
    this.panes?.remove();
    const clock = (at) => local(at * 1000, shape.step < 60 ? "time" : "moment");
    this.panes = new Panes(this.box, {
      label: `${this.asked.symbol}: ticks, average and bands of ${this.asked.mode} windows. Arrow keys read point by point.`,
      times: data.times,
      describe: (at) => this.describe(at),
      onPoint: (at) => this.write(at),
      time: {
        timeVisible: true,
        secondsVisible: false,
        tickMarkFormatter: (at, kind) => local(at * 1000, kind < 3 ? "day" : kind === 3 ? "clock" : "time"),
      },
      localization: { timeFormatter: (at) => `${clock(at)} ${zoneName(at * 1000)}` },
    });
    const pane = this.panes.add("price");
    this.series = {};
    for (const [name, line] of Object.entries(LINES)) {
      this.series[name] = pane.add("Line", {
        color: colour(line.colour),
        lineWidth: line.width,
        lineStyle: line.style,
        priceLineVisible: name === "price",
        lastValueVisible: name === "price",
        crosshairMarkerVisible: name === "price",
        priceFormat: PRICE_FORMAT,
      });
    }
    this.fill = new BandFill(colour(LINES.upper.colour, BAND_ALPHA));
    this.series.upper.attachPrimitive(this.fill);
    pane.anchor = this.series.price;
    this.refresh();
    const count = data.times.length;
    // The first minutes are not stretched over the whole width.
    this.panes.show(Math.max(count - 720, Math.min(0, count - 120)), count + 6);
    publish("intraday", () => ({
      symbol: this.asked.symbol,
      length: this.asked.mode,
      times: this.data.times,
      series: Object.fromEntries(Object.entries(this.series).map(([name, each]) => [name, each.data()])),
      band: this.fill.pieces(),
    }));
  }

  refresh() {
    const data = lay(this.ticks, [...this.windows.values()], { ...SHAPES[this.asked.mode], start: this.start });
    this.data = data;
    this.panes.setTimes(data.times);
    for (const name of Object.keys(LINES))
      this.series[name].setData(
        data[name].map((value, at) => (value === null ? { time: data.times[at] } : { time: data.times[at], value })),
      );
    this.fill.set(data.upper, data.lower);
    this.panes.panes[0].values = data.price;
    this.write(this.panes.at);
    this.drawFacts();
    this.drawTable();
  }

  write(at) {
    const index = at ?? this.data.price.findLastIndex((value) => value !== null);
    const entries = Object.entries(LINES).map(([name, line]) => [
      line.label,
      price(lastKnown(this.data[name], index)),
      line.colour,
    ]);
    writeLegend(this.panes.panes[0].legend, [["", local(this.data.times[index] * 1000)], ...entries]);
  }

  describe(at) {
    return [
      local(this.data.times[at] * 1000),
      ...Object.entries(LINES).map(([name, line]) => `${line.label} ${price(lastKnown(this.data[name], at))}`),
    ].join(", ");
  }

  drawFacts() {
    const all = [...this.windows.values()];
    const window = present(all, this.now());
    this.facts.hidden = !window;
    this.facts.replaceChildren(...(window ? figures(window) : []));
    this.summary.textContent = sentence(all, window, this.asked);
  }

  drawTable() {
    this.details.querySelector(".scroll")?.remove();
    if (!this.details.open) return;
    const caption = `Running ${this.asked.mode} windows of ${this.asked.symbol}`;
    this.details.append(windowTable(running([...this.windows.values()], this.now()), caption));
  }

  /** Event time of the newest tick, seconds since 1970. */
  now() {
    return this.ticks.at(-1)?.[0] ?? 0;
  }

  veil(notice) {
    this.panes?.remove();
    this.panes = null;
    publish("intraday", null);
    for (const part of [this.box, this.facts, this.summary, this.details]) part.hidden = true;
    this.notice.replaceChildren(notice);
  }

  redraw() {
    if (this.panes) this.build();
  }

  end() {
    this.stop.abort();
    clearTimeout(this.timer);
    for (const end of this.ends) end();
    this.veil("");
  }
}

function lastKnown(values, at) {
  for (let index = at; index >= 0; index -= 1) if (values[index] !== null) return values[index];
  return null;
}
