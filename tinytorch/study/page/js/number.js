// One number: chosen, taken apart, changed, or found by the reader.

import { explanationBox, numberForm } from "./detail.js";
import { byId, make } from "./dom.js";
import { cellsOf, explained, labelOf, numberAt } from "./explain.js";
import { longText, typedNumber } from "./format.js";
import { judged } from "./mistakes.js";
import { change, page, position, say, step, trace } from "./page.js";
import { drawDialSoon } from "./panels.js";
import { drawStep, shownCell } from "./step.js";
import { keyOf } from "./table.js";

// The number that all of the page looks at.
export function select(cell) {
  const same = page.selected && keyOf(page.selected) === keyOf(cell);
  page.selected = cell;
  page.hovered = null;
  drawDetail();
  if (!same) drawDialSoon();
}

// A number to begin with: what comes out first, of a gradient the largest.
export function selectFirst() {
  const size = (cell) => Math.abs(numberAt(page.state, cell));
  const able = position().phase === "forward"
    ? page.cells.filter((cell) => cell.value === step().outputs[0]).slice(0, 1) : page.cells.filter((cell) => cell.out);
  const first = able.filter((cell) => cell.value === able[0].value && cell.input === able[0].input);
  page.hovered = null;
  page.selected = first.length ? first.reduce((most, cell) => (size(cell) > size(most) ? cell : most)) : page.cells[0];
}

// What a cell of the tables does when it is pointed at, chosen or typed into.
export const look = {
  enter(cell) { page.hovered = cell; drawDetail(); },
  leave(cell) {
    if (page.hovered && keyOf(page.hovered) === keyOf(cell)) page.hovered = null;
    drawDetail();
  },
  choose(cell) { select(cell); },
  type(cell, text) {
    select(cell);
    const field = byId("answer") ?? byId("new-number");
    if (!field) return;
    field.focus();
    if (text) field.value = text;
    else field.select();
  },
};

// Whether a number is for the reader to find.
function isAsked(cell) {
  return Boolean(shownCell(keyOf(cell))?.classList.contains("blank"));
}

export function drawDetail() {
  const cell = page.hovered ?? page.selected;
  if (!cell) return;
  const asked = isAsked(cell);
  const explanation = explained(trace(), page.state, cell);
  light(explanation, cell);
  byId("number-title").textContent = asked ? "A number for you to find" : page.predict ? "A number" : "One number, taken apart";
  byId("explanation").replaceChildren(explanationBox(explanation, !asked));
  const key = `${keyOf(cell)} ${asked} ${page.predict} ${numberAt(page.state, cell)}`;
  if (byId("act").dataset.key === key) return;
  byId("act").dataset.key = key;
  byId("act").replaceChildren(...(asked ? predictForm(cell) : page.readOnly ? [] : changeForm(cell)));
}

// Mark the number, and those that it depends on.
function light(explanation, cell) {
  byId("tables").querySelectorAll(".lit, .selected").forEach((element) => element.classList.remove("lit", "selected"));
  const find = (kind, one) => byId("tables").querySelectorAll(`[data-key^="${kind}:${one.value}:${one.place}:"]`);
  for (const one of cellsOf(explanation)) find(one.kind, one).forEach((element) => element.classList.add("lit"));
  shownCell(keyOf(cell))?.classList.add("selected");
}

function changeForm(cell) {
  const label = `Put another number in place of ${labelOf(trace(), cell)}`;
  if (cell.kind === "sent") return []; // a part of a sum: the sum can be changed
  const value = String(numberAt(page.state, cell));
  return [numberForm({ id: "new-number", label, button: "Change", value, submit: (text) => {
    const typed = typedNumber(text);
    if (!typed) return { kind: "wrong", text: "Type a number, as -0.5 or 1e-3." };
    const refused = change(cell, typed.number);
    if (refused) return { kind: "wrong", text: refused };
    page.redraw();
    shownCell(keyOf(cell))?.focus({ preventScroll: true });
    say(`${labelOf(trace(), cell)} is ${longText(typed.number)} now, and all that depends on it is computed again.`);
    return null;
  } })];
}

function predictForm(cell) {
  const label = `What is ${labelOf(trace(), cell)}? Two digits or more`;
  const form = numberForm({ id: "answer", label, button: "Check", value: "", submit: (text) => {
    const typed = typedNumber(text);
    if (!typed) return { kind: "wrong", text: "Type a number, as -0.5 or 1/3." };
    const said = judged(trace(), page.state, cell, typed);
    if (!said.right) return { kind: "wrong", text: said.text };
    reveal(cell, "Right.");
    return null;
  } });
  const show = make("button", { type: "button", id: "show", onclick: () => reveal(cell, "") }, "Show it");
  return [form, show];
}

function reveal(cell, said) {
  page.found.add(keyOf(cell));
  drawStep();
  drawDetail();
  if (said) byId("act").prepend(make("p", { class: "answer right", role: "status", id: "answer-right" }, said));
  shownCell(keyOf(cell))?.focus({ preventScroll: true });
  say(`${said} ${labelOf(trace(), cell)} is ${longText(numberAt(page.state, cell))}.`);
}
