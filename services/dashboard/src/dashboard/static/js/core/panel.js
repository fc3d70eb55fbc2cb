/** Loading, empty and failed: the states that every part of a view goes through. */

import { h } from "./dom.js";
import { on, state } from "./state.js";

/** Grey lines in the place of what is coming. */
export function skeleton(lines = 6, tall = false) {
  const bars = Array.from({ length: lines }, () => h("i"));
  return h(
    "div",
    { class: `skeleton${tall ? " tall" : ""}`, role: "status" },
    h("span", { class: "visually-hidden" }, "Loading"),
    bars,
  );
}

/** Nothing there yet, and what to do about it. */
export function empty(title, ...text) {
  return h("div", { class: "notice" }, h("strong", {}, title), text.length ? h("p", { class: "muted" }, text) : null);
}

/** What went wrong, and another try. */
export function failed(error, retry) {
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("strong", {}, "This part could not be loaded"),
    h("p", {}, error.message),
    h("button", { type: "button", onclick: retry }, "Try again"),
  );
}

/** Whether the question was wrong, so that asking again is of no use. */
export const isOurs = (error) => error.status >= 400 && error.status < 500;

/** The lake has no batch yet. */
export function noBatch() {
  return empty(
    "No daily history in the lake yet",
    "Run ",
    h("code", {}, "make run"),
    " for one batch, or ",
    h("code", {}, "make live"),
    ", which runs it by itself. This page fills when it is done.",
  );
}

/**
 * A place that loads, then shows; a failure offers a retry and tries again when the stream or the store comes back.
 * @template T
 * @param {HTMLElement} place
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {(data: T) => Node | Node[]} show
 * @param {{lines?: number, tall?: boolean}} [look]
 * @returns {{reload: (quiet?: boolean) => Promise<void>, end: () => void}}
 */
export function loaded(place, load, show, look = {}) {
  let stop = new AbortController();
  let broken = false;
  let shown = "";
  async function reload(quiet = false) {
    stop.abort();
    const mine = (stop = new AbortController());
    if (!quiet) place.replaceChildren(skeleton(look.lines, look.tall));
    place.setAttribute("aria-busy", "true");
    try {
      const data = await load(mine.signal);
      if (mine.signal.aborted) return;
      broken = false;
      const text = JSON.stringify(data);
      if (!quiet || text !== shown)
        keepingFocus(place, () => place.replaceChildren(...[show(data)].flat().filter(Boolean)));
      shown = text;
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error.status === undefined) console.error(error);
      broken = !isOurs(error);
      shown = "";
      place.replaceChildren(failed(error, () => reload()));
    }
    place.removeAttribute("aria-busy");
  }
  const heal = () => broken && state.connection === "open" && state.status?.store?.state === "ok" && reload(true);
  const ends = [on("connection", heal), on("status", heal)];
  reload();
  return {
    reload,
    end() {
      stop.abort();
      for (const end of ends) end();
    },
  };
}

/** Change what is in `place`; the element with the same `data-key` has the focus after it. */
function keepingFocus(place, change) {
  const key = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  change();
  if (key) place.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}
