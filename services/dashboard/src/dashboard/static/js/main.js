/** The page: header, watchlist and the view that the address asks for. */

import { ApiError, get, NO_ANSWER } from "./core/api.js";
import { say } from "./core/dom.js";
import { setUpHelp } from "./views/help.js";
import { failed, skeleton } from "./core/panel.js";
import { current } from "./core/router.js";
import { setUpShell } from "./core/shell.js";
import { emit, listed, on, state } from "./core/state.js";
import { startStream } from "./core/stream.js";
import { markTab, setUpTabs } from "./core/tabs.js";
import { expose } from "./core/testing.js";
import { setUpTheme } from "./core/theme.js";
import { setUpToasts } from "./core/toasts.js";
import { setUpWatchlist } from "./views/watchlist.js";

const SYMBOLS_EVERY_MS = 60_000;
const SYMBOLS_RETRY_MS = 5_000;
const phone = matchMedia("(max-width: 860px)");
const panel = document.getElementById("panel");
const watchlist = document.getElementById("watchlist");
const tabs = document.getElementById("tabs");
const TITLES = {
  chart: "Chart",
  risk: "Risk",
  compare: "Compare",
  platform: "Platform",
  alerts: "Alerts",
  watchlist: "Watchlist",
};
const MODULES = {
  chart: () => import("./views/chart-view.js"),
  risk: () => import("./views/risk.js"),
  compare: () => import("./views/compare.js"),
  platform: () => import("./views/platform.js"),
  alerts: () => import("./views/alerts.js"),
};

let shown = { view: null, end: null, update: null };
let turn = 0;
let stuck = false;

async function route() {
  const asked = current();
  const mine = ++turn;
  // The watchlist is a view of its own only where it is not shown beside the others.
  const view = asked.view === "watchlist" && !phone.matches ? "chart" : asked.view;
  document.body.dataset.view = view;
  // On a phone the watchlist is what the page is about while it is open.
  watchlist.setAttribute("role", view === "watchlist" ? "main" : "complementary");
  markTab(tabs, view);
  panel.setAttribute("aria-labelledby", `tab-${view}`);
  if (view === "chart") select(asked.view === "chart" ? asked.part : null);
  document.title = `${view === "chart" && state.selected ? state.selected : TITLES[view]} · ticklake`;
  if (view === "watchlist") return leave();
  if (shown.view === view) return shown.update?.(asked);
  leave();
  panel.replaceChildren(skeleton(8, true));
  try {
    const { mount } = await load(view);
    stuck = false;
    if (mine !== turn) return undefined;
    panel.replaceChildren();
    shown = { view, ...mount(panel, asked) };
    if (panel.dataset.opened) say(`${TITLES[view]} view`);
    panel.dataset.opened = "yes";
  } catch (error) {
    if (error.status === undefined) console.error(error);
    stuck = true;
    if (mine === turn) panel.replaceChildren(failed(error, () => route()));
  }
  return undefined;
}

function load(view) {
  return MODULES[view]().catch(() => {
    throw new ApiError(0, NO_ANSWER);
  });
}

function leave() {
  shown.end?.();
  shown = { view: null, end: null, update: null };
  panel.replaceChildren();
}

function select(symbol) {
  const chosen = symbol ?? state.selected ?? listed()[0] ?? null;
  if (chosen === state.selected) return;
  state.selected = chosen;
  emit("selected", chosen);
}

async function loadSymbols() {
  let again = SYMBOLS_EVERY_MS;
  try {
    const { items } = await get("symbols");
    const before = state.symbolsKnown && JSON.stringify(state.symbols);
    state.symbols = items;
    state.symbolsKnown = true;
    if (!items.some((each) => each.sessions > 0)) again = SYMBOLS_RETRY_MS;
    if (before !== JSON.stringify(items)) emit("symbols");
  } catch {
    // What is wrong is shown in the banner, from the stream's status.
    again = SYMBOLS_RETRY_MS;
    if (!state.symbolsKnown) emit("symbols");
  }
  setTimeout(loadSymbols, again);
}

/** A chart was asked for before any symbol was known. */
function firstSymbol() {
  if (state.selected || document.body.dataset.view !== "chart" || !listed().length) return;
  select(null);
  route();
}

setUpTheme(document.getElementById("theme"));
setUpHelp(document.getElementById("help"), document.getElementById("help-open"));
setUpTabs(tabs);
setUpShell();
setUpWatchlist(watchlist);
setUpToasts(document.getElementById("toasts"));
expose();
for (const name of ["quotes", "symbols", "status"]) on(name, firstSymbol);
on("connection", () => stuck && state.connection === "open" && route());
const badge = document.getElementById("alert-count");
let missed = 0;
const countUnseen = (by) => {
  missed = document.body.dataset.view === "alerts" ? 0 : missed + by;
  badge.hidden = missed === 0;
  badge.replaceChildren(
    String(missed),
    Object.assign(document.createElement("span"), { className: "visually-hidden", textContent: " new" }),
  );
};
on("alert", (alert) => countUnseen(alert.state === "raised" ? 1 : 0));
addEventListener("hashchange", () => {
  route();
  countUnseen(0);
});
document.getElementById("skip").addEventListener("click", (event) => {
  // The address says which view is open, so the link must not change it.
  event.preventDefault();
  (document.body.dataset.view === "watchlist" ? watchlist : panel).focus();
});
phone.addEventListener("change", route);
startStream();
// The other views' code comes while nothing else is to do, so that they open at once, also when the server is away.
(globalThis.requestIdleCallback ?? setTimeout)(() =>
  setTimeout(() => Object.keys(MODULES).map((view) => load(view).catch(() => {})), 2_000),
);
loadSymbols();
route();
