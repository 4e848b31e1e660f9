// The page: what is shown, and what happens when something is pressed.

import { decoded } from "./data.js";
import { drawDepths, scaleCell } from "./depths.js";
import { explanationBox, numberForm } from "./detail.js";
import { drawDial } from "./dial.js";
import { byId, fromTemplate, make } from "./dom.js";
import { copyChanges, deviation, evaluate, noChanges, recorded, unknownTo } from "./evaluator.js";
import { cellsOf, explained, labelOf, numberAt } from "./explain.js";
import { longText, shortText, typedNumber } from "./format.js";
import { drawGraph, markGraph } from "./graph.js";
import { judged } from "./mistakes.js";
import { drawMeters } from "./meters.js";
import { hashOf, positionNamed, positionsOf, turned } from "./story.js";
import { keyOf, numberTable } from "./table.js";

const data = decoded(JSON.parse(byId("data").textContent));
const page = { variant: 0, changes: noChanges(), at: 0, selected: null, hovered: null, predict: false, found: new Set() };

const trace = () => data.variants[page.variant].trace;
const position = () => page.positions[page.at];
const step = () => trace().steps[position().step];

// ---------------------------------------------------------------------- what is computed

function openVariant(number) {
  const before = page.positions ? position() : null;
  page.variant = number;
  page.positions = positionsOf(trace());
  page.changes = noChanges();
  page.selected = page.hovered = null;
  page.found.clear();
  page.at = Math.max(0, before ? positionNamed(hashOf(before), page.positions) : 0);
  checkAgainstEngine();
  drawGraph(byId("graph"), number, trace(), goToValue);
  selectFirst();
}

// The page computes by itself only where it knows all operations, and where what it computes is what the engine did.
function checkAgainstEngine() {
  const unknown = unknownTo(trace());
  let reason = unknown.length ? `This page does not know ${unknown.join(", ")}` : "";
  if (!reason) {
    try {
      const off = deviation(trace(), evaluate(trace()));
      const exact = trace().values.every((value) => !/^(float32|float16|bfloat16)$/.test(value.dtype));
      page.off = off;
      if (!(off < (exact ? 1e-9 : 5e-2))) reason = `What this page computes is ${shortText(off)} off what the engine did`;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      reason = `This page does not know all of it (${error.message})`;
    }
  }
  page.readOnly = Boolean(reason);
  byId("read-only").hidden = !reason;
  byId("read-only").textContent = reason && `${reason}: the numbers are shown as they were recorded, and cannot be changed.`;
  document.body.dataset.deviation = reason ? "" : String(page.off);
  for (const id of ["reset", "dial", "meters"]) if (byId(id)) byId(id).hidden = page.readOnly;
  compute();
}

function compute() {
  page.state = page.readOnly ? recorded(trace()) : evaluate(trace(), page.changes);
}

function isChanged() {
  return [page.changes.values, page.changes.gradients].some((kind) => Object.values(kind).some((places) => Object.keys(places).length));
}

// Put a number in place of one; text says why it cannot be, or is null.
function change(cell, number) {
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
  draw();
  return null;
}

function reset() {
  page.changes = noChanges();
  page.found.clear();
  compute();
  draw();
  say("All numbers are as they were.");
}

// ---------------------------------------------------------------------- where we are

function go(at) {
  page.at = Math.min(Math.max(at, 0), page.positions.length - 1);
  selectFirst();
  const hash = hashOf(position());
  if (location.hash !== hash) history.replaceState(null, "", hash);
  say(heading());
}

function goToValue(n) {
  const made = trace().values[n].step;
  const first = made >= 0 ? made : trace().steps.findIndex((one) => one.inputs.includes(n));
  const there = page.positions.findIndex((p) => p.step === first && p.phase === position().phase);
  go(there >= 0 ? there : first);
  const cell = page.cells.find((one) => one.value === n);
  if (cell) select(cell, false);
}

function turn(phase) {
  go(turned(position(), phase, page.positions));
}

function heading() {
  const { phase, step: number } = position();
  return `Step ${number + 1} of ${trace().steps.length}, ${phase}: ${equation(step())}`;
}

function equation(one) {
  const names = (numbers) => numbers.filter((n) => n !== null).map((n) => trace().values[n].name).join(", ");
  return `${names(one.outputs)} = ${one.title}(${names(one.inputs)})`;
}

function say(text) {
  byId("announcement").textContent = text;
}

// ---------------------------------------------------------------------- the step

function selectFirst() {
  page.selected = page.hovered = null;
  drawStep();
  const size = (cell) => Math.abs(numberAt(page.state, cell));
  const able = position().phase === "forward"
    ? page.cells.filter((cell) => cell.value === step().outputs[0]).slice(0, 1) : page.cells.filter((cell) => cell.out);
  const first = able.filter((cell) => cell.value === able[0].value && cell.input === able[0].input);
  page.selected = first.length ? first.reduce((most, cell) => (size(cell) > size(most) ? cell : most)) : page.cells[0];
  drawRest();
}

function draw() {
  drawStep();
  drawRest();
}

function drawRest() {
  drawDetail();
  drawPanels();
}

function drawStep() {
  const focused = document.activeElement?.dataset?.key;
  const { phase } = position();
  byId("step-title").textContent = `${phase === "forward" ? "Forward" : "Backward through"} ${equation(step())}`;
  byId("step-count").href = hashOf(position());
  byId("step-count").textContent = `Step ${position().step + 1} of ${trace().steps.length}, ${phase}`;
  byId("place").max = page.positions.length - 1;
  byId("place").value = page.at;
  byId("place").setAttribute("aria-valuetext", heading());
  byId("forward").setAttribute("aria-pressed", phase === "forward");
  byId("backward").setAttribute("aria-pressed", phase === "backward");
  byId("previous").disabled = page.at === 0;
  byId("next").disabled = page.at === page.positions.length - 1;
  byId("changed").hidden = !isChanged();
  byId("total").textContent = `L = ${longText(page.state.total)}`;
  byId("total").dataset.number = String(page.state.total);
  drawWords();
  page.cells = [];
  byId("tables").replaceChildren(...(phase === "forward" ? forwardTables() : backwardTables()));
  markGraph(byId("graph"), trace(), position());
  if (focused) byId("tables").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function drawWords() {
  const { phase } = position();
  const words = data.operations[step().class] ?? { formula: "", derivation: "" };
  const math = fromTemplate(`formula-${step().operation}-${phase}`);
  byId("formula").replaceChildren(math ?? make("p", { class: "plain" }, words.formula));
  byId("legend").textContent = math ? lettersOf(step()) : "";
  const says = phase === "forward" ? words.formula : words.derivation;
  byId("derivation").textContent = says;
  byId("derivation-box").hidden = !says;
  byId("derivation-title").textContent = phase === "forward" ? "What it computes, as the code says it" : "The derivation, as it stands above the code";
  const { line } = step();
  byId("line").textContent = line && line.source ? `${line.file}, line ${line.number}: ${line.source}` : "";
}

// What the letters of a formula stand for here.
const LETTERS = {
  Pow: ["a", "n"], Where: ["c", "a", "b"], Gather: ["x", "c"], Embedding: ["w", "t"], Linear: ["x", "w", "b"],
  LayerNorm: ["x", "w", "b"], RMSNorm: ["x", "w"], CrossEntropy: ["x", "t"], Attention: ["q", "k", "v"],
};

function lettersOf(one) {
  const letters = LETTERS[one.operation] ?? (one.inputs.length === 2 ? ["a", "b"] : ["x"]);
  const said = one.inputs.flatMap((n, input) => (n === null || !letters[input] ? [] : [[letters[input], trace().values[n].name]]));
  const output = trace().values[one.outputs[0]].name;
  if (one.operation !== "CrossEntropy") said.push(["y", output]);
  const words = said.filter(([letter, name]) => letter !== name).map(([letter, name]) => `${letter} is ${name}`);
  if (position().phase === "backward") words.push(`g is dL/d${output}, which comes in`);
  return words.length ? `Here ${words.join(", ")}.` : "";
}

function group(title, tables) {
  return tables.length ? [make("section", { class: "group" }, make("h3", {}, title), make("div", { class: "matrices" }, ...tables))] : [];
}

function forwardTables() {
  const inputs = unique(step().inputs).map((n) => valueTable(n, false));
  const outputs = step().outputs.map((n) => valueTable(n, true));
  return [...group("Goes in", inputs), ...group("Comes out", outputs)];
}

function backwardTables() {
  const state = page.state;
  const incoming = step().outputs.filter((n) => state.gradients[n]).map((n) => gradientTable(n, "what has arrived"));
  const sent = step().inputs.flatMap((n, input) => (n !== null && state.sent[position().step][input] ? [sentTable(n, input)] : []));
  const kept = unique([...step().inputs, ...step().outputs]).map((n) => valueTable(n, false));
  const several = unique(step().inputs.filter((n) => n !== null && state.gradients[n] && usesOf(n) > 1));
  const totals = several.map((n) => gradientTable(n, `the sum of ${usesOf(n)} parts`, true));
  return [...group("Comes in", incoming), ...group("Goes out", sent), ...group("In all, where several steps send a part", totals), ...group("The values that it takes", kept)];
}

const unique = (numbers) => [...new Set(numbers.filter((n) => n !== null))];
const usesOf = (n) => trace().steps.reduce((uses, one, number) => uses + one.inputs.filter((m, input) => m === n && page.state.sent[number][input]).length, 0);

const look = {
  enter(cell) { page.hovered = cell; drawDetail(); },
  leave(cell) {
    if (page.hovered && keyOf(page.hovered) === keyOf(cell)) page.hovered = null;
    drawDetail();
  },
  choose(cell) { select(cell, false); },
  type(cell, text) {
    select(cell, false);
    const field = byId("answer") ?? byId("new-number");
    if (!field) return;
    field.focus();
    if (text) field.value = text;
    else field.select();
  },
};

function select(cell, focus) {
  const same = page.selected && keyOf(page.selected) === keyOf(cell);
  page.selected = cell;
  page.hovered = null;
  drawDetail();
  if (!same) drawDialSoon();
  if (focus) byId("tables").querySelector(`[data-key="${CSS.escape(keyOf(cell))}"]`)?.focus();
}

function tableOf(options, n, a, cellOf, asked) {
  const value = trace().values[n];
  a.data.forEach((_, place) => page.cells.push(cellOf(place)));
  return numberTable({
    a, shape: value.shape, name: value.name, dtype: value.dtype, look, cellOf,
    blank: (place) => asked && page.predict && !page.found.has(keyOf(cellOf(place))), ...options,
  });
}

function valueTable(n, asked) {
  const value = trace().values[n];
  const constant = value.kind === "constant";
  const note = constant ? "a number in the code" : value.kind === "result" ? "" : value.wanted ? value.kind === "parameter" ? "a leaf" : "" : "no gradient";
  return tableOf({ label: constant ? "constant" : value.name, note, kind: "value", changed: page.changes.values[n] ?? {} },
    n, page.state.values[n], (place) => ({ kind: "value", value: n, place }), asked);
}

function gradientTable(n, note, asked = false) {
  return tableOf({ label: `dL/d${trace().values[n].name}`, note, kind: "gradient", dtype: "float64", changed: page.changes.gradients[n] ?? {} },
    n, page.state.gradients[n], (place) => ({ kind: "gradient", value: n, place }), asked);
}

function sentTable(n, input) {
  const several = usesOf(n) > 1;
  const at = position().step;
  const note = several ? "the part through this step" : trace().values[n].step < 0 ? "arrives at the leaf" : "";
  return tableOf({ label: `dL/d${trace().values[n].name}`, note, kind: "sent", dtype: "float64", changed: several ? {} : page.changes.gradients[n] ?? {} },
    n, several ? page.state.sent[at][input] : page.state.gradients[n],
    (place) => (several ? { kind: "sent", value: n, place, step: at, input, out: true } : { kind: "gradient", value: n, place, out: true }), true);
}

// ---------------------------------------------------------------------- one number

function isAsked(cell) {
  const table = byId("tables").querySelector(`[data-key="${CSS.escape(keyOf(cell))}"]`);
  return Boolean(table?.classList.contains("blank"));
}

function drawDetail() {
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
  byId("tables").querySelector(`[data-key="${CSS.escape(keyOf(cell))}"]`)?.classList.add("selected");
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
    byId("tables").querySelector(`[data-key="${CSS.escape(keyOf(cell))}"]`)?.focus({ preventScroll: true });
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
  byId("tables").querySelector(`[data-key="${CSS.escape(keyOf(cell))}"]`)?.focus({ preventScroll: true });
  say(`${said} ${labelOf(trace(), cell)} is ${longText(numberAt(page.state, cell))}.`);
}

// ---------------------------------------------------------------------- the panels below

function drawPanels() {
  if (byId("depths")) drawDepths(trace(), page.state, Number(byId("width").value), Number(byId("block").value));
  if (byId("meters") && !page.readOnly) drawMeters(trace(), page.state);
  drawDialSoon();
}

let waiting = 0;

function drawDialSoon() {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => {
    if (page.readOnly || !byId("dial").open) return;
    const target = dialCell();
    const asked = page.selected && isAsked(page.selected); // its gradient is for the reader to find
    byId("dial-numbers").hidden = byId("dial-plot").hidden = asked;
    if (target && !asked) drawDial(trace(), page.changes, target);
  });
}

// The number that is nudged: the one that is selected, or else the first that has a gradient.
function dialCell() {
  const able = (cell) => cell && page.state.gradients[cell.value] && Number.isFinite(page.state.values[cell.value].data[cell.place]);
  if (able(page.selected)) return { kind: "value", value: page.selected.value, place: page.selected.place };
  const n = trace().values.findIndex((_, number) => page.state.gradients[number]);
  return n < 0 ? null : { kind: "value", value: n, place: 0 };
}

// ---------------------------------------------------------------------- what is pressed

function choices() {
  const names = Object.keys(data.variants[0].options);
  for (const name of names) {
    const all = [...new Set(data.variants.map((variant) => variant.options[name]))];
    if (all.length < 2) continue;
    byId("choices").append(typeof all[0] === "boolean" ? switchOf(name) : sliderOf(name, all.sort((a, b) => a - b)));
  }
}

function openWith(name, choice) {
  const wanted = { ...data.variants[page.variant].options, [name]: choice };
  const number = data.variants.findIndex((variant) => Object.entries(wanted).every(([key, x]) => variant.options[key] === x));
  if (number >= 0) openVariant(number);
}

function switchOf(name) {
  const box = make("input", { type: "checkbox", id: `choice-${name}` });
  box.checked = data.variants[page.variant].options[name];
  box.addEventListener("change", () => openWith(name, box.checked));
  return make("label", { class: "choice", for: `choice-${name}` }, box, ` ${data.choices[name]}`);
}

function sliderOf(name, all) {
  const shown = make("output", { for: `choice-${name}` }, String(data.variants[page.variant].options[name]));
  const slider = make("input", { type: "range", id: `choice-${name}`, min: 0, max: all.length - 1, step: 1 });
  slider.value = all.indexOf(data.variants[page.variant].options[name]);
  const valued = () => slider.setAttribute("aria-valuetext", `${name} = ${all[slider.value]}`);
  valued();
  slider.addEventListener("input", () => {
    shown.textContent = String(all[slider.value]);
    valued();
    openWith(name, all[slider.value]);
  });
  return make("label", { class: "choice", for: `choice-${name}` }, `${data.choices[name]} `, slider, " ", shown);
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, summary")) return;
  if (event.key === " " && event.target.closest("button, a")) return;
  const actions = {
    ArrowRight: () => go(page.at + 1), ArrowLeft: () => go(page.at - 1), " ": () => go(page.at + 1),
    Home: () => go(0), End: () => go(page.positions.length - 1), f: () => turn("forward"), b: () => turn("backward"),
    p: () => byId("predict").click(),
  };
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  if (event.target.closest("#tables")) byId("step-title").focus({ preventScroll: true });
  action();
}

function listen() {
  byId("next").addEventListener("click", () => go(page.at + 1));
  byId("previous").addEventListener("click", () => go(page.at - 1));
  byId("forward").addEventListener("click", () => turn("forward"));
  byId("backward").addEventListener("click", () => turn("backward"));
  byId("place").addEventListener("input", () => go(Number(byId("place").value)));
  byId("reset").addEventListener("click", reset);
  byId("predict").addEventListener("change", () => {
    page.predict = byId("predict").checked;
    page.found.clear();
    draw();
  });
  byId("dial").addEventListener("toggle", drawDialSoon);
  byId("dial-h").addEventListener("input", drawDialSoon);
  byId("width")?.addEventListener("input", drawPanels);
  byId("block")?.addEventListener("input", drawPanels);
  byId("scale")?.addEventListener("input", () => {
    change({ kind: "value", value: scaleCell(trace()), place: 0 }, Number((10 ** Number(byId("scale").value)).toPrecision(4)));
  });
  document.addEventListener("keydown", pressed);
  window.addEventListener("hashchange", () => {
    const at = positionNamed(location.hash, page.positions);
    if (at >= 0) go(at);
  });
}

function begin() {
  const attention = data.variants.some((variant) => variant.trace.attention);
  if (!attention) byId("depths-box").remove();
  if (data.variants.every((variant) => scaleCell(variant.trace) === null)) byId("meters").remove();
  openVariant(data.first);
  choices();
  listen();
  const at = positionNamed(location.hash, page.positions);
  if (at >= 0) go(at);
  document.body.dataset.ready = "true";
}

begin();
