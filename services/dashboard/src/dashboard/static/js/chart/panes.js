/** A chart of panes above one another; its crosshair also moves by keyboard. */

import { h, say } from "../core/dom.js";
import { colour } from "../core/theme.js";

const AXIS_FONT = 11;
/** Pixels of each pane below the first, which takes the rest. */
const FURTHER = 116;

/**
 * @typedef {{name: string, legend: HTMLElement, add: (type: string, options: object) => any,
 *   scale: (id: string) => any, anchor: any, values: (number | null)[]}} Pane
 * `add` makes a series of a type of the library ("Line"); `anchor` is the series and `values` its prices by position
 * where the crosshair is put by keyboard.
 */
export class Panes {
  /**
   * @param {HTMLElement} place
   * @param {{label: string, times: (string | number)[], describe: (at: number) => string,
   *   onPoint: (at: number) => void, time?: object, localization?: object}} options `times` are those of every
   *   pane's data, in order
   */
  constructor(place, options) {
    this.options = options;
    this.at = null;
    this.setTimes(options.times);
    /** @type {Pane[]} */
    this.panes = [];
    // Canvases laid out by a table without meaning: label, summary and keyboard reading say what they show.
    this.plot = h("div", { class: "plot", "aria-hidden": "true" });
    this.element = h(
      "div",
      {
        class: "chart",
        role: "group",
        "aria-roledescription": "chart",
        "aria-label": options.label,
        tabindex: "0",
        "aria-describedby": "chart-summary",
      },
      this.plot,
    );
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    place.append(this.element);
    this.chart = LightweightCharts.createChart(this.plot, this.look());
    this.chart.subscribeCrosshairMove((param) => {
      // Moves that this class made itself have no event of the pointer's.
      if (param.sourceEvent) this.moved(this.byTime.get(param.time) ?? null);
    });
    this.sizes = new ResizeObserver(() => this.layOut());
    this.sizes.observe(this.plot);
  }

  /** Other times, after more data came in. */
  setTimes(times) {
    this.options.times = times;
    this.byTime = new Map(times.map((value, index) => [value, index]));
  }

  /** A further pane below. @returns {Pane} its anchor is to be set */
  add(name) {
    const index = this.panes.length;
    if (index) this.chart.addPane();
    const legend = h("div", { class: "legend", "aria-hidden": "true" });
    this.element.append(legend);
    const pane = {
      name,
      legend,
      add: (type, options) => this.chart.addSeries(LightweightCharts[`${type}Series`], options, index),
      scale: (id) => this.chart.priceScale(id, index),
      anchor: null,
      values: [],
    };
    this.panes.push(pane);
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
        panes: { separatorColor: line, enableResize: false },
        // It would be a link inside what screen readers do not see; each chart's summary has one.
        attributionLogo: false,
      },
      grid: { vertLines: { color: colour("line", 0.5) }, horzLines: { color: colour("line", 0.5) } },
      rightPriceScale: { borderColor: line },
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

  /** Show these positions, fractions allowed. */
  show(from, to) {
    this.chart.timeScale().setVisibleLogicalRange({ from, to });
  }

  /** Heights of the panes, and each legend at the top of its own. */
  layOut() {
    const height = this.plot.clientHeight - this.chart.timeScale().height();
    const below = Math.min(FURTHER, height / (this.panes.length + 1));
    const first = height - below * (this.panes.length - 1);
    this.chart.panes().forEach((pane, index) => pane.setStretchFactor(index ? below : first));
    this.panes.forEach(({ legend }, index) => {
      legend.style.top = index ? `${first + below * (index - 1) + 6}px` : "6px";
    });
  }

  /** Put the crosshair on position `at`; null takes it away. */
  point(at) {
    const { anchor, values } = this.panes[0];
    const value = at === null ? null : values[at];
    if (value === null || value === undefined) this.chart.clearCrosshairPosition();
    else this.chart.setCrosshairPosition(value, this.options.times[at], anchor);
    this.moved(at);
  }

  moved(at) {
    this.at = at;
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
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    const span = range.to - range.from;
    if (at < range.from) this.show(at - 0.5, at - 0.5 + span);
    else if (at > range.to) this.show(at + 0.5 - span, at + 0.5);
    this.point(at);
    say(this.options.describe(at));
  }

  /** Show `factor` times as much, the right edge staying. */
  zoom(factor) {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (!range) return;
    const span = Math.min(Math.max((range.to - range.from) * factor, 5), this.options.times.length + 10);
    this.show(range.to - span, range.to);
  }

  /** Which positions are seen. @returns {{from: number, to: number} | null} */
  range() {
    return this.chart.timeScale().getVisibleLogicalRange();
  }

  /** Take the chart away. */
  remove() {
    this.sizes.disconnect();
    this.chart.remove();
    this.element.remove();
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
