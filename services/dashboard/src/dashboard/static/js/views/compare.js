/** Symbols on one scale: adjusted closes, 100 at the first session that all have. */

import { get } from "../core/api.js";
import { asOf, KnownChoice } from "../core/as-known.js";
import { h } from "../core/dom.js";
import { direction, arrow, percent, session, sessionMark, sourceBadge, two } from "../core/format.js";
import { empty, loaded, noBatch } from "../core/panel.js";
import { Panes, writeLegend } from "../chart/panes.js";
import { periodChoice, periodOf } from "./risk.js";
import { current, go, hash } from "../core/router.js";
import { on, symbolsAsked, withHistory } from "../core/state.js";
import { scrolling, table } from "../core/tables.js";
import { publish } from "../core/testing.js";
import { colour, onTheme } from "../core/theme.js";

const FIRST = 4;
const COLOURS = 10;

/** @param {HTMLElement} root @param {import("../core/router.js").Route} route */
export function mount(root, route) {
  const view = new CompareView(root, route);
  return { update: (next) => view.update(next), end: () => view.end() };
}

class CompareView {
  constructor(root, route) {
    this.route = route;
    this.heading = h("header", {}, h("h2", { id: "compare-title" }, "Compare"));
    this.chips = h("div", { class: "chips", role: "group", "aria-label": "Symbols" });
    this.place = h("div");
    root.append(
      h(
        "section",
        { class: "card", "aria-labelledby": "compare-title" },
        this.heading,
        h("div", { class: "bar" }, this.chips),
        this.place,
      ),
    );
    this.known = new KnownChoice();
    this.known.show(route);
    this.heading.append(
      h("span", { class: "muted" }, "100 at the first common session"),
      this.known.element,
      periodChoice("compare", periodOf(route)),
    );
    this.drawChips();
    this.part = loaded(
      this.place,
      (signal) => this.load(signal),
      (data) => this.show(data),
      { lines: 8, tall: true },
    );
    this.ends = [
      onTheme(() => this.data && this.draw()),
      on("symbols", () => {
        this.drawChips();
        this.part.reload(true);
      }),
    ];
  }

  symbols() {
    const asked = this.route.params.get("symbols");
    if (asked === null) return withHistory().slice(0, FIRST);
    return asked.split(",").filter(Boolean).slice(0, COLOURS);
  }

  update(route) {
    this.route = route;
    this.known.show(route);
    this.drawChips();
    this.part.reload(true);
  }

  drawChips() {
    const focused = this.chips.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const all = withHistory();
    const chosen = this.symbols();
    const chips = all.map((symbol, at) => {
      const kept = all.filter((each) => (each === symbol ? !chosen.includes(each) : chosen.includes(each)));
      const change = () =>
        go(hash("compare", null, { ...Object.fromEntries(current().params), symbols: kept.join(",") || "none" }), {
          replace: true,
        });
      return h(
        "button",
        {
          type: "button",
          "data-key": symbol,
          "aria-pressed": String(chosen.includes(symbol)),
          vars: { key: `var(--${key(at)})` },
          onclick: change,
        },
        symbol,
      );
    });
    this.chips.replaceChildren(...chips);
    if (focused) this.chips.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  async load(signal) {
    await symbolsAsked;
    const all = withHistory();
    const symbols = this.symbols().filter((symbol) => !all.length || all.includes(symbol));
    // Without symbols the server would choose: an empty choice stays empty here.
    if (!symbols.length) return { items: [], none: all.length > 0 };
    const [sessions, as_of] = [periodOf(this.route), asOf(this.route)];
    return get("compare", { symbols: symbols.join(","), sessions, as_of }, signal);
  }

  show(data) {
    this.clear();
    this.data = data;
    if (data.none) return empty("No symbol chosen", "Choose at least one above.");
    if (!data.items.length) return noBatch();
    if (!data.items.some((item) => item.points.length))
      return empty("No session in common", "These symbols have no session that all of them traded on.");
    this.box = h("div", { class: "charts" });
    this.summary = h("p", { class: "summary", id: "chart-summary" });
    // The chart measures its place, which therefore has to be in the page first.
    requestAnimationFrame(() => this.box?.isConnected && this.draw());
    return [this.box, this.summary, this.figures()];
  }

  draw() {
    this.panes?.remove();
    const items = this.data.items.filter((item) => item.points.length);
    const times = items[0].points.map((point) => point.session_date);
    const all = withHistory();
    this.panes = new Panes(this.box, {
      label: `Rebased prices of ${items.map((item) => item.symbol).join(", ")}. Arrow keys read session by session.`,
      times,
      describe: (at) => this.describe(items, at),
      onPoint: (at) => this.write(items, at),
      time: { tickMarkFormatter: sessionMark },
      localization: { timeFormatter: session },
    });
    const pane = this.panes.add("compare");
    const lines = items.map((item, at) => {
      const line = pane.add("Line", {
        color: colour(key(all.indexOf(item.symbol))),
        lineWidth: 2,
        lineStyle: at % 4 === 3 ? 2 : 0,
        priceLineVisible: false,
        title: item.symbol,
      });
      line.setData(item.points.map((point) => ({ time: point.session_date, value: point.value })));
      return line;
    });
    lines[0].createPriceLine({
      price: 100,
      color: colour("line-strong"),
      lineWidth: 1,
      lineStyle: 2,
      axisLabelVisible: false,
      title: "",
    });
    [pane.anchor, pane.values] = [lines[0], items[0].points.map((point) => point.value)];
    this.panes.show(-0.5, times.length * 1.06);
    this.write(items, null);
    const ranked = [...items].sort((a, b) => last(b) - last(a));
    const changes = ranked.map((item) => `${item.symbol} ${percent(last(item) - 100)}`).join(", ");
    const span = `From ${session(times[0])} to ${session(times.at(-1))}, ${times.length} sessions`;
    this.summary.textContent = `${span}: ${changes}.`;
    publish("compare", () => ({
      series: Object.fromEntries(items.map((item, at) => [item.symbol, lines[at].data()])),
    }));
  }

  write(items, at) {
    const all = withHistory();
    const index = at ?? items[0].points.length - 1;
    const entries = items.map((item) => [item.symbol, two(item.points[index]?.value), key(all.indexOf(item.symbol))]);
    writeLegend(this.panes.panes[0].legend, [["", session(items[0].points[index]?.session_date)], ...entries]);
  }

  describe(items, at) {
    return [
      session(items[0].points[at].session_date),
      ...items.map((item) => `${item.symbol} ${two(item.points[at]?.value)}`),
    ].join(", ");
  }

  figures() {
    const rows = this.data.items
      .filter((item) => item.points.length)
      .map((item) => {
        const values = item.points.map((point) => point.value);
        const change = values.at(-1) - 100;
        const number = (value) => h("td", { class: "number" }, two(value));
        return h(
          "tr",
          {},
          h("th", { scope: "row" }, h("a", { href: hash("chart", item.symbol, { as_of: asOf(this.route) }) }, item.symbol)),
          number(values.at(-1)),
          h("td", { class: `number ${direction(change)}` }, `${arrow(change)} ${percent(change)}`),
          number(Math.max(...values)),
          number(Math.min(...values)),
          h("td", {}, sourceBadge(item.source, "History")),
        );
      });
    const columns = [
      { label: "Symbol" },
      ...["Now", "Change", "Highest", "Lowest"].map((label) => ({ label, number: true })),
      { label: "Source" },
    ];
    return scrolling("Compared figures", table({ caption: "Rebased values, 100 at the start", columns, rows }));
  }

  clear() {
    publish("compare", null);
    this.panes?.remove();
    this.panes = null;
    this.box = null;
    this.data = null;
  }

  end() {
    for (const end of this.ends) end();
    this.part.end();
    this.clear();
  }
}

const last = (item) => item.points.at(-1).value;
const key = (at) => `c${(Math.max(at, 0) % COLOURS) + 1}`;
