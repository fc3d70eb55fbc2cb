/** The switchable indicators: which columns of the daily table they are, and how they are drawn. */

/**
 * @type {Record<string, {label: string, pane: "price" | "rsi" | "macd", lines: Array<{name: string, label: string,
 *   colour: string, dashed?: boolean, histogram?: boolean}>, fill?: {upper: string, lower: string, colour: string}}>}
 */
export const INDICATORS = {
  sma_20: { label: "SMA 20", pane: "price", lines: [{ name: "sma_20", label: "SMA 20", colour: "c2" }] },
  sma_50: { label: "SMA 50", pane: "price", lines: [{ name: "sma_50", label: "SMA 50", colour: "c1" }] },
  sma_200: { label: "SMA 200", pane: "price", lines: [{ name: "sma_200", label: "SMA 200", colour: "c4" }] },
  ema_12: { label: "EMA 12", pane: "price", lines: [{ name: "ema_12", label: "EMA 12", colour: "c6", dashed: true }] },
  ema_26: { label: "EMA 26", pane: "price", lines: [{ name: "ema_26", label: "EMA 26", colour: "c8", dashed: true }] },
  bollinger: {
    label: "Bollinger",
    pane: "price",
    lines: [
      { name: "bb_upper", label: "BB upper", colour: "c9" },
      { name: "bb_middle", label: "BB middle", colour: "c9", dashed: true },
      { name: "bb_lower", label: "BB lower", colour: "c9" },
    ],
    fill: { upper: "bb_upper", lower: "bb_lower", colour: "c9" },
  },
  rsi: { label: "RSI", pane: "rsi", lines: [{ name: "rsi_14", label: "RSI 14", colour: "c8" }] },
  macd: {
    label: "MACD",
    pane: "macd",
    lines: [
      { name: "macd_hist", label: "Histogram", colour: "c9", histogram: true },
      { name: "macd", label: "MACD", colour: "c1" },
      { name: "macd_signal", label: "Signal", colour: "c2", dashed: true },
    ],
  },
};

const DEFAULT = ["sma_20", "sma_50"];

/** The indicators that an address asks for. @param {string | null} text @returns {string[]} */
export function chosen(text) {
  if (text === null) return DEFAULT;
  return text.split(",").filter((name) => name in INDICATORS);
}

/** `names` with `name` switched, as the address carries them. */
export function toggled(names, name) {
  const kept = names.includes(name) ? names.filter((each) => each !== name) : [...names, name];
  return (
    Object.keys(INDICATORS)
      .filter((each) => kept.includes(each))
      .join(",") || "none"
  );
}

/** Columns that `names` need. @returns {string[]} */
export const columnsOf = (names) => names.flatMap((name) => INDICATORS[name].lines.map((line) => line.name));
