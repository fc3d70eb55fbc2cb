/** Where a run's rows came from and went: a layered graph, with the same as a list. */

import { h, svg } from "../core/dom.js";
import { whole } from "../core/format.js";

const HEIGHT = 42;
/** Widths of the main line's boxes and of those beside it, so that both fit a phone without being made smaller. */
const WIDTHS = { wide: { main: 272, side: 148 }, phone: { main: 200, side: 118 } };
const phone = matchMedia("(max-width: 480px)");
const GAP = { x: 16, y: 34 };
const INSET = 12;
const FONT = { label: 12, detail: 11 };
const ruler = document.createElement("canvas").getContext("2d");

/**
 * @param {{nodes: Array<{id: string, kind: string, label: string, detail: string}>,
 *   edges: Array<{from: string, to: string, rows: number}>}} graph
 * @param {string} run
 * @returns {HTMLElement}
 */
export function lineage({ nodes, edges }, run) {
  const placed = place(nodes, edges);
  const width = Math.max(...[...placed.values()].map((at) => at.x + at.width)) + 2;
  const height = Math.max(...[...placed.values()].map((at) => at.y + HEIGHT)) + 2;
  const arrow = svg(
    "marker",
    { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
    svg("path", { d: "M0 0L8 4L0 8z" }),
  );
  const names = new Map(nodes.map((node) => [node.id, node.label]));
  const picture = svg(
    "svg",
    {
      width,
      height,
      viewBox: `-1 -1 ${width} ${height}`,
      role: "img",
      "aria-label": `Lineage of run ${run}: ${nodes.length} places and stages; the list below says the same`,
    },
    svg("defs", {}, arrow),
    edges.map((edge) => drawEdge(edge, placed)),
    nodes.map((node) => drawNode(node, placed.get(node.id))),
  );
  const steps = edges.map((edge) =>
    h("li", {}, `${names.get(edge.from)} → ${names.get(edge.to)}: ${whole(edge.rows)} rows`),
  );
  return h(
    "div",
    {},
    h("div", { class: "lineage", tabindex: "0", role: "region", "aria-label": "Lineage graph" }, picture),
    h(
      "details",
      { class: "data-table" },
      h("summary", {}, "The lineage as a list"),
      h("ol", { class: "steps" }, steps),
    ),
  );
}

/** Layers by the longest way from a start; within one, the main line stays on the left. */
function place(nodes, edges) {
  const depth = new Map(nodes.map((node) => [node.id, 0]));
  // The graph has no cycle, so that after as many rounds as nodes nothing moves any more.
  for (const _ of nodes) for (const { from, to } of edges) depth.set(to, Math.max(depth.get(to), depth.get(from) + 1));
  const goesOn = new Set(edges.map((edge) => edge.from));
  const layers = Map.groupBy ? Map.groupBy(nodes, (node) => depth.get(node.id)) : grouped(nodes, depth);
  const { main, side } = phone.matches ? WIDTHS.phone : WIDTHS.wide;
  const placed = new Map();
  for (const [layer, members] of layers) {
    members.sort((a, b) => goesOn.has(b.id) - goesOn.has(a.id));
    members.forEach((node, at) =>
      placed.set(node.id, {
        x: at && main + GAP.x + (at - 1) * (side + GAP.x),
        y: layer * (HEIGHT + GAP.y),
        width: at ? side : main,
      }),
    );
  }
  return placed;
}

function grouped(nodes, depth) {
  const layers = new Map();
  for (const node of nodes) layers.set(depth.get(node.id), [...(layers.get(depth.get(node.id)) ?? []), node]);
  return layers;
}

function drawNode(node, { x, y, width }) {
  return svg(
    "g",
    { class: node.kind, transform: `translate(${x} ${y})` },
    svg("title", {}, `${node.label}: ${node.detail}`),
    svg("rect", { width, height: HEIGHT, rx: node.kind === "stage" ? 18 : 4 }),
    svg("text", { x: INSET, y: 17 }, fitted(node.label, FONT.label, width)),
    svg("text", { x: INSET, y: 33, class: "detail" }, fitted(node.detail, FONT.detail, width)),
  );
}

function drawEdge({ from, to, rows }, placed) {
  const [a, b] = [placed.get(from), placed.get(to)];
  const [x1, y1] = [a.x + a.width / 2, a.y + HEIGHT];
  const [x2, y2] = [b.x + b.width / 2, b.y - 2];
  const middle = y2 - GAP.y / 2;
  const [tx, ty] = [x2 + 8, middle + 6];
  return svg(
    "g",
    {},
    svg("path", {
      class: "edge",
      d: `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`,
      "marker-end": "url(#arrow)",
    }),
    svg("text", { class: "rows", x: tx, y: ty }, whole(rows)),
  );
}

/** `text` cut in its middle to what the box holds: both the start and the end of a path matter. */
function fitted(text, size, width) {
  ruler.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
  const fits = (each) => ruler.measureText(each).width <= width - 2 * INSET;
  if (fits(text)) return text;
  let kept = text.length - 1;
  const cut = () => `${text.slice(0, Math.ceil(kept / 2))}…${text.slice(text.length - Math.floor(kept / 2))}`;
  while (kept > 2 && !fits(cut())) kept -= 1;
  return cut();
}
