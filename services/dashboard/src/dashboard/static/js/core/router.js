/** Views by hash, so that they can be linked: #/chart/AAPL?range=1Y */

export const VIEWS = ["watchlist", "chart", "risk", "compare", "platform", "alerts"];

/**
 * @typedef {{view: string, part: string | null, params: URLSearchParams}} Route
 * @returns {Route} what the address asks for; an unknown view is the watchlist
 */
export function current() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, part] = path.split("/").map(decode);
  return { view: VIEWS.includes(view) ? view : "watchlist", part: part || null, params: new URLSearchParams(query) };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The hash of a view. @param {Record<string, string | null>} [params] empty ones are left out */
export function hash(view, part = null, params = {}) {
  const kept = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return `#/${view}${part ? `/${encodeURIComponent(part)}` : ""}${kept.length ? `?${new URLSearchParams(kept)}` : ""}`;
}

/** Go there; `replace` leaves no step in the browser's history. */
export function go(target, { replace = false } = {}) {
  if (location.hash === target) return;
  if (replace) {
    history.replaceState(null, "", target);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = target;
  }
}
