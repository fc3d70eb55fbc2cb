/** Ticks and windows laid on one regular grid of time, so that equal distances are equal times. */

/** The lines of the intraday chart; style 0 is solid, 2 dashed. */
export const LINES = {
  upper: { label: "Upper band", colour: "c9", width: 1, style: 0 },
  lower: { label: "Lower band", colour: "c9", width: 1, style: 0 },
  average: { label: "Average", colour: "c2", width: 2, style: 2 },
  price: { label: "Price", colour: "accent", width: 1.5, style: 0 },
};

/**
 * @param {Array<[number, number]>} ticks seconds since 1970 and price, oldest first
 * @param {object[]} windows as the API gives them
 * @param {{step: number, start: number}} grid seconds: distance of the points, and the start
 * @returns {{times: number[], price: (number | null)[], average: (number | null)[],
 *   upper: (number | null)[], lower: (number | null)[]}}
 */
export function lay(ticks, windows, { step, start }) {
  const up = (at) => Math.ceil(at / step) * step;
  const prices = new Map();
  const firstTick = ticks[0]?.[0] ?? Infinity;
  const lastTick = ticks.at(-1)?.[0] ?? 0;
  const next = Math.min(...windows.filter((each) => !each.final && endOf(each) > lastTick).map(endOf));
  const ends = new Map();
  for (const window of windows) {
    const end = endOf(window);
    // Of the windows that are still running, the one that ends next is nearly full; the others lie ahead of the price.
    if (end < start || (!window.final && end > next)) continue;
    ends.set(up(end), window);
    // Before the first tick that is held in memory the windows' last prices are used.
    if (window.final && end <= firstTick) prices.set(up(end), window.close);
  }
  for (const [at, value] of ticks) if (at >= start) prices.set(up(at), value);
  const all = [...prices.keys(), ...ends.keys()];
  const result = { times: [], price: [], average: [], upper: [], lower: [] };
  if (!all.length) return result;
  const last = all.reduce((most, at) => Math.max(most, at));
  for (let at = all.reduce((least, each) => Math.min(least, each)); at <= last; at += step) {
    const window = ends.get(at);
    result.times.push(at);
    result.price.push(prices.get(at) ?? null);
    result.average.push(window?.moving_average ?? null);
    result.upper.push(window?.upper_band ?? null);
    result.lower.push(window?.lower_band ?? null);
  }
  return result;
}

const endOf = (window) => Date.parse(window.window_end) / 1000;
