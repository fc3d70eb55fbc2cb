/** Server-sent events: opened again by itself when lost, also where the browser gives up. */

import { address } from "./api.js";
import { setZone } from "./format.js";
import { emit, state, takeQuotes } from "./state.js";

const SILENCE_MS = 20_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 15_000;
const KEPT_ALERTS = 200;
const SPARK_EVERY_MS = 30_000;
const SPARK_POINTS = 60;

let source = null;
let failures = 0;
let timer = 0;
const sparkAt = new Map();

/** Open the stream and keep it open. */
export function startStream() {
  open();
  // The server sends its status every 5 s: silence means a dead connection that the browser has not noticed.
  setInterval(() => {
    if (state.connection === "open" && performance.now() - state.lastEventAt > SILENCE_MS) lost();
  }, 2_000);
  addEventListener("online", retryNow);
  addEventListener("pagehide", () => source?.close());
}

/** Try again at once. */
export function retryNow() {
  if (state.connection === "open") return;
  failures = 0;
  open();
}

function open() {
  clearTimeout(timer);
  source?.close();
  source = new EventSource(address("stream"));
  source.onerror = lost;
  for (const [name, take] of Object.entries({ hello, quotes, window: oneWindow, alert: oneAlert, status })) {
    source.addEventListener(name, (event) => {
      state.lastEventAt = performance.now();
      state.events += 1;
      take(JSON.parse(event.data));
    });
  }
}

function lost() {
  source?.close();
  if (state.connection !== "lost") {
    state.connection = "lost";
    state.lostAt = Date.now();
    emit("connection");
  }
  // With jitter: a server that comes back is not met by all pages at once.
  const pause = Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2);
  failures += 1;
  clearTimeout(timer);
  timer = setTimeout(open, pause);
}

function hello(data) {
  failures = 0;
  state.connection = "open";
  state.lostAt = null;
  status(data.status);
  // A hello is everything again: also when this page was too slow and the server started over.
  state.windows.clear();
  takeQuotes(data.quotes ?? []);
  for (const window of data.windows ?? []) oneWindow(window);
  state.alerts = data.alerts ?? [];
  emit("connection");
  emit("alerts");
}

function quotes(data) {
  const now = Date.now();
  state.lastDelayMs = Math.max(...data.items.map((item) => now - Date.parse(item.arrived_at)));
  for (const item of data.items) extendSpark(item, now);
  freshen(data.items);
  takeQuotes(data.items);
}

/** A tick that just came says by itself that the flow lives: the next status is up to 5 s away. */
function freshen(items) {
  if (!state.status || !items.length) return;
  const newest = items.reduce((last, item) => (item.arrived_at > last.arrived_at ? item : last));
  const before = state.status.live;
  const live = { ...before, state: "live", source: newest.source, last_tick: newest.arrived_at, age_seconds: 0 };
  state.status = { ...state.status, live };
  if (before.state !== "live") emit("status");
}

function extendSpark(item, now) {
  const line = state.sparks.get(item.symbol);
  if (!line?.length) {
    state.sparks.set(item.symbol, [item.price]);
  } else if (now - (sparkAt.get(item.symbol) ?? 0) < SPARK_EVERY_MS) {
    line[line.length - 1] = item.price;
    return;
  } else {
    line.push(item.price);
    line.splice(0, line.length - SPARK_POINTS);
  }
  sparkAt.set(item.symbol, now);
}

function oneWindow(data) {
  // Overlapping windows run at once: kept by symbol, length and start; ended ones give way.
  state.windows.set(`${data.symbol} ${data.window_length} ${data.window_start}`, data);
  const old = Date.now() - 2 * 3_600_000;
  for (const [key, kept] of state.windows) if (Date.parse(kept.window_end) < old) state.windows.delete(key);
  emit("window", data);
}

function oneAlert(data) {
  state.alerts = [
    data,
    ...state.alerts.filter((each) => each.alert_id !== data.alert_id || each.state !== data.state),
  ].slice(0, KEPT_ALERTS);
  emit("alert", data);
}

function status(data) {
  if (!data) return;
  state.status = data;
  setZone(data.zone);
  emit("status");
}
