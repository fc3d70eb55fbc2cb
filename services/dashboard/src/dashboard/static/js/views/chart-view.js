/** The chart of one symbol: its head with the live price, the controls, and the daily or the intraday chart. */

import { address } from "../core/api.js";
import { ADJUSTMENTS, asOf, KnownChoice } from "../core/as-known.js";
import { DailyPart, RANGES } from "../chart/daily.js";
import { h } from "../core/dom.js";
import { arrow, direction, percent, price, signed, sourceBadge, time } from "../core/format.js";
import { chosen, INDICATORS, toggled } from "../chart/indicators.js";
import { IntradayPart } from "../chart/intraday.js";
import { noBatch, skeleton } from "../core/panel.js";
import { current, go, hash } from "../core/router.js";
import { known, on, state } from "../core/state.js";
import { onTheme } from "../core/theme.js";

const MODES = { daily: "Daily", "15m": "15 min", "1h": "1 h" };

/** @param {HTMLElement} root @param {import("../core/router.js").Route} route */
export function mount(root, route) {
  const view = new ChartView(root);
  view.update(route);
  return { update: (next) => view.update(next), end: () => view.end() };
}

class ChartView {
  constructor(root) {
    this.head = h("div", { class: "chart-head" });
    [this.spans, this.rest] = [h("div", { class: "as-one" }), h("div", { class: "as-one" })];
    this.known = new KnownChoice();
    this.bar = h("div", { class: "bar" }, this.spans, this.known.element, this.rest);
    this.place = h("div", { class: "chart-place" });
    root.append(h("section", { class: "card", "aria-labelledby": "chart-title" }, this.head, this.bar, this.place));
    this.title = h("h2", { id: "chart-title" });
    this.last = h("span", { class: "last" });
    this.change = h("span");
    this.when = h("span", { class: "muted" });
    this.menu = h("span");
    this.head.append(this.title, this.last, this.change, h("div", { class: "end" }, this.when, this.menu));
    this.part = null;
    this.key = "";
    this.ends = [
      on("quotes", (symbols) => symbols.includes(this.symbol) && this.drawQuote()),
      on("symbols", () => this.drawQuote()),
      onTheme(() => this.part?.redraw()),
    ];
  }

  update(route) {
    this.symbol = state.selected;
    const mode = route.params.get("mode") in MODES ? route.params.get("mode") : "daily";
    const range = RANGES.includes(route.params.get("range")) ? route.params.get("range") : "1Y";
    const asked = {
      symbol: this.symbol,
      mode,
      range,
      indicators: chosen(route.params.get("ind")),
      adjust: route.params.get("adjust") in ADJUSTMENTS ? route.params.get("adjust") : "all",
      asOf: asOf(route),
    };
    this.known.show(route);
    this.known.element.hidden = mode !== "daily";
    this.drawBar(asked);
    this.drawQuote();
    if (!this.symbol) {
      this.waiting();
      return;
    }
    if (this.key !== mode || !this.part) {
      this.part?.end();
      this.place.replaceChildren();
      this.part = mode === "daily" ? new DailyPart(this.place) : new IntradayPart(this.place);
      this.key = mode;
    }
    this.drawMenu(asked);
    this.part.show(asked);
  }

  waiting() {
    const draw = () =>
      this.place.replaceChildren(
        state.symbolsKnown || state.status?.store?.state === "error" ? noBatch() : skeleton(8, true),
      );
    draw();
    this.ends.push(
      on("connection", () => this.symbol || draw()),
      on("symbols", () => this.symbol || draw()),
    );
    setTimeout(() => this.symbol || draw(), 1_500);
  }

  drawBar({ symbol, mode, range, indicators, adjust }) {
    const focused = this.bar.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const params = () => Object.fromEntries(current().params);
    const to = (change) => go(hash("chart", symbol ?? state.selected, { ...params(), ...change }), { replace: true });
    const choice = (name, label, on, change) =>
      h("button", { type: "button", "aria-pressed": String(on), "data-key": name, onclick: () => to(change) }, label);
    const modes = Object.entries(MODES).map(([key, label]) =>
      choice(
        `mode ${key}`,
        [label, key === "daily" ? null : h("span", { class: "optional" }, "windows")],
        key === mode,
        { mode: key === "daily" ? null : key },
      ),
    );
    const spans = [h("div", { class: "segments", role: "group", "aria-label": "Chart" }, modes)];
    const rest = [];
    if (mode === "daily") {
      const ranges = RANGES.map((each) => choice(`range ${each}`, each, each === range, { range: each }));
      const chips = Object.entries(INDICATORS).map(([name, { label, lines }]) => {
        const chip = choice(`indicator ${name}`, label, indicators.includes(name), { ind: toggled(indicators, name) });
        chip.style.setProperty("--key", `var(--${lines.at(-1).colour})`);
        return chip;
      });
      const bases = Object.entries(ADJUSTMENTS).map(([name, { label }]) =>
        choice(`adjust ${name}`, label, name === adjust, { adjust: name === "all" ? null : name }),
      );
      spans.push(h("div", { class: "segments", role: "group", "aria-label": "Range" }, ranges));
      rest.push(
        h("div", { class: "chips", role: "group", "aria-label": "Indicators" }, chips),
        h("div", { class: "segments", role: "group", "aria-label": "Prices adjusted for" }, bases),
      );
    }
    this.spans.replaceChildren(...spans);
    this.rest.replaceChildren(...rest);
    if (focused) this.bar.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  drawQuote() {
    const quote = state.quotes.get(this.symbol);
    const daily = known(this.symbol);
    this.title.textContent = this.symbol ?? "Chart";
    this.last.textContent = quote ? price(quote.price) : daily?.last_close ? price(daily.last_close) : "";
    this.change.className = direction(quote?.change);
    this.change.textContent = quote
      ? `${arrow(quote.change)} ${signed(quote.change)} (${percent(quote.change_percent)})`
      : "";
    const badge = quote ? sourceBadge(quote.source, "Price") : null;
    this.when.replaceChildren(
      ...(quote ? [badge, " ", time(quote.event_time, "time")] : daily ? ["last close, no live price"] : []),
    );
    this.part?.quote?.();
  }

  drawMenu({ mode, adjust, asOf }) {
    const path = `symbols/${encodeURIComponent(this.symbol)}`;
    const columns = [...new Set(Object.values(INDICATORS).flatMap(({ lines }) => lines.map((line) => line.name)))].join(
      ",",
    );
    const routes =
      mode === "daily"
        ? [
            ["Daily bars", "bars", { adjust, as_of: asOf }],
            ["Indicators", "indicators", { names: columns, as_of: asOf }],
          ]
        : [
            ["Windows", "windows", { length: mode }],
            ["Ticks", "ticks", { limit: 5000 }],
          ];
    const link = (label, route, query, format, text) =>
      h(
        "a",
        {
          href: address(`${path}/${route}`, { ...query, format }),
          download: true,
          "aria-label": `${label} of ${this.symbol} as ${text}`,
        },
        text,
      );
    const lines = routes.map(([label, route, query]) =>
      h(
        "p",
        {},
        h("span", {}, label),
        link(label, route, query, "csv", "CSV"),
        link(label, route, query, "parquet", "Parquet"),
      ),
    );
    const menu = h("details", { class: "menu" }, h("summary", { class: "button" }, "Export"), h("div", {}, lines));
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
    menu.addEventListener("focusout", (event) => {
      if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
    });
    this.menu.replaceChildren(menu);
  }

  end() {
    for (const end of this.ends) end();
    this.part?.end();
  }
}
