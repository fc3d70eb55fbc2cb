/** What the running windows hold, as figures, in a sentence and as a table. */

import { h } from "../core/dom.js";
import { compact, price, time, whole, zoneName } from "../core/format.js";
import { scrolling, table } from "../core/tables.js";

const PRICES = {
  open: "Open",
  high: "High",
  low: "Low",
  close: "Last",
  moving_average: "Average",
  volatility: "Volatility",
  lower_band: "Lower band",
  upper_band: "Upper band",
};

const sooner = (a, b) => (a.window_end < b.window_end ? -1 : 1);
const span = (window) => [time(window.window_start, "clock"), "–", time(window.window_end, "clock")];

/**
 * Windows that have not closed, the one that ends first (hence the fullest) first.
 * @param {object[]} windows
 * @param {number} now seconds since 1970
 */
export function running(windows, now) {
  return windows.filter((each) => !each.final && Date.parse(each.window_end) / 1000 > now).sort(sooner);
}

/** The window that the figures are of: the fullest running one, else the last that closed. @returns {object | null} */
export function present(windows, now) {
  return (
    running(windows, now)[0] ??
    windows
      .filter((each) => each.final)
      .sort(sooner)
      .at(-1) ??
    null
  );
}

/** The figures of `window` for a list of facts. @returns {HTMLElement[]} */
export function figures(window) {
  const fact = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, value, h("small", {}, more)));
  const ends = (low, high) => `${price(low)} – ${price(high)}`;
  return [
    fact(window.final ? "Last closed window" : "Running window", span(window), zoneName(window.window_end)),
    fact("Moving average", price(window.moving_average), "mean price of the ticks"),
    fact("Volatility", price(window.volatility), "standard deviation of the prices"),
    fact("Bands", ends(window.lower_band, window.upper_band), "average ± 2 standard deviations"),
    fact("Range", ends(window.low, window.high), `open ${price(window.open)}, last ${price(window.close)}`),
    fact("Volume", compact(window.volume), `${whole(window.tick_count)} ticks`),
  ];
}

/**
 * The chart in a sentence.
 * @param {object[]} windows
 * @param {object | null} window as `present` gives it
 * @param {{symbol: string, mode: string}} asked
 */
export function sentence(windows, window, { symbol, mode }) {
  if (!window) {
    return `${symbol}: ticks only. Windows come from the streaming analytics, the first a minute after its start.`;
  }
  const closed = windows.filter((each) => each.final).length;
  const kind = window.final ? "Last closed" : "Running";
  return (
    `${symbol}, ${mode} windows by event time, ${closed} closed ones in view; ` +
    `times in the exchange's zone (${zoneName()}). ` +
    `${kind} window: average ${price(window.moving_average)}, ` +
    `bands ${price(window.lower_band)} to ${price(window.upper_band)}.`
  );
}

/** All running windows. @param {object[]} windows @returns {HTMLElement} */
export function windowTable(windows, caption) {
  const number = (text) => h("td", { class: "number" }, text);
  const row = (window) =>
    h(
      "tr",
      {},
      h("th", { scope: "row", class: "nowrap" }, span(window)),
      Object.keys(PRICES).map((name) => number(price(window[name]))),
      number(whole(window.tick_count)),
      number(compact(window.volume)),
    );
  const labels = [...Object.values(PRICES), "Ticks", "Volume"];
  const columns = [{ label: "Window" }, ...labels.map((label) => ({ label, number: true }))];
  return scrolling(caption, table({ caption, columns, rows: windows.map(row) }));
}
