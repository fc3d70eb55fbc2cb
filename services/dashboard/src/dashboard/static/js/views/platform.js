/** The platform itself: live flow, lag, pipeline runs and what was put aside. */

import { get } from "../core/api.js";
import { card, h } from "../core/dom.js";
import { seconds, session, sourceBadge, time, whole } from "../core/format.js";
import { mountHeld } from "./held.js";
import { empty, loaded } from "../core/panel.js";
import { mountPlatformAlerts } from "./platform-alerts.js";
import { hash } from "../core/router.js";
import { mountQuarantine } from "./quarantine.js";
import { mountRun, rowsOf } from "./run-detail.js";
import { unrecovered, verdict, word } from "./run-failures.js";
import { on, state } from "../core/state.js";
import { scrolling, table } from "../core/tables.js";

const EVERY_MS = 10_000;

/** @param {HTMLElement} root @param {import("../core/router.js").Route} route */
export function mount(root, route) {
  const facts = h("dl", { class: "facts", "aria-label": "State of the platform" });
  const places = { alerts: h("div"), held: h("div"), runs: h("div"), run: h("div", { class: "panel" }), lag: h("div"), quarantine: h("div") };
  root.append(
    facts,
    card("Platform alerts", places.alerts),
    card("Held symbols", places.held),
    card("Pipeline runs", places.runs),
    places.run,
    card("Consumer lag", places.lag),
    card("Quarantine", places.quarantine),
  );
  let chosen = route.part;
  let detail = null;
  let latest = null;
  const open = (id) => {
    if (detail?.id === id) return;
    detail?.end();
    detail = id ? { id, ...mountRun(places.run, id) } : null;
  };
  const runs = loaded(
    places.runs,
    (signal) => get("runs", { limit: 20 }, signal),
    (data) => {
      latest = data.items[0] ?? null;
      drawFacts();
      const id = chosen ?? latest?.run_id ?? null;
      open(id);
      return data.items.length
        ? runTable(data.items, id)
        : empty("No run yet", "Run ", h("code", {}, "make run"), " for one batch.");
    },
  );
  let behind = [null, null];
  const lag = loaded(
    places.lag,
    (signal) => get("lag", {}, signal),
    (data) => {
      behind = lagInAll(data.items);
      drawFacts();
      if (data.items.length) return lagTable(data.items);
      return empty("No topic yet", "The flows' topics are made when they first run.");
    },
    { lines: 4 },
  );
  const quarantine = mountQuarantine(places.quarantine);
  const alerts = mountPlatformAlerts(places.alerts);
  const held = mountHeld(places.held);
  const drawFacts = () => facts.replaceChildren(...platformFacts(latest, behind));
  const timer = setInterval(
    () => !document.hidden && [alerts, held, runs, lag, quarantine].forEach((part) => part.reload(true)),
    EVERY_MS,
  );
  const second = setInterval(drawFacts, 1_000);
  const end = on("status", drawFacts);
  drawFacts();
  return {
    update(next) {
      chosen = next.part;
      runs.reload(true).then(() => mark(places.runs, chosen));
      if (chosen) open(chosen);
    },
    end() {
      clearInterval(timer);
      clearInterval(second);
      end();
      for (const part of [alerts, held, runs, lag, quarantine, detail]) part?.end();
    },
  };
}

function platformFacts(run, behind) {
  const { status } = state;
  const fact = (name, value, more, kind) =>
    h(
      "div",
      {},
      h("dt", {}, name),
      h("dd", {}, kind ? h("span", { class: `dot ${kind}` }, value) : value, more ? h("small", {}, more) : null),
    );
  const known = status?.live?.last_tick;
  // Counted here between two statuses, so that the age goes on.
  const age = known ? Math.max((Date.now() - Date.parse(known)) / 1000, 0) : null;
  const part = (value) =>
    value
      ? [value.state === "ok" ? "Reachable" : "Out of reach", value.detail, value.state === "ok" ? "good" : "bad"]
      : ["–", "", ""];
  const live = { live: "good", stale: "warn" }[status?.live?.state] ?? "";
  const leftOut = status?.live?.left_out ?? [];
  const missing = leftOut.length ? `, no room for ${leftOut.join(", ")}` : "";
  return [
    fact(
      "Age of the last tick",
      age === null ? "No tick" : seconds(age),
      known ? [time(known, "time"), ` · ${status.live.symbols.length} symbols`, missing] : null,
      live,
    ),
    fact(
      "Data",
      sourceBadge(status?.live?.source, "Ticks") ?? "–",
      status?.data_sources?.length ? `in the lake and live: ${status.data_sources.join(", ")}` : null,
    ),
    fact("Lake", ...part(status?.store)),
    fact("Kafka", ...part(status?.broker)),
    fact("Consumer lag", whole(behind[0]), behind[1]),
    fact("Last run", run ? word(run) : "–", run ? lastRun(run) : null),
  ];
}

function lastRun(run) {
  const failed = unrecovered(run).map((failure) => failure.stage);
  return [...failed, session(run.batch_date), seconds(run.seconds)].join(" · ");
}

function runTable(items, chosen) {
  const rows = items.map((run) => {
    const link = h(
      "a",
      {
        href: hash("platform", run.run_id),
        "data-key": run.run_id,
        "aria-current": run.run_id === chosen ? "true" : null,
      },
      run.run_id,
    );
    const badge = sourceBadge(run.source, "History");
    return h(
      "tr",
      {
        class: run.run_id === chosen ? "selected" : null,
        "data-run": run.run_id,
        onclick: (event) => event.target.closest("a") || link.click(),
      },
      h("th", { scope: "row", class: "names" }, link),
      h("td", { class: "nowrap" }, session(run.batch_date), h("span", { class: "under" }, badge)),
      h("td", { class: "nowrap" }, time(run.started_at)),
      h("td", { class: "number" }, seconds(run.seconds)),
      h("td", { class: "number" }, rowsOf(run)),
      h("td", {}, verdict(run)),
    );
  });
  const columns = [
    { label: "Run" },
    { label: "Batch" },
    { label: "Started" },
    { label: "Duration", number: true },
    { label: "Rows", number: true },
    { label: "Result" },
  ];
  return scrolling(
    "Pipeline runs",
    table({ caption: "Pipeline runs, newest first; choose one for its stages", columns, rows, className: "runs" }),
  );
}

function mark(place, chosen) {
  for (const row of place.querySelectorAll("tr[data-run]")) {
    const mine = row.dataset.run === chosen;
    row.classList.toggle("selected", mine);
    const link = row.querySelector("a");
    if (mine) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function lagTable(items) {
  const groups = new Map();
  for (const item of items)
    groups.set(`${item.group} ${item.topic}`, [...(groups.get(`${item.group} ${item.topic}`) ?? []), item]);
  const rows = [...groups.values()].map((parts) => {
    const known = parts.filter((item) => item.lag !== null);
    const each = known.map((item) => `p${item.partition} ${whole(item.lag)}`).join(", ") || "–";
    const offsets = parts.map((item) => `p${item.partition}: ${whole(item.position)} of ${whole(item.end)}`).join(", ");
    return h(
      "tr",
      {},
      h("th", { scope: "row", class: "names" }, parts[0].group, h("small", { class: "muted under" }, parts[0].topic)),
      h("td", { class: "number" }, lagOf(parts)),
      h("td", { class: "wrap narrow", title: offsets }, each),
    );
  });
  const columns = [{ label: "Group and topic" }, { label: "Lag", number: true }, { label: "By partition" }];
  return scrolling(
    "Consumer lag",
    table({ caption: "Messages that each consumer group has still to read", columns, rows, className: "lag" }),
  );
}

/** What the groups together have still to read, and its description. @returns {[number | null, string]} */
function lagInAll(items) {
  const known = items.filter((item) => item.lag !== null);
  if (known.length) return [known.reduce((sum, item) => sum + item.lag, 0), "messages, all groups"];
  return [null, items.some((item) => item.state === "unknown") ? "not known just now" : "no group has committed"];
}

/** All partitions' lag; a group that has committed nowhere has none. */
function lagOf(parts) {
  if (parts.some((item) => item.lag !== null)) return whole(parts.reduce((sum, item) => sum + (item.lag ?? 0), 0));
  const never = parts.every((item) => item.state === "never");
  return h("span", { class: "muted" }, never ? "never committed" : "not known just now");
}
