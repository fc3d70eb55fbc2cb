/** Header and banner: where the data comes from, how old it is, and what is wrong. */

import { h } from "./dom.js";
import { local, seconds, sourceBadge, time, zoneName } from "./format.js";
import { on, state } from "./state.js";
import { retryNow } from "./stream.js";

/** Wire the header's state and the banner. */
export function setUpShell() {
  const header = document.getElementById("state");
  const banner = document.getElementById("banner");
  const parts = {
    sources: h("span", { class: "sources" }),
    market: h("span", { class: "dot optional" }),
    link: h("span", { class: "dot" }),
    clock: h("span", { class: "optional" }),
  };
  header.replaceChildren(parts.clock, parts.market, parts.link, parts.sources);
  const draw = () => {
    drawSources(parts.sources);
    drawMarket(parts.market);
    drawLink(parts.link);
    drawBanner(banner);
  };
  for (const name of ["status", "connection", "symbols"]) on(name, draw);
  const tick = () => {
    parts.clock.replaceChildren(`${local(Date.now())} ${zoneName()}`);
    parts.clock.title = `${new Date().toISOString().slice(11, 19)} UTC`;
  };
  setInterval(tick, 1_000);
  setInterval(() => state.connection === "lost" && drawLink(parts.link), 1_000);
  on("status", tick);
  tick();
  draw();
}

function drawSources(place) {
  const ticks = state.status?.live?.source;
  const bars = [...new Set(state.symbols.filter((each) => each.sessions > 0).map((each) => each.source))];
  // One badge where ticks and bars agree.
  const same = bars.length === 1 && bars[0] === ticks;
  const parts = [[same ? "Data" : "Ticks", ticks], ...(same ? [] : bars.map((source) => ["Bars", source]))];
  const named = ([what, source]) =>
    source && h("span", { class: "named" }, h("span", {}, what), sourceBadge(source, what));
  place.replaceChildren(...parts.map(named).filter(Boolean));
  if (!place.childElementCount) place.append(h("span", { class: "badge" }, "NO DATA"));
}

function drawMarket(place) {
  const market = state.status?.market;
  place.className = `dot optional ${market?.open ? "good" : ""}`;
  if (!market) return place.replaceChildren();
  const next = market.open ? market.next_close : market.next_open;
  return place.replaceChildren(
    market.open ? "Open, closes " : "Closed, opens ",
    next ? time(next, Date.parse(next) - Date.now() > 20 * 3_600_000 ? "moment" : "clock") : "",
  );
}

function drawLink(place) {
  const [kind, text] = linkState();
  if (place.textContent === text) return;
  place.className = `dot ${kind}`;
  place.replaceChildren(text);
}

function linkState() {
  if (state.connection === "lost") return ["bad", "Offline"];
  if (state.connection === "connecting") return ["", "Connecting"];
  return (
    { live: ["good", "Live"], stale: ["warn", "Stale"], empty: ["", "No ticks"] }[state.status?.live?.state] ?? [
      "",
      "Connecting",
    ]
  );
}

function drawBanner(place) {
  const lines = [...problems()];
  const text = lines.map(({ key }) => key).join("|");
  // Redrawn only when something else is wrong: a live region repeats what changes.
  if (place.dataset.shown === text) return;
  place.dataset.shown = text;
  place.replaceChildren(...lines.map(({ kind, parts }) => h("div", { class: kind }, parts)));
}

function* problems() {
  const { status } = state;
  if (state.connection === "lost") {
    const retry = h("button", { type: "button", onclick: retryNow }, "Reconnect now");
    const since = h("span", {}, "Prices below are as of ", time(new Date(state.lostAt).toISOString(), "time"), ".");
    yield { key: "lost", kind: "bad", parts: [h("strong", {}, "Connection lost, reconnecting …"), since, retry] };
    return;
  }
  if (!status) return;
  if (status.broker?.state === "error") {
    yield {
      key: "broker",
      kind: "bad",
      parts: [h("strong", {}, "Kafka is out of reach"), "Prices do not move until it is back.", detail(status.broker)],
    };
  }
  if (status.store?.state === "error") {
    yield {
      key: "store",
      kind: "bad",
      parts: [h("strong", {}, "The lake is out of reach"), "Charts, risk and runs may not load.", detail(status.store)],
    };
  }
  if (status.live?.state === "stale" && status.broker?.state !== "error") {
    const age = Math.round((status.live.age_seconds ?? 0) / 60);
    const last = status.live.last_tick
      ? [
          "The last one came at ",
          time(status.live.last_tick, "moment"),
          age ? ` (${seconds(status.live.age_seconds)} ago)` : "",
          ".",
        ]
      : [];
    yield { key: `stale ${age}`, kind: "", parts: [h("strong", {}, "No new ticks"), h("span", {}, last)] };
  }
  if (status.live?.state === "empty" && status.broker?.state !== "error") {
    yield {
      key: "no ticks",
      kind: "note",
      parts: [
        h("strong", {}, "No ticks yet"),
        h("span", {}, "Start the live flow with ", h("code", {}, "make live"), "."),
      ],
    };
  }
  if (state.symbolsKnown && !state.symbols.some((each) => each.sessions > 0) && status.store?.state !== "error") {
    const what = h(
      "span",
      {},
      "Run ",
      h("code", {}, "make run"),
      "; ",
      h("code", {}, "make live"),
      " does it by itself.",
    );
    yield { key: "empty", kind: "note", parts: [h("strong", {}, "No batch yet: there is no daily history"), what] };
  }
}

const detail = (part) => (part.detail ? h("span", {}, part.detail) : null);
