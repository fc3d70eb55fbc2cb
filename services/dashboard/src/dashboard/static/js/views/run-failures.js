/** What failed in a run: in a word for the list of runs, and one by one for the run itself. */

import { card, h } from "../core/dom.js";
import { stamp, time } from "../core/format.js";
import { scrolling, table } from "../core/tables.js";

const RETRY = { 1: "a retry may help", 2: "a retry does not help: a setting or the input is wrong" };

/** Failures that no later try has recovered. @param {{failures: object[]}} run @returns {object[]} */
export const unrecovered = (run) => run.failures.filter((failure) => !failure.recovered_at);

/** How a run ended or its current state, in word and sign. @returns {Node[]} */
export function verdict(run) {
  const failed = unrecovered(run).map((failure) => failure.stage);
  const recovered = run.failures.length - failed.length;
  const after = recovered ? h("small", { class: "muted under" }, `after ${tries(run)}`) : null;
  return [word(run), failed.length ? h("small", { class: "under" }, failed.join(", ")) : after].filter(Boolean);
}

/** The same in a word. @returns {Node} */
export function word(run) {
  if (run.reconciled === false) return h("span", { class: "fail nowrap" }, "✖ not reconciled");
  if (unrecovered(run).length) return h("span", { class: "fail nowrap" }, "✖ failed");
  if (run.state === "failed") return h("span", { class: "fail" }, "✖ a check failed");
  if (run.state === "succeeded") return h("span", { class: "pass" }, "✔ reconciled");
  return h("span", { class: "muted" }, `◔ ${run.stages_done} of ${run.stages_total} stages`);
}

function tries(run) {
  const count = run.failures.reduce((sum, failure) => sum + (failure.times ?? 1), 0);
  return count === 1 ? "1 failed try" : `${count} failed tries`;
}

/** The failures of a run, open ones and those that a retry recovered; nothing where there is none. */
export function failures(run) {
  if (!run.failures.length) return null;
  const rows = run.failures.map((failure) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, failure.stage),
      h(
        "td",
        { class: "wrap" },
        failure.reason,
        h(
          "small",
          { class: "muted under" },
          `${failure.kind}, exit code ${failure.exit_code}`,
          RETRY[failure.exit_code] ? `: ${RETRY[failure.exit_code]}` : "",
        ),
      ),
      h("td", {}, stamp(failure.failed_at)),
      h("td", {}, failure.times ? `${failure.times} ×` : "–"),
      h(
        "td",
        {},
        failure.recovered_at
          ? [
              h("span", { class: "pass" }, "✔ a retry went well"),
              h("small", { class: "muted under" }, "at ", time(failure.recovered_at, "time")),
            ]
          : h("span", { class: "fail nowrap" }, "✖ open"),
      ),
    ),
  );
  const columns = ["Stage", "What it ended with", "Last failed", "Failed", "Since then"].map((label) => ({ label }));
  const caption = `Failed tries of the stages of run ${run.run_id}; of each stage the latest one`;
  return card("Failures", scrolling("Failures", table({ caption, columns, rows })));
}
