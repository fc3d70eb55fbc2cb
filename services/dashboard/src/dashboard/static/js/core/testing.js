/** A small read-only window into the page for tests and measurements. */

import { state } from "./state.js";

const charts = new Map();

/**
 * Make a chart's data readable.
 * @param {string} name
 * @param {(() => object) | null} read null takes it away
 */
export function publish(name, read) {
  if (read) charts.set(name, read);
  else charts.delete(name);
}

/** Put `window.ticklake` in place. */
export function expose() {
  const view = {
    get connection() {
      return state.connection;
    },
    get events() {
      return state.events;
    },
    /** Milliseconds from the broker's append of the newest quote to its arrival here, by both clocks. */
    get lastDelayMs() {
      return state.lastDelayMs;
    },
    quote: (symbol) => structuredClone(state.quotes.get(symbol) ?? null),
    charts: () => [...charts.keys()],
    chart: (name) => charts.get(name)?.() ?? null,
  };
  Object.defineProperty(window, "ticklake", { value: Object.freeze(view) });
}
