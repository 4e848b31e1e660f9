// What the page knows: the traces, where in the walk it is, and what was changed, chosen and found.

import { decoded } from "./data.js";
import { byId } from "./dom.js";
import { copyChanges, deviation, evaluate, noChanges, recorded, unknownTo } from "./evaluator.js";
import { shortText } from "./format.js";
import { hashOf, positionNamed, positionsOf } from "./story.js";

export const data = decoded(JSON.parse(byId("data").textContent));

export const page = {
  variant: 0, positions: null, at: 0, // which trace, its walk, and where in that
  changes: noChanges(), state: null, original: null, readOnly: false, // the numbers, and as they were at first
  cells: [], selected: null, hovered: null, // those that are shown
  predict: false, found: new Set(),
  redraw: null, look: null, // set by main.js: draw all again; what a cell does
};

export const trace = () => data.variants[page.variant].trace;
export const position = () => page.positions[page.at];
export const step = () => trace().steps[position().step];

// Another of the traces, where it makes the value that was made here; else at the step of the same number.
export function take(number) {
  const before = page.positions
    ? { hash: hashOf(position()), phase: position().phase, made: trace().values[step().outputs[0]].name } : { hash: "" };
  page.variant = number;
  page.positions = positionsOf(trace());
  const makes = (place) => trace().steps[place.step].outputs.some((n) => trace().values[n].name === before.made);
  const same = page.positions.findIndex((place) => place.phase === before.phase && makes(place));
  page.at = Math.max(0, same >= 0 ? same : positionNamed(before.hash, page.positions));
  page.changes = noChanges();
  page.selected = page.hovered = null;
  page.found.clear();
  page.readOnly = false;
  const reason = whyReadOnly();
  page.readOnly = Boolean(reason);
  compute();
  page.original = page.state;
  return reason;
}

// The page computes by itself only where it knows all operations, and where what it computes is what the engine did.
function whyReadOnly() {
  const unknown = unknownTo(trace());
  if (unknown.length) return `This page does not know ${unknown.join(", ")}`;
  try {
    page.off = deviation(trace(), evaluate(trace()));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return `This page does not know all of it (${error.message})`;
  }
  const exact = trace().values.every((value) => !/^(float32|float16|bfloat16)$/.test(value.dtype));
  return page.off < (exact ? 1e-9 : 5e-2) ? "" : `What this page computes is ${shortText(page.off)} off what the engine did`;
}

function compute() {
  page.state = page.readOnly ? recorded(trace()) : evaluate(trace(), page.changes);
}

export function isChanged() {
  return [page.changes.values, page.changes.gradients].some((kind) => Object.values(kind).some((places) => Object.keys(places).length));
}

// All numbers as they were.
export function restore() {
  page.changes = noChanges();
  page.found.clear();
  compute();
}

// Put a number in place of one; what is returned says why it cannot be, or is null.
export function change(cell, number) {
  const value = trace().values[cell.value];
  const kind = cell.kind === "value" ? "values" : "gradients";
  const whole = value.dtype === "bool" || value.dtype.includes("int");
  if (kind === "values" && whole && !Number.isInteger(number)) return `${value.name} holds whole numbers.`;
  const before = page.changes;
  page.changes = copyChanges(before);
  (page.changes[kind][cell.value] ??= {})[cell.place] = number;
  try {
    compute();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    page.changes = before;
    compute();
    return `That cannot be: ${error.message}.`;
  }
  page.found.clear();
  return null;
}

export function heading() {
  const { phase, step: number } = position();
  return `Step ${number + 1} of ${trace().steps.length}, ${phase}: ${equation(step())}`;
}

export function equation(one) {
  const names = (numbers) => numbers.filter((n) => n !== null).map((n) => trace().values[n].name).join(", ");
  return `${names(one.outputs)} = ${one.title}(${names(one.inputs)})`;
}

// For who hears the page.
export function say(text) {
  byId("announcement").textContent = text;
}
