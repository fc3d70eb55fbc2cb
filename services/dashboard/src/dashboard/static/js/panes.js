/** Charts above one another that share time axis, zoom and crosshair; the crosshair also moves by keyboard. */

import { h, say } from "./dom.js";
import { colour } from "./theme.js";

const AXIS_FONT = 11;

/**
 * @typedef {{name: string, element: HTMLElement, legend: HTMLElement, chart: any, anchor: any,
 *   values: (number | null)[]}} Pane
 * `anchor` is the series and `values` its prices by position, where the crosshair of another pane shows on this one.
 */
export class Panes {
  /**
   * @param {HTMLElement} place
   * @param {{label: string, times: (string | number)[], describe: (at: number) => string,
   *   onPoint: (at: number) => void, time?: object, localization?: object}} options `times` are those of every
   *   pane's data, in order
   */
  constructor(place, options) {
    this.place = place;
    this.options = options;
    this.at = null;
    this.syncing = false;
    this.byTime = new Map(options.times.map((value, index) => [value, index]));
    /** @type {Pane[]} */
    this.panes = [];
  }

  /** Other times, after more data came in. */
  setTimes(times) {
    this.options.times = times;
    this.byTime = new Map(times.map((value, index) => [value, index]));
  }

  /** A further pane below. @returns {Pane} its anchor is to be set */
  add(name, label) {
    // Canvases laid out by a table without meaning: label, summary and keyboard reading say what they show.
    const plot = h("div", { class: "plot", "aria-hidden": "true" });
    const legend = h("div", { class: "legend", "aria-hidden": "true" });
    const first = this.panes.length === 0;
    const element = h(
      "div",
      {
        class: "chart",
        role: "group",
        "aria-roledescription": "chart",
        "aria-label": label,
        tabindex: first ? "0" : null,
        "aria-describedby": first ? "chart-summary" : null,
      },
      plot,
      legend,
    );
    this.place.append(element);
    for (const pane of this.panes) pane.chart.timeScale().applyOptions({ visible: false });
    const chart = LightweightCharts.createChart(plot, this.look());
    const pane = { name, element, legend, chart, anchor: null, values: [] };
    this.panes.push(pane);
    if (first) element.addEventListener("keydown", (event) => this.pressed(event));
    chart.timeScale().subscribeVisibleLogicalRangeChange((range) => this.follow(pane, range));
    chart.subscribeCrosshairMove((param) => {
      // Moves that this class made itself have no event of the pointer's.
      if (param.sourceEvent) this.point(this.byTime.get(param.time) ?? null, pane);
    });
    return pane;
  }

  look() {
    const line = colour("line");
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    return {
      autoSize: true,
      layout: {
        background: { type: "solid", color: colour("surface") },
        textColor: colour("muted"),
        fontSize: AXIS_FONT,
        fontFamily: getComputedStyle(document.body).fontFamily,
      },
      grid: { vertLines: { color: colour("line", 0.5) }, horzLines: { color: colour("line", 0.5) } },
      rightPriceScale: { borderColor: line, minimumWidth: this.width ?? 0 },
      timeScale: { borderColor: line, rightOffset: 3, minBarSpacing: 0.2, ...this.options.time },
      crosshair: {
        mode: 0,
        vertLine: { labelBackgroundColor: colour("muted") },
        horzLine: { labelBackgroundColor: colour("muted") },
      },
      kineticScroll: { touch: !still, mouse: false },
      // A page is scrolled by touch also where the finger lands on a chart.
      handleScroll: { vertTouchDrag: false },
      localization: { locale: "en-GB", ...this.options.localization },
    };
  }

  follow(from, range) {
    if (this.syncing || !range) return;
    this.syncing = true;
    for (const pane of this.panes) if (pane !== from) pane.chart.timeScale().setVisibleLogicalRange(range);
    this.syncing = false;
    this.align();
  }

  /** Show these positions, fractions allowed. */
  show(from, to) {
    for (const pane of this.panes) pane.chart.timeScale().setVisibleLogicalRange({ from, to });
  }

  /** Make the price scales equally wide, so that the same day is at the same place in all panes. */
  align() {
    if (this.panes.length < 2 || this.aligning) return;
    this.aligning = requestAnimationFrame(() => {
      this.aligning = 0;
      const width = Math.max(...this.panes.map((pane) => pane.chart.priceScale("right").width()));
      if (width === this.width || !Number.isFinite(width)) return;
      this.width = width;
      for (const pane of this.panes) pane.chart.applyOptions({ rightPriceScale: { minimumWidth: width } });
    });
  }

  /** Put the crosshair of all panes but `from` on position `at`; null takes it away. */
  point(at, from = null) {
    this.at = at;
    for (const pane of this.panes) {
      if (pane === from || !pane.anchor) continue;
      const value = at === null ? null : pane.values[at];
      if (value === null || value === undefined) pane.chart.clearCrosshairPosition();
      else pane.chart.setCrosshairPosition(value, this.options.times[at], pane.anchor);
    }
    this.options.onPoint(at);
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.options.times.length - 1;
    const at = this.at ?? last + (event.key === "ArrowLeft" ? 1 : 0);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      this.read(Math.min(Math.max(to, 0), last));
    } else if (event.key === "+" || event.key === "=" || event.key === "-") {
      event.preventDefault();
      this.zoom(event.key === "-" ? 1.35 : 1 / 1.35);
    } else if (event.key === "Escape") {
      this.point(null);
    }
  }

  read(at) {
    const scale = this.panes[0].chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    const span = range.to - range.from;
    if (at < range.from) this.show(at - 0.5, at - 0.5 + span);
    else if (at > range.to) this.show(at + 0.5 - span, at + 0.5);
    this.point(at);
    say(this.options.describe(at));
  }

  /** Show `factor` times as much, the right edge staying. */
  zoom(factor) {
    const range = this.panes[0].chart.timeScale().getVisibleLogicalRange();
    if (!range) return;
    const span = Math.min(Math.max((range.to - range.from) * factor, 5), this.options.times.length + 10);
    this.show(range.to - span, range.to);
  }

  /** Which positions are seen. @returns {{from: number, to: number} | null} */
  range() {
    return this.panes[0]?.chart.timeScale().getVisibleLogicalRange() ?? null;
  }

  /** Take all panes away. */
  remove() {
    cancelAnimationFrame(this.aligning);
    for (const pane of this.panes) {
      pane.chart.remove();
      pane.element.remove();
    }
    this.panes = [];
  }
}

/** Write `entries` into a legend: [label, text, colour token or null, class]. */
export function writeLegend(place, entries) {
  place.replaceChildren(
    ...entries.map(([label, text, key, kind]) =>
      h(
        "span",
        { class: kind ?? null, vars: key ? { key: `var(--${key})` } : {} },
        key ? h("i", { class: "key" }) : null,
        label ? h("b", {}, `${label} `) : null,
        text,
      ),
    ),
  );
}
