/** Numbers and times as people read them. Times are in the exchange's zone, with UTC as a tooltip. */

import { h } from "./dom.js";

const number = (options) => new Intl.NumberFormat("en-US", options);
const TWO = number({ minimumFractionDigits: 2, maximumFractionDigits: 2 });
const FOUR = number({ minimumFractionDigits: 4, maximumFractionDigits: 4 });
const WHOLE = number({ maximumFractionDigits: 0 });
const SHORT = number({ notation: "compact", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const SIGNED = number({ minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: "exceptZero" });
const NONE = "–";

let zone = "America/New_York";
const formats = new Map();

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** A price: two decimals, four below 1. */
export const price = (value) => (known(value) ? (Math.abs(value) < 1 && value !== 0 ? FOUR : TWO).format(value) : NONE);
/** A whole number with separators. */
export const whole = (value) => (known(value) ? WHOLE.format(value) : NONE);
/** 1,234,567 as 1.2M. */
export const compact = (value) =>
  !known(value) ? NONE : Math.abs(value) < 1000 ? WHOLE.format(value) : SHORT.format(value);
/** With its sign: +1.20. */
export const signed = (value) => (known(value) ? SIGNED.format(value) : NONE);
/** Percent points with their sign: 1.2 is +1.20%. */
export const percent = (value) => (known(value) ? `${SIGNED.format(value)}%` : NONE);
/** A fraction of 1 as percent: 0.123 is 12.30%. */
export const fraction = (value) => (known(value) ? `${TWO.format(value * 100)}%` : NONE);
/** A fraction of 1 as percent with its sign. */
export const signedFraction = (value) => (known(value) ? percent(value * 100) : NONE);
/** Two decimals. */
export const two = (value) => (known(value) ? TWO.format(Math.abs(value) < 0.005 ? 0 : value) : NONE);

/** "up", "down" or "" for a change. */
export const direction = (value) => (!known(value) || value === 0 ? "" : value > 0 ? "up" : "down");
/** ▲ or ▼: the direction without colour. */
export const arrow = (value) => ({ up: "▲", down: "▼" })[direction(value)] ?? "";

/** Seconds as a person says them: 4.2 s, 3 min 05 s, 2 h 10 min. */
export function seconds(value) {
  if (!known(value)) return NONE;
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 60) return `${Math.round(value)} s`;
  const all = Math.round(value);
  const [hours, minutes, rest] = [Math.floor(all / 3600), Math.floor((all % 3600) / 60), all % 60];
  if (hours >= 48) return `${Math.floor(hours / 24)} days`;
  return hours
    ? `${hours} h ${String(minutes).padStart(2, "0")} min`
    : `${minutes} min ${String(rest).padStart(2, "0")} s`;
}

/** Bytes: 812 kB. */
export function bytes(value) {
  if (!known(value)) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [size, unit] = [value, 0];
  while (size >= 1000 && unit < units.length - 1) [size, unit] = [size / 1000, unit + 1];
  return `${unit && size < 100 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

/** The exchange's zone (IANA name), from the server's status. */
export function setZone(name) {
  if (!name || name === zone) return;
  zone = name;
  formats.clear();
}

const STYLES = {
  time: { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
  clock: { hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  year: { year: "numeric" },
  month: { month: "short" },
  day: { day: "numeric", month: "short" },
  date: { day: "numeric", month: "short", year: "numeric" },
  moment: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  full: {
    day: "numeric",
    month: "short",
    year: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
  },
};

/**
 * A moment in the exchange's zone.
 * @param {string | number | Date} moment
 * @param {"time" | "clock" | "day" | "date" | "moment" | "full"} [style]
 */
export function local(moment, style = "time") {
  return format(style, zone).format(new Date(moment));
}

function format(style, timeZone) {
  const key = `${style} ${timeZone}`;
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat("en-GB", { ...STYLES[style], timeZone }));
  return formats.get(key);
}

/** The zone's short name at that moment, such as GMT-5 or EST. */
export function zoneName(moment = Date.now()) {
  const parts = new Intl.DateTimeFormat("en-US", { timeZone: zone, timeZoneName: "short" }).formatToParts(
    new Date(moment),
  );
  return parts.find((part) => part.type === "timeZoneName")?.value ?? zone;
}

/** The tooltip of a time: it in UTC. */
export const utc = (moment) => `${format("full", "UTC").format(new Date(moment))} UTC`;

/**
 * A <time> in the exchange's zone with UTC on hover; a dash where there is none.
 * @param {string | null | undefined} iso
 */
export function time(iso, style = "moment") {
  return iso ? h("time", { datetime: iso, title: utc(iso) }, local(iso, style)) : NONE;
}

/** A moment to the second in two lines: the time of day, and the day under it. @returns {Node[]} */
export function stamp(iso) {
  return [
    h("span", { class: "nowrap" }, time(iso, "time")),
    h("small", { class: "muted under nowrap" }, local(iso, "date")),
  ];
}

/** 2026-01-31 as 31 Jan 2026. A session has no time of day, hence no zone. */
export function session(date) {
  return date ? format("date", "UTC").format(new Date(`${date}T00:00:00Z`)) : NONE;
}

/** A session on a time axis: 2026, Jan or 31 Jan by the library's kind of mark, so that each day has its month. */
export function sessionMark(date, kind) {
  const style = ["year", "month"][kind] ?? "day";
  return format(style, "UTC").format(new Date(`${date}T00:00:00Z`));
}

/** The badge that says where data comes from. */
export function sourceBadge(source, what = "") {
  if (!source) return null;
  const kind = { yahoo: "live", alpha_vantage: "live" }[source] ?? source;
  const text = { live: "LIVE", replay: "REPLAY", simulated: "SIMULATED" }[kind] ?? source.toUpperCase();
  const from =
    { yahoo: "Yahoo Finance", alpha_vantage: "Alpha Vantage", replay: "recorded real bars", simulated: "a simulator" }[
      source
    ] ?? source;
  return h(
    "span",
    { class: `badge ${kind}`, title: `${what || "Data"} from ${from}` },
    h("span", { class: "visually-hidden" }, `${what || "Data"}: `),
    text,
  );
}
