// One number taken apart, as t.why() does: a gradient into the products that it is the sum of, a value into what it was
// made of. The derivatives come from the operations' own backward, run with a gradient that is 1 at one place.

import { copyOf, filled, indexOf, map } from "./arrays.js";
import { operationOf, outputsOf, sentBy } from "./evaluator.js";
import { cellName, longText } from "./format.js";

// Linear in each of two inputs: the derivative by one of them is a number of the other.
const BILINEAR = new Set(["Mul", "Matmul"]);
const LINEAR = new Set(["Add", "Sub", "Neg", "Sum", "Mean", "Where", "Reshape", "View", "Alias", "Clone", "To", "Transpose",
  "Permute", "Picked", "Expand", "SumToSize", "Split", "Cat", "Gather", "Embedding"]);
// What is nearly never 0, but may be: they are taken for ones where it is asked on what a number depends.
const ONES = new Set(["Mul", "Matmul", "Linear"]);
const MOST = 4096;
const FEW = 64; // numbers, for each of which backward is run to see whether it depends on another

export function labelOf(trace, cell) {
  const value = trace.values[cell.value];
  const own = cellName(value.name, indexOf(cell.place, value.shape));
  return cell.kind === "value" ? own : `dL/d${own}`;
}

export function numberAt(state, cell) {
  if (cell.kind === "value") return state.values[cell.value].data[cell.place];
  if (cell.kind === "gradient") return state.gradients[cell.value]?.data[cell.place] ?? 0;
  return state.sent[cell.step][cell.input]?.data[cell.place] ?? 0;
}

// What an operation sends back for a 1 at one place of one output.
function oneHot(trace, step, output, place, values) {
  const grads = step.outputs.map((n, k) => (k === output ? filled(values[n].shape, 0) : null));
  grads[output].data[place] = 1;
  const wanted = { ...trace, values: trace.values.map((value) => ({ ...value, wanted: isReal(value) })) };
  return sentBy(wanted, step, grads, values);
}

const isReal = (value) => value.dtype.startsWith("float") || value.dtype.startsWith("bfloat");

function withoutZeros(step, values) {
  if (!ONES.has(step.operation)) return values;
  const moved = [...values];
  for (const n of step.inputs) if (n !== null) moved[n] = map(values[n], (x) => (x === 0 ? 1 : x));
  return moved;
}

// For a product: the number of the other factor that each derivative is. Each number is replaced by its place.
function labelled(step, values) {
  const moved = [...values];
  for (const n of new Set(step.inputs)) {
    const places = copyOf(values[n]);
    places.data.forEach((_, place) => { places.data[place] = place + 1; });
    moved[n] = places;
  }
  return moved;
}

// The elements of the inputs that one element of an output depends on, with the derivatives.
export function rowOf(trace, step, output, place, values) {
  const shape = oneHot(trace, step, output, place, withoutZeros(step, values));
  const slopes = oneHot(trace, step, output, place, values);
  const other = BILINEAR.has(step.operation) && step.inputs[0] !== step.inputs[1]
    ? oneHot(trace, step, output, place, labelled(step, values)) : null;
  const found = [];
  shape.forEach((row, input) => {
    row?.data.forEach((s, at) => {
      if (s === 0) return;
      const entry = { input, value: step.inputs[input], place: at, slope: slopes[input].data[at] };
      if (other) entry.factor = { kind: "value", value: step.inputs[1 - input], place: other[input].data[at] - 1 };
      found.push(entry);
    });
  });
  return found;
}

// For each number of an output, whether it is another when one number of an input is: cheaper than running backward.
function changing(step, output, input, place, values) {
  const inputs = step.inputs.map((n) => (n === null ? null : values[n]));
  const before = outputsOf(step, inputs)[output].data;
  const found = before.map(() => 0);
  for (const by of [1, -1]) {
    const moved = copyOf(inputs[input]);
    moved.data[place] += by;
    outputsOf(step, inputs.map((a, k) => (k === input ? moved : a)))[output].data.forEach((x, at) => {
      if (!Object.is(x, before[at])) found[at] = 1;
    });
  }
  return found;
}

// The elements of the outputs that depend on one element of an input, with the derivatives.
export function columnOf(trace, step, input, place, values) {
  const found = [];
  step.outputs.forEach((n, output) => {
    const size = values[n].data.length;
    if (size > MOST) throw new RangeError(`${step.title} makes ${size} numbers`);
    const structure = withoutZeros(step, values);
    const able = size > FEW ? changing(step, output, input, place, structure) : null;
    const bilinear = BILINEAR.has(step.operation) && step.inputs[0] !== step.inputs[1];
    const labels = bilinear ? labelled(step, values) : null;
    for (let at = 0; at < size; at++) {
      if (able && !able[at]) continue;
      const slope = (numbers) => oneHot(trace, step, output, at, numbers)[input]?.data[place] ?? 0;
      if (slope(structure) === 0) continue;
      const entry = { output, value: n, place: at, slope: slope(values) };
      if (labels) entry.factor = { kind: "value", value: step.inputs[1 - input], place: slope(labels) - 1 };
      found.push(entry);
    }
  });
  return found;
}

// {cell, number, sections: [{step, terms, isSum, total, also}], note}; a term is {cells, factors, names, product}.
export function explained(trace, state, cell) {
  const found = { cell, label: labelOf(trace, cell), number: numberAt(state, cell), sections: [], note: "", isSum: true };
  const value = trace.values[cell.value];
  if (cell.kind === "value") return explainedValue(trace, state, cell, found);
  if (!state.gradients[cell.value]) {
    return { ...found, note: value.wanted ? "No step that leads to L uses it: no term." : "It does not require a gradient: no term." };
  }
  if (cell.kind === "sent") {
    found.sections.push(through(trace, state, cell, trace.steps[cell.step], cell.input));
    return found;
  }
  if (trace.roots.some((root) => root.value === cell.value)) found.note = "It was given: here the backward pass begins.";
  trace.steps.forEach((step, number) => {
    step.inputs.forEach((n, input) => {
      if (n === cell.value && state.sent[number][input]) found.sections.push(through(trace, state, cell, step, input));
    });
  });
  if (state.changes?.gradients[cell.value]?.[cell.place] !== undefined) {
    const sum = found.sections.reduce((total, section) => total + section.total, 0);
    return { ...found, sections: [], note: `You have changed it: what was sent adds up to ${longText(sum)}.` };
  }
  return found;
}

function through(trace, state, cell, step, input) {
  const own = cellName(trace.values[cell.value].name, indexOf(cell.place, trace.values[cell.value].shape));
  const section = { step, terms: [], isSum: true, total: 0, also: "" };
  if (!operationOf(step)) return { ...section, isSum: false, also: `This page does not know ${step.title}.` };
  for (const entry of columnOf(trace, step, input, cell.place, state.values)) {
    const incoming = { kind: "gradient", value: entry.value, place: entry.place };
    const g = numberAt(state, incoming);
    const output = labelOf(trace, { ...incoming, kind: "value" });
    const direct = entry.slope === 1 && LINEAR.has(step.operation);
    const term = { cells: [incoming], names: [`dL/d${output}`], factors: [g], product: g * entry.slope };
    if (entry.factor) {
      term.cells.push(entry.factor);
      term.names.push(labelOf(trace, entry.factor));
      term.factors.push(entry.slope);
    } else if (!direct) {
      term.names.push(LINEAR.has(step.operation) ? "" : `d${output}/d${own}`);
      term.factors.push(entry.slope);
    }
    section.terms.push(term);
  }
  section.total = section.terms.reduce((total, term) => total + term.product, 0);
  if (!section.terms.length) section.also = noTerm(trace, state, cell, step, own);
  else if (step.operation === "Softmax") section.factored = softmaxFactored(trace, state, cell, step);
  return section;
}

// p (g - sum p g), with the numbers.
function softmaxFactored(trace, state, cell, step) {
  const output = step.outputs[0];
  const terms = rowOf(trace, step, 0, cell.place, state.values);
  const p = state.values[output].data;
  const g = state.gradients[output].data;
  const inner = terms.reduce((total, { place }) => total + p[place] * g[place], 0);
  const cells = terms.flatMap(({ place }) => [{ kind: "value", value: output, place }, { kind: "gradient", value: output, place }]);
  return { cells, name: trace.values[output].name, p: p[cell.place], g: g[cell.place], inner, total: p[cell.place] * (g[cell.place] - inner) };
}

function noTerm(trace, state, cell, step, own) {
  if (step.operation === "Where") {
    const condition = trace.values[step.inputs[0]].name;
    return `No term: ${condition} decides that the other number is taken here, whatever ${own} is. Its gradient is exactly 0.`;
  }
  if (step.operation === "Softmax" && state.values[step.outputs[0]].data[cell.place] === 0) {
    return `No term: ${labelOf(trace, { kind: "value", value: step.outputs[0], place: cell.place })} is exactly 0, and with it each derivative of this row by ${own}.`;
  }
  if (step.operation === "Softmax" && state.values[step.outputs[0]].data[cell.place] === 1) {
    return `No term: ${labelOf(trace, { kind: "value", value: step.outputs[0], place: cell.place })} has all the weight of its row, p (1 − p) is exactly 0, and with it each derivative.`;
  }
  return `No term: nothing that ${step.title} makes changes with ${own}. Its gradient is exactly 0.`;
}

function explainedValue(trace, state, cell, found) {
  const value = trace.values[cell.value];
  found.isSum = false;
  if (value.step < 0) {
    found.note = value.kind === "constant" ? "A number in the code." : value.wanted ? "An input, whose gradient is wanted." : "An input.";
    return found;
  }
  const step = trace.steps[value.step];
  if (!operationOf(step)) return { ...found, note: `This page does not know ${step.title}.` };
  const section = { step, terms: [], isSum: true, total: 0, also: "" };
  found.sections.push(section);
  const inputs = step.inputs.map((n) => (n === null ? null : state.values[n]));
  if (!isReal(value)) {
    return { ...found, note: "It is computed without a gradient." };
  }
  const computed = outputsOf(step, inputs)[step.outputs.indexOf(cell.value)].data[cell.place];
  const entries = rowOf(trace, step, step.outputs.indexOf(cell.value), cell.place, state.values);
  const seen = new Set();
  for (const entry of entries) {
    const source = { kind: "value", value: entry.value, place: entry.place };
    if (entry.factor && entry.input !== 0) continue; // each product once
    const key = `${entry.value}-${entry.place}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const term = { cells: [source], names: [labelOf(trace, source)], factors: [numberAt(state, source)] };
    if (entry.factor) {
      term.cells.push(entry.factor);
      term.names.push(labelOf(trace, entry.factor));
      term.factors.push(numberAt(state, entry.factor));
    } else if (LINEAR.has(step.operation) && entry.slope !== 1) {
      term.names.push("");
      term.factors.push(entry.slope);
    }
    term.product = term.factors.reduce((product, x) => product * x, 1);
    section.terms.push(term);
  }
  section.isSum = BILINEAR.has(step.operation) && step.inputs[0] !== step.inputs[1] || LINEAR.has(step.operation);
  section.total = section.terms.reduce((total, term) => total + term.product, 0);
  if (!section.isSum) section.spelled = spelled(step, entries, state, cell);
  found.isSum = section.isSum;
  if (!Object.is(computed, found.number)) found.note = `You have changed it: ${step.title} gives another number.`;
  return found;
}

// The operations that are no sum, as arithmetic: f(numbers of the inputs) gives text.
const SPELLED = {
  Div: (a, b) => `${a} / ${b}`,
  Pow: (a, b) => `${a} ^ ${b}`,
  Mul: (a) => `${a} × ${a}`,
  Exp: (x) => `e ^ ${x}`,
  Log: (x) => `ln ${x}`,
  Sqrt: (x) => `√ ${x}`,
  Rsqrt: (x) => `1 / √ ${x}`,
  Erf: (x) => `erf ${x}`,
  Tanh: (x) => `tanh ${x}`,
  Sigmoid: (x) => `1 / (1 + e ^ −${x})`,
  Relu: (x) => `max(${x}, 0)`,
};

function spelled(step, entries, state, cell) {
  const at = (input) => entries.filter((entry) => entry.input === input).map((entry) => state.values[entry.value].data[entry.place]);
  if (step.operation === "Softmax") {
    const own = state.values[step.inputs[0]].data[cell.place];
    return { text: (n) => `e ^ ${n(own)} / (${at(0).map((x) => `e ^ ${n(x)}`).join(" + ")})` };
  }
  const text = SPELLED[step.operation];
  if (!text) return null;
  const numbers = step.inputs.map((n, input) => at(input)[0] ?? state.values[n]?.data[0]);
  return { text: (n) => text(...numbers.map((x) => n(x))) };
}

// All cells that an explanation points at.
export function cellsOf(explanation) {
  return explanation.sections.flatMap((section) => [...section.terms.flatMap((term) => term.cells), ...(section.factored?.cells ?? [])]);
}
