/** Daily candles with volume, indicators and the live price. */

import { BandFill } from "./band-fill.js";
import { arrow, compact, direction, percent, price, session, sessionMark, two } from "../core/format.js";
import { INDICATORS } from "./indicators.js";
import { Panes, writeLegend } from "./panes.js";
import { state } from "../core/state.js";
import { publish } from "../core/testing.js";
import { colour } from "../core/theme.js";

/** How a price scale writes. */
export const PRICE_FORMAT = { type: "custom", formatter: price, minMove: 0.01 };
/** Pixels below which the legend takes three lines. */
const NARROW = 520;
/** How much of its colour the area between two bands has. */
export const BAND_ALPHA = 0.12;
const LABELS = {
  price: "Price and volume",
  rsi: "Relative strength index",
  macd: "Moving average convergence divergence",
};

/**
 * @typedef {{symbol: string, source: string, asOf: string | null, bars: object[],
 *   columns: Map<string, Map<string, number>>, indicators: string[]}} Daily
 *   bars oldest first; columns by name, then by session
 */
export class PriceChart {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    this.panes = null;
  }

  /**
   * Draw `data` again.
   * @param {Daily} data
   * @param {{from: number, to: number} | null} range positions to show; null for all
   */
  draw(data, range) {
    this.panes?.remove();
    this.data = data;
    this.series = {};
    this.fill = null;
    const times = data.bars.map((bar) => bar.session_date);
    this.panes = new Panes(this.place, {
      label: this.label(),
      times,
      describe: (at) => this.describe(at),
      onPoint: (at) => this.write(at),
      time: { tickMarkFormatter: sessionMark },
      localization: { timeFormatter: session },
    });
    this.drawPrice(times);
    for (const name of data.indicators) this.drawIndicator(INDICATORS[name], times);
    this.panes.show(range?.from ?? 0, range?.to ?? times.length + 2);
    this.panes.layOut();
    this.write(null);
    this.setLive();
    publish("daily", () => this.published());
  }

  /** What the panes show, for who cannot see them. */
  label() {
    const further = new Set(this.data.indicators.map((name) => INDICATORS[name].pane));
    const panes = ["price", ...[...further].filter((name) => name !== "price")].map((name) => LABELS[name]);
    return `${this.data.symbol}: ${panes.join("; ")}. Arrow keys read bar by bar, plus and minus zoom.`;
  }

  drawPrice(times) {
    const { bars } = this.data;
    const pane = this.panes.add("price");
    const [up, down] = [colour("up"), colour("down")];
    const volume = pane.add("Histogram", {
      priceScaleId: "volume",
      priceFormat: { type: "custom", formatter: compact, minMove: 1 },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    volume.setData(
      bars.map((bar, at) => ({
        time: times[at],
        value: bar.volume,
        color: colour(bar.close >= bar.open ? "up" : "down", 0.3),
      })),
    );
    pane.scale("volume").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    pane
      .scale("right")
      .applyOptions({ scaleMargins: { top: this.place.clientWidth < NARROW ? 0.26 : 0.16, bottom: 0.22 } });
    // Rising candles are hollow: direction shows without colour too.
    const candles = pane.add("Candlestick", {
      upColor: colour("surface"),
      borderUpColor: up,
      wickUpColor: up,
      downColor: down,
      borderDownColor: down,
      wickDownColor: down,
      priceLineVisible: false,
      lastValueVisible: false,
      priceFormat: PRICE_FORMAT,
    });
    candles.setData(
      bars.map((bar, at) => ({ time: times[at], open: bar.open, high: bar.high, low: bar.low, close: bar.close })),
    );
    pane.anchor = candles;
    pane.values = bars.map((bar) => bar.close);
    Object.assign(this.series, { candles, volume });
  }

  drawIndicator({ pane: where, lines, fill }, times) {
    const pane = this.panes.panes.find((each) => each.name === where) ?? this.panes.add(where);
    for (const line of lines) {
      const values = this.column(line.name, times);
      const unlabelled = {
        priceLineVisible: false,
        lastValueVisible: false,
        crosshairMarkerVisible: false,
        ...(where === "rsi" ? RSI_SCALE : {}),
      };
      const series = line.histogram
        ? pane.add("Histogram", { ...unlabelled, base: 0 })
        : pane.add("Line", {
            ...unlabelled,
            color: colour(line.colour),
            lineWidth: line.name.startsWith("bb") ? 1 : 1.5,
            lineStyle: line.dashed ? 2 : 0,
          });
      series.setData(values.map((value, at) => point(times[at], value, line)));
      this.series[line.name] = series;
      if (where === "macd") pane.scale("right").applyOptions({ scaleMargins: { top: 0.24, bottom: 0.06 } });
      if (where === "rsi") pane.scale("right").applyOptions({ scaleMargins: { top: 0.06, bottom: 0.06 } });
      if (!pane.anchor) [pane.anchor, pane.values] = [series, values];
      if (where === "rsi")
        for (const level of [30, 70])
          series.createPriceLine({
            price: level,
            color: colour("line-strong"),
            lineWidth: 1,
            lineStyle: 2,
            axisLabelVisible: false,
            title: "",
          });
    }
    if (fill) {
      this.fill = new BandFill(colour(fill.colour, BAND_ALPHA));
      this.series[fill.upper].attachPrimitive(this.fill);
      this.fill.set(this.column(fill.upper, times), this.column(fill.lower, times));
    }
  }

  /** A column's values by position. @returns {(number | null)[]} */
  column(name, times) {
    const values = this.data.columns.get(name) ?? new Map();
    return times.map((day) => values.get(day) ?? null);
  }

  /** Move the live price's line; what was known on an earlier day has none. */
  setLive() {
    if (this.data?.asOf) return;
    const quote = state.quotes.get(this.data?.symbol);
    if (!quote || !this.series?.candles) return;
    const look = {
      price: quote.price,
      color: colour(direction(quote.change) || "muted"),
      lineWidth: 1,
      lineStyle: 1,
      axisLabelVisible: true,
      title: "live",
    };
    if (this.live && this.liveOf === this.series.candles) this.live.applyOptions(look);
    else [this.live, this.liveOf] = [this.series.candles.createPriceLine(look), this.series.candles];
  }

  write(at) {
    const { bars } = this.data;
    const index = at ?? bars.length - 1;
    const bar = bars[index];
    if (!bar) return;
    for (const pane of this.panes.panes) {
      const lines = this.data.indicators
        .map((name) => INDICATORS[name])
        .filter((each) => each.pane === pane.name)
        .flatMap((each) => each.lines);
      const entries = lines.map((line) => [
        line.label,
        two(this.data.columns.get(line.name)?.get(bar.session_date)),
        line.colour,
      ]);
      writeLegend(pane.legend, pane.name === "price" ? [...this.ofBar(index), ...entries] : entries);
    }
  }

  ofBar(index) {
    const { bars } = this.data;
    const [bar, before] = [bars[index], bars[index - 1]];
    const change = before ? (bar.close / before.close - 1) * 100 : null;
    return [
      ["", session(bar.session_date)],
      ["O", price(bar.open)],
      ["H", price(bar.high)],
      ["L", price(bar.low)],
      ["C", price(bar.close)],
      ["", before ? `${arrow(change)} ${percent(change)}` : "", null, direction(change)],
      ["Vol", compact(bar.volume)],
    ];
  }

  describe(at) {
    const bar = this.data.bars[at];
    const lines = this.data.indicators.flatMap((name) => INDICATORS[name].lines);
    const more = lines.map((line) => `${line.label} ${two(this.data.columns.get(line.name)?.get(bar.session_date))}`);
    return [
      session(bar.session_date),
      `open ${price(bar.open)}`,
      `high ${price(bar.high)}`,
      `low ${price(bar.low)}`,
      `close ${price(bar.close)}`,
      `volume ${compact(bar.volume)}`,
      ...more,
    ].join(", ");
  }

  published() {
    const series = Object.fromEntries(Object.entries(this.series).map(([name, each]) => [name, each.data()]));
    return {
      symbol: this.data.symbol,
      source: this.data.source,
      range: this.panes.range(),
      series,
      band: this.fill?.pieces() ?? null,
      panes: this.panes.panes.map((pane) => pane.name),
    };
  }

  /** Take the chart away. */
  remove() {
    publish("daily", null);
    this.panes?.remove();
    this.panes = null;
    this.series = {};
    this.data = null;
  }
}

function point(time, value, line) {
  if (value === null) return { time };
  return line.histogram ? { time, value, color: colour(value >= 0 ? "up" : "down", 0.55) } : { time, value };
}

// RSI is read against its whole scale.
const RSI_SCALE = {
  autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 100 } }),
  priceFormat: { type: "custom", formatter: (value) => value.toFixed(0), minMove: 1 },
};
