/** What the page knows, and who is notified when it changes. */

/** @type {{quotes: Map<string, object>, sparks: Map<string, number[]>, windows: Map<string, object>, alerts: object[],
 *   status: object | null, symbols: object[], symbolsKnown: boolean,
 *   connection: "connecting" | "open" | "lost", lostAt: number | null,
 *   lastEventAt: number | null, lastDelayMs: number | null, events: number, selected: string | null}} */
export const state = {
  quotes: new Map(),
  sparks: new Map(),
  windows: new Map(),
  alerts: [],
  status: null,
  symbols: [],
  symbolsKnown: false,
  connection: "connecting",
  lostAt: null,
  lastEventAt: null,
  lastDelayMs: null,
  events: 0,
  selected: null,
};

const bus = new EventTarget();

/**
 * Subscribe to changes: "quotes" (symbols), "window", "alert", "alerts", "status", "connection", "symbols", "selected".
 * @param {string} name
 * @param {(detail: any) => void} listener
 * @returns {() => void} ends it
 */
export function on(name, listener) {
  const wrapped = (event) => listener(event.detail);
  bus.addEventListener(name, wrapped);
  return () => bus.removeEventListener(name, wrapped);
}

/** Notify of a change. */
export function emit(name, detail) {
  bus.dispatchEvent(new CustomEvent(name, { detail }));
}

/** Symbols to list, each once: those with live prices first, by name. @returns {string[]} */
export function listed() {
  const live = new Set([...(state.status?.live?.symbols ?? []), ...state.quotes.keys()]);
  const rest = state.symbols.map((each) => each.symbol).filter((symbol) => !live.has(symbol));
  return [...[...live].sort(), ...[...new Set(rest)].sort()];
}

/** Settles after the first question for the symbols, answered or not. */
export const symbolsAsked = new Promise((resolve) => {
  const end = on("symbols", () => {
    end();
    resolve();
  });
});

/** What is known of a symbol from its best source, which /symbols names first. @returns {object | null} its item */
export function known(symbol) {
  const mine = state.symbols.filter((each) => each.symbol === symbol);
  return mine.find((each) => each.sessions > 0) ?? mine[0] ?? null;
}

/** Symbols with daily history in the lake. @returns {string[]} */
export function withHistory() {
  return [...new Set(state.symbols.filter((each) => each.sessions > 0).map((each) => each.symbol))];
}

/** Keep what came with quotes. @param {object[]} items */
export function takeQuotes(items) {
  for (const item of items) {
    const before = state.quotes.get(item.symbol);
    state.quotes.set(item.symbol, { ...before, ...item, moved: before ? Math.sign(item.price - before.price) : 0 });
    if (item.sparkline) state.sparks.set(item.symbol, [...item.sparkline]);
  }
  emit(
    "quotes",
    items.map((item) => item.symbol),
  );
}
