/** Tables that fit their place: where the columns do not, each row becomes a block of labelled values. */

import { h } from "./dom.js";

/**
 * A table with headers that screen readers announce.
 * @param {{caption: string, columns: Array<{label: string, number?: boolean}>, rows: HTMLElement[],
 *   className?: string}} parts
 * @returns {HTMLTableElement}
 */
export function table({ caption, columns, rows, className }) {
  const heads = columns.map((column) =>
    h("th", { scope: "col", class: column.number ? "number" : null }, column.label),
  );
  const made = h(
    "table",
    { class: className },
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", {}, h("tr", {}, heads)),
    h("tbody", {}, rows),
  );
  for (const row of rows)
    [...row.cells].forEach((cell, at) => columns[at]?.label && (cell.dataset.label = columns[at].label));
  name(made);
  return made;
}

/** Laid out as blocks, a browser may no longer take it for a table: its parts say what they are. */
function name(made) {
  made.setAttribute("role", "table");
  for (const part of [made.tHead, ...made.tBodies]) part.setAttribute("role", "rowgroup");
  for (const row of made.rows) {
    row.setAttribute("role", "row");
    for (const cell of row.cells)
      cell.setAttribute("role", { col: "columnheader", row: "rowheader" }[cell.getAttribute("scope")] ?? "cell");
  }
}

/** A box for a table; what is still too wide or too high for it scrolls by touch, wheel and keyboard. */
export function scrolling(label, ...children) {
  const box = h("div", { class: "scroll", role: "region", "aria-label": `${label}, table` }, children);
  fits.observe(box);
  return box;
}

const fits = new ResizeObserver((entries) => {
  for (const { target } of entries) fit(target);
});

function fit(box) {
  box.classList.remove("stacked");
  // A matrix is read both ways and has no other form.
  box.classList.toggle("stacked", box.scrollWidth > box.clientWidth && !box.querySelector(".matrix"));
  // A stop for Tab only where there is something to scroll.
  if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
}
