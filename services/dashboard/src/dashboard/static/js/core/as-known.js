/** "As known on": the day whose knowledge of the daily history a view shows, and what its prices are adjusted for. */

import { h } from "./dom.js";
import { current, go, hash } from "./router.js";

/** What a chart's prices can be adjusted for, by the API's names. */
export const ADJUSTMENTS = {
  none: { label: "As traded", text: "As traded, adjusted for nothing" },
  splits: { label: "Splits", text: "Adjusted for splits" },
  all: { label: "Splits + dividends", text: "Adjusted for splits and dividends" },
};

/** Dates before it are years that are still being typed. */
const FIRST = "1900-01-01";

/** The day or moment that an address asks for. @returns {string | null} null for all that is known */
export const asOf = (route) => route.params.get("as_of");

/** A date picker that stays where it is while its view is redrawn: whoever types a date keeps the focus. */
export class KnownChoice {
  constructor() {
    const set = (day) => {
      const { view, part, params } = current();
      go(hash(view, part, { ...Object.fromEntries(params), as_of: day }), { replace: true });
    };
    this.input = h("input", {
      type: "date",
      min: FIRST,
      onchange: () => this.input.validity.valid && set(this.input.value),
    });
    this.now = h("button", { type: "button", onclick: () => set(null) }, "Now");
    this.now.title = "Everything that is known now";
    this.element = h("span", { class: "known" }, h("label", {}, "As known on ", this.input), this.now);
  }

  /** Show what an address asks for. @param {import("./router.js").Route} route */
  show(route) {
    this.input.max = new Date().toISOString().slice(0, 10);
    const asked = asOf(route);
    if (asked !== null || document.activeElement !== this.input) this.input.value = asked ?? "";
    this.now.hidden = asked === null;
  }
}
