/** The JSON API. Addresses are relative, so that the page also works below a path of a proxy. */

const BASE = "api/v1/";
const PAGE = 5000;
const RETRY_MS = 400;

/** What a person reads where no answer came. */
export const NO_ANSWER = "The server does not answer. Is it running, and is the network up?";

/** What the API answered instead of data; `message` is fit for a person. */
export class ApiError extends Error {
  /**
   * @param {number} status HTTP status, 0 where the server did not answer
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * The address of a route.
 * @param {string} path below /api/v1
 * @param {Record<string, string | number | null | undefined>} [query] empty values are left out
 */
export function address(path, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return BASE + path + (kept.length ? `?${new URLSearchParams(kept)}` : "");
}

/**
 * One answer.
 * @param {AbortSignal} [signal]
 * @throws {ApiError}
 */
export async function get(path, query, signal) {
  const response = await ask(address(path, query), signal);
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({}));
  const detail = typeof problem.detail === "string" ? problem.detail : "";
  throw new ApiError(response.status, [problem.title ?? `HTTP ${response.status}`, detail].filter(Boolean).join(": "));
}

async function ask(url, signal, again = true) {
  try {
    return await fetch(url, { signal, headers: { accept: "application/json" } });
  } catch (error) {
    if (error.name === "AbortError" || signal?.aborted) throw error;
    if (!again) throw new ApiError(0, NO_ANSWER);
  }
  // Once more: browsers break off what is under way when a network interface comes or goes.
  await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  return ask(url, signal, false);
}

/**
 * All pages of a daily route, from a date on.
 * @param {string} symbol
 * @param {"bars" | "indicators"} route
 * @returns {Promise<{symbol: string, source: string, items: object[]}>} oldest first
 */
export async function history(symbol, route, query, signal) {
  const path = `symbols/${encodeURIComponent(symbol)}/${route}`;
  let answer = await get(path, { ...query, limit: PAGE }, signal);
  const items = [...answer.items];
  while (answer.next_cursor) {
    answer = await get(path, { ...query, limit: PAGE, cursor: answer.next_cursor }, signal);
    items.push(...answer.items);
  }
  return { ...answer, items };
}
