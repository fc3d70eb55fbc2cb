/** One run: its stages, checks, symbols and lineage. */

import { get } from "./api.js";
import { card, h, scrolling, table } from "./dom.js";
import { bytes, seconds, sourceBadge, time, whole } from "./format.js";
import { lineage } from "./lineage.js";
import { loaded } from "./panel.js";

const EVERY_MS = 5_000;

/** Show run `id` in `place`; one that is under way is looked at again. @returns {{end: () => void}} */
export function mountRun(place, id) {
  let timer = 0;
  const part = loaded(
    place,
    (signal) => get(`runs/${encodeURIComponent(id)}`, {}, signal),
    (run) => {
      clearTimeout(timer);
      if (run.reconciled === null) timer = setTimeout(() => part.reload(true), EVERY_MS);
      return [
        stages(run),
        h("div", { class: "split" }, graph(run), h("div", { class: "panel" }, checks(run), symbols(run))),
      ];
    },
    { lines: 8 },
  );
  return {
    end() {
      clearTimeout(timer);
      part.end();
    },
  };
}

function stages(run) {
  const start = Date.parse(run.started_at);
  const end = Math.max(...run.stages.map((stage) => Date.parse(stage.finished_at)), start + 1);
  const number = (value) => h("td", { class: "number" }, value);
  const rows = run.stages.map((stage) => {
    const vars = {
      from: String((Date.parse(stage.started_at) - start) / (end - start)),
      part: String((stage.seconds * 1000) / (end - start)),
    };
    const steps = Object.entries(stage.timings)
      .map(([name, took]) => `${name} ${seconds(took)}`)
      .join(", ");
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, stage.stage),
      h("td", { class: "nowrap" }, time(stage.started_at, "time")),
      number(seconds(stage.seconds)),
      h("td", { title: steps || null }, h("span", { class: "gantt", "aria-hidden": "true" }, h("i", { vars }))),
      number(whole(stage.rows_in)),
      number(whole(stage.rows_out)),
      number(whole(stage.quarantined)),
      number(stage.objects ? whole(stage.objects) : "–"),
      number(stage.objects ? bytes(stage.bytes) : "–"),
    );
  });
  const columns = [
    { label: "Stage" },
    { label: "Started" },
    { label: "Duration", number: true },
    { label: "Course" },
    ...["Rows in", "Rows out", "Quarantined", "Objects", "Size"].map((label) => ({ label, number: true })),
  ];
  const said = (run.disagreements ?? []).map((line) => h("p", { class: "fail" }, line));
  const notes = run.stages.flatMap((stage) => stage.notes.map((note) => `${stage.stage}: ${note}`));
  const versions = [...new Set(run.stages.map((stage) => stage.code_version))].join(", ");
  const section = card(
    "Stages",
    scrolling("Stages", table({ caption: `Stages of run ${run.run_id}`, columns, rows })),
    h(
      "div",
      { class: "summary" },
      h("p", {}, `${reconciliation(run)} Code ${versions}.`),
      said,
      notes.map((line) => h("p", {}, line)),
    ),
  );
  section.querySelector("header").append(h("span", { class: "muted" }, run.run_id), sourceBadge(run.source, "History"));
  return section;
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
      h("th", { scope: "row" }, check.name),
      h("td", { class: check.passed ? "pass" : "fail" }, check.passed ? "✔ passed" : "✖ failed"),
      h("td", { class: "number" }, figure(check.observed)),
      h("td", { class: "nowrap" }, `${figure(check.limit)} ${check.unit}`),
      h("td", {}, check.stage),
      h("td", { class: "wrap" }, check.detail),
    ),
  );
  const columns = [
    { label: "Check" },
    { label: "Result" },
    { label: "Observed", number: true },
    { label: "At most" },
    { label: "Stage" },
    { label: "Detail" },
  ];
  return card(
    "Quality checks",
    all.length
      ? scrolling("Quality checks", table({ caption: "Quality checks of this run", columns, rows }))
      : h("p", { class: "notice muted" }, "No validation stage is done yet."),
  );
}

function symbols(run) {
  const rows = run.symbols.map((item) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, item.symbol),
      h("td", {}, item.status),
      [item.rows, item.quarantined, item.missing_sessions].map((value) => h("td", { class: "number" }, whole(value))),
    ),
  );
  const columns = [
    { label: "Symbol" },
    { label: "Source said" },
    ...["Rows", "Quarantined", "Missing sessions"].map((label) => ({ label, number: true })),
  ];
  return card(
    "Symbols of the run",
    scrolling("Symbols of the run", table({ caption: "Rows per symbol in this run", columns, rows })),
  );
}

function graph(run) {
  return card("Lineage", lineage(run.lineage, run.run_id));
}
