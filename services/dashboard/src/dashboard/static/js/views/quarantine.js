/** What failed validation: searched, and one message in full. The page only reads: it names the commands that decide. */

import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { time, whole } from "../core/format.js";
import { empty, loaded } from "../core/panel.js";
import { scrolling, table } from "../core/tables.js";

const LIMIT = 50;
const TYPING_MS = 250;

/**
 * Show it in `place`.
 * @param {HTMLElement} place
 * @returns {{reload: (quiet?: boolean) => Promise<void>, end: () => void}}
 */
export function mountQuarantine(place) {
  const asked = { search: "", topic: "", run: "", decided: false };
  const list = h("div", {});
  const detail = h("div", { "aria-live": "polite" });
  let open = null;
  let typing = 0;
  const ask = (change) => {
    Object.assign(asked, change);
    clearTimeout(typing);
    typing = setTimeout(() => found.reload(true), TYPING_MS);
  };
  const close = () => {
    open?.end();
    open = null;
    detail.replaceChildren();
  };
  const look = (id) => {
    close();
    open = loaded(
      detail,
      (signal) => get(`quarantine/${id}`, {}, signal),
      (item) => inFull(item, close),
      { lines: 4 },
    );
    detail.scrollIntoView({ block: "nearest" });
  };
  place.append(searchBar(ask), detail, list);
  const found = loaded(
    list,
    (signal) => get("quarantine", { ...asked, decided: asked.decided || null, limit: LIMIT }, signal),
    (data) => results(data, asked, look),
    { lines: 4 },
  );
  return {
    reload(quiet) {
      open?.reload(true);
      return found.reload(quiet);
    },
    end() {
      clearTimeout(typing);
      found.end();
      open?.end();
    },
  };
}

function searchBar(ask) {
  const input = (name, label) =>
    h(
      "label",
      {},
      `${label} `,
      h("input", { type: "search", name, maxlength: 200, oninput: (event) => ask({ [name]: event.target.value.trim() }) }),
    );
  const decided = h("input", { type: "checkbox", name: "decided", onchange: (event) => ask({ decided: event.target.checked }) });
  return h(
    "form",
    { class: "bar known", role: "search", "aria-label": "Quarantine", onsubmit: (event) => event.preventDefault() },
    input("search", "Search"),
    input("topic", "Topic"),
    input("run", "Run"),
    h("label", {}, decided, " also decided"),
  );
}

function results({ items, next_cursor: more, whole: all }, asked, look) {
  const part = all ? null : note("Only the newest are searched here; ", "ticklake quarantine list", " searches all.");
  if (items.length)
    return [quarantineTable(items, look), more ? note(`The newest ${whole(items.length)} of those found.`) : null, part];
  if (asked.search || asked.topic || asked.run) return [empty("Nothing is found", "Nothing in quarantine has that."), part];
  return empty("Nothing in quarantine", "No row or message waits for a decision.");
}

const note = (text, command, rest) => h("p", { class: "muted" }, text, command ? h("code", {}, command) : null, rest);

function quarantineTable(items, look) {
  const rows = items.map((item) =>
    h(
      "tr",
      {},
      h("td", { class: "nowrap" }, time(item.at)),
      h("td", {}, item.symbol ?? "–"),
      h("td", { class: "wrap" }, item.reason, under(item.replay_of && `replay of ${item.replay_of}`), under(item.decision)),
      h("td", { class: "wrap" }, item.where),
      h("td", { class: "wrap" }, h("code", {}, item.excerpt)),
      h("td", {}, h("button", { type: "button", "data-key": `look-${item.id}`, onclick: () => look(item.id) }, item.id.slice(0, 8))),
    ),
  );
  const columns = ["At", "Symbol", "Reason", "Where", "Original", "Look"].map((label) => ({ label }));
  return scrolling("Quarantine", table({ caption: "What failed validation, newest first", columns, rows }));
}

const under = (text) => (text ? h("small", { class: "muted under" }, text) : null);

function inFull(item, close) {
  const facts = {
    Id: item.id,
    Reason: item.reason,
    Where: item.where,
    Stage: item.stage,
    Key: item.message_key,
    Run: item.run_id,
    "Replay of": item.replay_of,
    Decision: item.decision,
    Object: item.object,
    Size: `${whole(item.bytes)} bytes`,
  };
  const known = Object.entries(facts).filter(([, value]) => value !== null);
  return h(
    "section",
    { class: "quarantined", "aria-label": `Quarantined ${item.id}` },
    h("dl", {}, known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("h3", {}, "As text"),
    h("pre", { tabindex: 0, "aria-label": "The bytes as text" }, item.text),
    h("h3", {}, "In hex"),
    h("pre", { tabindex: 0, "aria-label": "The bytes in hex" }, item.hex),
    item.commands.length ? h("h3", {}, "To decide") : null,
    item.commands.map((line) => h("p", {}, h("code", {}, line))),
    h("button", { type: "button", "data-key": "close-quarantined", onclick: close }, "Close"),
  );
}
