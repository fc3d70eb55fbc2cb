/** One run: its stages, checks, symbols and lineage. */

import { get } from "../core/api.js";
import { card, h } from "../core/dom.js";
import { bytes, seconds, sourceBadge, time, whole } from "../core/format.js";
import { lineage } from "./lineage.js";
import { loaded } from "../core/panel.js";
import { failures } from "./run-failures.js";
import { scrolling, table } from "../core/tables.js";

const EVERY_MS = 5_000;

/** Show run `id` in `place`; one that has not succeeded is polled. @returns {{end: () => void}} */
export function mountRun(place, id) {
  let settled = false;
  const part = loaded(
    place,
    (signal) => get(`runs/${encodeURIComponent(id)}`, {}, signal),
    (run) => {
      settled = run.state === "succeeded";
      return [
        failures(run),
        stages(run),
        run.stages.length ? h("div", { class: "split" }, graph(run), checks(run)) : null,
        run.stages.length ? symbols(run) : null,
      ];
    },
    { lines: 8 },
  );
  const timer = setInterval(() => settled || document.hidden || part.reload(true), EVERY_MS);
  return {
    end() {
      clearInterval(timer);
      part.end();
    },
  };
}

function stages(run) {
  const began = (each) => Date.parse(each.started_at);
  const tries = [...run.stages, ...run.failures.map(asTry)].sort((a, b) => began(a) - began(b));
  const start = Date.parse(run.started_at);
  const end = Math.max(...tries.map((each) => Date.parse(each.finished_at)), start + 1);
  const rows = tries.map((each) => stageRow(each, start, end));
  const columns = [
    { label: "Stage" },
    { label: "Started" },
    { label: "Duration", number: true },
    { label: "Course" },
    { label: "Rows", number: true },
    { label: "Objects", number: true },
  ];
  const disagreements = (run.disagreements ?? []).map((line) => h("p", { class: "fail" }, line));
  const notes = run.stages.flatMap((stage) => stage.notes.map((note) => `${stage.stage}: ${note}`));
  const versions = [...new Set(tries.map((each) => each.code_version))].join(", ");
  const section = card(
    "Stages",
    scrolling("Stages", table({ caption: `Stages of run ${run.run_id}`, columns, rows })),
    h(
      "div",
      { class: "summary" },
      h("p", {}, `${reconciliation(run)} Code ${versions}.`),
      disagreements,
      notes.map((line) => h("p", {}, line)),
    ),
  );
  const badge = sourceBadge(run.source, "History") ?? "";
  section.querySelector("header").append(h("span", { class: "muted names" }, run.run_id), badge);
  return section;
}

/** Rows that came in, and those that went out or aside where they differ. */
export function rowsOf({ rows_in: came, rows_out: left, quarantined }) {
  return [
    came === left ? whole(came) : `${whole(came)} → ${whole(left)}`,
    quarantined ? h("small", { class: "muted under" }, `${whole(quarantined)} quarantined`) : null,
  ];
}

/** A failed try as a row among the stages. */
function asTry(failure) {
  const seconds = (Date.parse(failure.failed_at) - Date.parse(failure.started_at)) / 1000;
  return { ...failure, failed: true, finished_at: failure.failed_at, seconds, timings: {} };
}

function stageRow(stage, start, end) {
  const number = (value) => h("td", { class: "number" }, value);
  const vars = {
    from: String((Date.parse(stage.started_at) - start) / (end - start)),
    part: String((stage.seconds * 1000) / (end - start)),
  };
  const steps = Object.entries(stage.timings)
    .map(([name, took]) => `${name} ${seconds(took)}`)
    .join(", ");
  const bar = h("span", { class: `gantt${stage.failed ? " failed" : ""}`, "aria-hidden": "true" }, h("i", { vars }));
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, stage.stage, stage.failed ? h("small", { class: "fail under" }, "✖ failed try") : null),
    h("td", { class: "nowrap" }, time(stage.started_at, "time")),
    number(seconds(stage.seconds)),
    h("td", { title: steps || null }, bar),
    number(rowsOf(stage)),
    number(stage.objects ? `${whole(stage.objects)}, ${bytes(stage.bytes)}` : "–"),
  );
}

function reconciliation(run) {
  if (run.reconciled) return `Reconciled: every row of the source is accounted for in topic, lake and warehouse.`;
  if (run.reconciled === false) return "Not reconciled: the places disagree.";
  return `Not reconciled yet; ${run.stages_done} of ${run.stages_total} stages are done.`;
}

function checks(run) {
  const all = run.stages.flatMap((stage) => stage.checks.map((check) => ({ ...check, stage: stage.stage })));
  const figure = (value) => new Intl.NumberFormat("en-US", { maximumFractionDigits: 4 }).format(value);
  const rows = all.map((check) =>
    h(
      "tr",
      {},
      h(
        "th",
        { scope: "row", class: "names" },
        check.name,
        h("small", { class: "muted under" }, [check.stage, check.detail].filter(Boolean).join(": ")),
      ),
      h("td", { class: check.passed ? "pass" : "fail" }, check.passed ? "✔ passed" : "✖ failed"),
      h("td", { class: "number" }, figure(check.observed)),
      h("td", { class: "number" }, figure(check.limit), h("small", { class: "muted under" }, check.unit)),
    ),
  );
  const columns = [
    { label: "Check" },
    { label: "Result" },
    { label: "Observed", number: true },
    { label: "At most", number: true },
  ];
  return card(
    "Quality checks",
    all.length
      ? scrolling("Quality checks", table({ caption: "Quality checks of this run", columns, rows }))
      : h("p", { class: "notice muted" }, "No validation stage is done yet."),
  );
}

/** Numbers of a symbol: first of the batch, then of its whole history. */
const COUNTS = {
  rows: "Rows",
  new: "New",
  unchanged: "Unchanged",
  revised: "Revised",
  quarantined: "Quarantined",
  missing_sessions: "Missing sessions",
  facts: "Facts",
  analytics: "Analytics",
  warehouse: "Warehouse",
};

function symbols(run) {
  const number = (value) => h("td", { class: "number" }, value === null ? "–" : whole(value));
  const rows = run.symbols.map((item) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, item.symbol),
      h("td", {}, item.status),
      Object.keys(COUNTS).map((name) => number(item[name])),
    ),
  );
  const columns = [
    { label: "Symbol" },
    { label: "Source reported" },
    ...Object.values(COUNTS).map((label) => ({ label, number: true })),
  ];
  return card(
    "Symbols of the run",
    scrolling("Symbols of the run", table({ caption: "Rows per symbol in this run", columns, rows })),
  );
}

function graph(run) {
  return card("Lineage", lineage(run.lineage, run.run_id));
}
