// A trace computed again, forward and backward, in float64, with some of its numbers changed.
//
// A trace is {values, steps, walk, roots}: see export.py. Changes are {values, gradients}, each by the number of a value
// and the place of an element: what stands there counts from then on, in place of what was computed.

import { add, array, copyOf, filled, sumTo } from "./arrays.js";
import { FUSED } from "./fused.js";
import { OPERATIONS } from "./operations.js";

const KNOWN = { ...OPERATIONS, ...FUSED };

// The operation of a step; null where this page does not know it.
export function operationOf(step) {
  return KNOWN[step.operation] ?? null;
}

export function noChanges() {
  return { values: {}, gradients: {} };
}

export function copyChanges(changes) {
  return { values: structuredClone(changes.values), gradients: structuredClone(changes.gradients) };
}

function changed(a, changes) {
  if (!changes) return a;
  const result = copyOf(a);
  for (const [place, number] of Object.entries(changes)) result.data[place] = number;
  return result;
}

// The numbers as the engine recorded them.
export function recorded(trace) {
  const gradients = trace.values.map((value) => (value.gradient ? array(value.shape, value.gradient) : null));
  const sent = trace.steps.map((step) => step.sent.map((data, n) => (data ? array(trace.values[step.inputs[n]].shape, data) : null)));
  return { values: trace.values.map((value) => array(value.shape, value.data)), gradients, sent, total: totalOf(trace, null) };
}

// The values of a trace.
export function forward(trace, changes = noChanges()) {
  const values = trace.values.map((value, n) => (value.step < 0 ? changed(array(value.shape, value.data), changes.values[n]) : null));
  for (const step of trace.steps) {
    const outputs = outputsOf(step, step.inputs.map((n) => (n === null ? null : values[n])));
    step.outputs.forEach((n, k) => { values[n] = changed(outputs[k], changes.values[n]); });
  }
  return values;
}

export function outputsOf(step, inputs) {
  const operation = operationOf(step);
  if (!operation) throw new RangeError(step.title);
  return operation.forward(inputs, step.settings);
}

// What a step sends to each of its inputs, in their shapes, when gradients come to its outputs.
export function sentBy(trace, step, grads, values) {
  const inputs = step.inputs.map((n) => (n === null ? null : values[n]));
  const outputs = step.outputs.map((n) => values[n]);
  const complete = grads.map((g, k) => g ?? filled(outputs[k].shape, 0));
  const results = operationOf(step).backward(complete, inputs, outputs, step.settings);
  return step.inputs.map((n, place) => (
    n === null || !results[place] || !trace.values[n].wanted ? null : sumTo(results[place], inputs[place].shape)));
}

// The gradients of a trace, and what each step sent, in the order in which the engine walked.
export function backward(trace, values, changes = noChanges()) {
  const gradients = trace.values.map(() => null);
  const sent = trace.steps.map(() => []);
  for (const { value, gradient } of trace.roots) gradients[value] = array(trace.values[value].shape, gradient);
  const settled = new Set();
  const settle = (n) => {
    if (gradients[n] && !settled.has(n)) gradients[n] = changed(gradients[n], changes.gradients[n]);
    settled.add(n);
  };
  for (const number of trace.walk) {
    const step = trace.steps[number];
    step.outputs.forEach(settle);
    const grads = step.outputs.map((n) => gradients[n]);
    sent[number] = sentBy(trace, step, grads, values);
    sent[number].forEach((g, place) => {
      const n = step.inputs[place];
      if (g) gradients[n] = gradients[n] ? add(gradients[n], g) : g;
    });
  }
  trace.values.forEach((_, n) => settle(n));
  return { gradients, sent };
}

// What backward starts from: the sum of the roots times what was given to them.
export function totalOf(trace, values) {
  return trace.roots.reduce((total, { value, gradient }) => {
    const data = values ? values[value].data : trace.values[value].data;
    return total + gradient.reduce((sum, g, place) => sum + g * data[place], 0);
  }, 0);
}

export function evaluate(trace, changes = noChanges()) {
  const values = forward(trace, changes);
  return { values, ...backward(trace, values, changes), total: totalOf(trace, values), changes };
}

// The loss alone, with one number moved.
export function lossAt(trace, changes, value, place, number) {
  const moved = copyChanges(changes);
  (moved.values[value] ??= {})[place] = number;
  return totalOf(trace, forward(trace, moved));
}

// The operations that this page does not know, by their titles.
export function unknownTo(trace) {
  return [...new Set(trace.steps.filter((step) => !operationOf(step)).map((step) => step.title))];
}

// How far what is computed here is from what the engine recorded, relative to the largest number of each array.
export function deviation(trace, state) {
  let most = 0;
  const compare = (mine, theirs) => {
    if (!theirs) return;
    const scale = theirs.reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 0) || 1;
    theirs.forEach((x, i) => {
      const y = mine ? mine.data[i] : NaN;
      const off = Object.is(x, y) || (Number.isNaN(x) && Number.isNaN(y)) ? 0 : Math.abs(x - y) / scale;
      most = Math.max(most, Number.isNaN(off) ? Infinity : off);
    });
  };
  trace.values.forEach((value, n) => {
    compare(state.values[n], value.data);
    compare(state.gradients[n], value.gradient);
  });
  return most;
}
