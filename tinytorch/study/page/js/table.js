// A matrix as a table of numbers, coloured by value, that the arrow keys move about in.

import { indexOf, sizeOf } from "./arrays.js";
import { make } from "./dom.js";
import { cellName, shortText } from "./format.js";

const WIDEST = 16; // columns that are shown

// label: what stands above it; cellOf(place): the cell, or null where it cannot be asked; blank(place): whether its number
// is for the reader to find; moved(place): whether it is another than at first; look: {enter, leave, choose, type} of a cell.
export function numberTable({ label, note = "", a, shape, dtype, name, kind, cellOf, blank = () => false, moved = () => false, changed = {}, look }) {
  const box = make("figure", { class: "matrix" }, make("figcaption", {}, make("span", { class: "label" }, label), " ",
    make("span", { class: "note" }, note)));
  const columns = shape.at(-1) ?? 1;
  const rows = shape.at(-2) ?? 1;
  const largest = a.data.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0);
  const shown = Math.min(columns, WIDEST);
  const whole = a.data.every((x) => Number.isInteger(x) || !Number.isFinite(x));
  let first = true;
  for (let slice = 0; slice < sizeOf(shape) / (rows * columns); slice++) {
    const front = indexOf(slice * rows * columns, shape).slice(0, -2);
    const named = front.some((_, dim) => shape[dim] > 1) ? cellName(label, [...front, ":", ":"]) : label;
    const table = make("table", { role: "grid", "aria-label": named, "aria-readonly": "true" });
    const head = make("tr", {}, make("td", { class: "corner" }));
    for (let column = 0; column < shown; column++) head.append(make("th", { scope: "col" }, String(column)));
    if (shape.length) table.append(make("thead", {}, head));
    const body = make("tbody");
    for (let row = 0; row < rows; row++) {
      const line = make("tr");
      if (shape.length) line.append(shape.length > 1 ? make("th", { scope: "row" }, String(row)) : make("td", { class: "corner" }));
      for (let column = 0; column < shown; column++) {
        const place = (slice * rows + row) * columns + column;
        line.append(numberCell(place, first));
        first = false;
      }
      body.append(line);
    }
    table.append(body);
    if (named !== label) box.append(make("p", { class: "slice" }, named));
    box.append(table);
    table.addEventListener("keydown", (event) => moveIn(table, event));
  }
  if (shown < columns) box.append(make("p", { class: "slice" }, `and ${columns - shown} more columns`));
  return box;

  function numberCell(place, reachable) {
    const x = a.data[place];
    const index = indexOf(place, shape);
    const hidden = blank(place);
    const text = hidden ? "?" : dtype === "bool" ? (x ? "yes" : "no") : shortText(x, !whole);
    const own = cellName(name, index);
    const cell = make("td", {
      role: "gridcell",
      tabindex: reachable ? 0 : -1,
      class: ["number", hidden ? "blank" : "", place in changed ? "changed" : "", !hidden && moved(place) ? "moved" : "", Number.isFinite(x) ? "" : "infinite"].join(" ").trim(),
      "data-kind": kind, "data-name": name, "data-index": index.join(","), "data-number": hidden ? null : String(x),
      "aria-label": `${kind === "value" ? "" : "gradient of "}${own}: ${hidden ? "to be found" : text}`,
    }, text);
    if (!hidden && a.data.length > 1 && dtype.includes("float")) colour(cell, x, largest);
    const which = cellOf(place);
    cell.dataset.key = keyOf(which);
    cell.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") look.enter(which); });
    cell.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") look.leave(which); });
    cell.addEventListener("focus", () => { makeReachable(cell); look.choose(which); });
    cell.addEventListener("click", () => cell.focus());
    cell.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || (/^[-0-9.]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey)) {
        event.preventDefault();
        look.type(which, event.key === "Enter" ? "" : event.key);
      }
    });
    return cell;
  }
}

export function keyOf(cell) {
  return [cell.kind, cell.value, cell.place, cell.step ?? "", cell.input ?? ""].join(":");
}

// Blue below zero, orange above, the stronger the further from it.
function colour(cell, x, largest) {
  const strength = largest && Number.isFinite(x) ? Math.abs(x) / largest : 0;
  cell.style.setProperty("--strength", `${Math.round(strength * 100)}%`);
  if (strength) cell.classList.add(x < 0 ? "negative" : "positive");
}

function makeReachable(cell) {
  const figure = cell.closest("figure");
  figure.querySelectorAll('td[tabindex="0"]').forEach((other) => other.setAttribute("tabindex", "-1"));
  cell.setAttribute("tabindex", "0");
}

function moveIn(table, event) {
  const cell = event.target;
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (!steps[event.key] || !cell.classList.contains("number")) return;
  const lines = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("td.number")]);
  const row = lines.findIndex((line) => line.includes(cell));
  const [down, right] = steps[event.key];
  const next = lines[row + down]?.[lines[row].indexOf(cell) + right];
  event.preventDefault();
  event.stopPropagation();
  next?.focus();
}
