// The step that is shown: its words, and the tables of what goes in and comes out.

import { byId, fromTemplate, make } from "./dom.js";
import { longText } from "./format.js";
import { markGraph } from "./graph.js";
import { data, equation, heading, isChanged, page, position, step, trace } from "./page.js";
import { hashOf } from "./story.js";
import { keyOf, numberTable } from "./table.js";

export function drawStep() {
  const focused = document.activeElement?.dataset?.key;
  const { phase } = position();
  byId("step-title").textContent = `${phase === "forward" ? "Forward:" : "Backward through"} ${equation(step())}`;
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
  byId("changed").textContent = `was ${longText(page.original.total)}; a bar marks what has moved`;
  byId("total").textContent = `L = ${longText(page.state.total)}`;
  byId("total").dataset.number = String(page.state.total);
  drawWords();
  page.cells = [];
  byId("tables").replaceChildren(...(phase === "forward" ? forwardTables() : backwardTables()));
  markGraph(byId("graph"), trace(), position());
  if (focused) shownCell(focused)?.focus({ preventScroll: true });
}

// The element of the first number of this key in the tables.
export function shownCell(key) {
  return byId("tables").querySelector(`[data-key="${CSS.escape(key)}"]`);
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
// How many steps send a part of the gradient of a value.
export const usesOf = (n) => trace().steps.reduce((uses, one, number) => uses + one.inputs.filter((m, input) => m === n && page.state.sent[number][input]).length, 0);

// Whether a number is another than at first, by more than rounding.
const hasMoved = (now, before) => before !== undefined && !Object.is(now, before) && !(Math.abs(now - before) <= 1e-13 * Math.abs(before));

function tableOf(options, n, a, before, cellOf, asked) {
  const value = trace().values[n];
  a.data.forEach((_, place) => page.cells.push(cellOf(place)));
  return numberTable({
    a, shape: value.shape, name: value.name, dtype: value.dtype, look: page.look, cellOf,
    moved: (place) => hasMoved(a.data[place], before?.data[place]),
    blank: (place) => asked && page.predict && !page.found.has(keyOf(cellOf(place))), ...options,
  });
}

function valueTable(n, asked) {
  const value = trace().values[n];
  const constant = value.kind === "constant";
  const note = constant ? "a number in the code" : value.kind === "result" ? "" : value.wanted ? value.kind === "parameter" ? "a leaf" : "" : "no gradient";
  return tableOf({ label: constant ? "constant" : value.name, note, kind: "value", changed: page.changes.values[n] ?? {} },
    n, page.state.values[n], page.original.values[n], (place) => ({ kind: "value", value: n, place }), asked);
}

function gradientTable(n, note, asked = false) {
  return tableOf({ label: `dL/d${trace().values[n].name}`, note, kind: "gradient", dtype: "float64", changed: page.changes.gradients[n] ?? {} },
    n, page.state.gradients[n], page.original.gradients[n], (place) => ({ kind: "gradient", value: n, place }), asked);
}

function sentTable(n, input) {
  const several = usesOf(n) > 1;
  const at = position().step;
  const note = several ? "the part through this step" : trace().values[n].step < 0 ? "arrives at the leaf" : "";
  return tableOf({ label: `dL/d${trace().values[n].name}`, note, kind: "sent", dtype: "float64", changed: several ? {} : page.changes.gradients[n] ?? {} },
    n, several ? page.state.sent[at][input] : page.state.gradients[n],
    several ? page.original.sent[at][input] : page.original.gradients[n],
    (place) => (several ? { kind: "sent", value: n, place, step: at, input, out: true } : { kind: "gradient", value: n, place, out: true }), true);
}
