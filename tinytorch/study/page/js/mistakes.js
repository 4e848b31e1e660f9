// What a number that somebody typed looks like, if it is wrong: the mistakes of tinytorch/mistakes.py, for a cell.

import { indexOf, placeOf } from "./arrays.js";
import { sentBy } from "./evaluator.js";
import { explained, labelOf, numberAt } from "./explain.js";

const COARSE = 0.02; // of the right number: rounding may not explain more than that

// {right, text}: whether what was typed, to the digits that were typed, is right; and if not, what it looks like.
export function judged(trace, state, cell, { number, unit }) {
  const right = numberAt(state, cell);
  if (fits(number, unit, right)) return { right: true, text: "Right." };
  if (Number.isNaN(right) || !Number.isFinite(right)) return { right: false, text: "Not right: look at what is masked." };
  const found = candidates(trace, state, cell, right)
    .filter((mistake) => mistake.number !== 0 && fits(number, unit, mistake.number))
    .sort((a, b) => a.cost - b.cost);
  if (!found.length) {
    if (number === 0) return { right: false, text: "Not right: it is not 0." };
    if (right === 0) return { right: false, text: "Not right: think of which numbers of the loss it can change." };
    if (Math.abs(number - right) < 0.05 * Math.abs(right)) return { right: false, text: "Close: check the rounding." };
    return { right: false, text: "Not right, and it looks like none of the usual mistakes." };
  }
  const [first, second] = found;
  const or = second && second.cost === first.cost && second.text !== first.text ? ` Or ${second.text}.` : "";
  return { right: false, text: `Not right. It looks as if ${first.text}.${or}` };
}

// Whether a number was rounded to the one typed: to the unit of its last digit, but no coarser than two digits.
function fits(number, unit, exact) {
  if (Object.is(number, exact)) return true;
  const rounding = Math.min(0.5 * unit * (1 + 1e-6), COARSE * Math.abs(exact));
  return Math.abs(number - exact) <= rounding + 1e-9 * Math.abs(exact) + 1e-12;
}

function candidates(trace, state, cell, right) {
  const found = [{ cost: 0, text: "the sign is wrong", number: -right }];
  const add = (cost, text, number) => {
    found.push({ cost, text, number }, { cost: cost + 4, text: `${text}, and the sign is wrong`, number: -number });
  };
  const value = trace.values[cell.value];
  const index = indexOf(cell.place, value.shape);
  const other = (at) => ({ ...cell, place: placeOf(at, value.shape) });
  if (index.length > 1) {
    const flipped = [...index.slice(0, -2), index.at(-1), index.at(-2)];
    const inside = flipped.every((i, dim) => i < value.shape[dim]);
    if (inside && other(flipped).place !== cell.place) {
      add(1, `it is transposed: that is ${labelOf(trace, other(flipped))}`, numberAt(state, other(flipped)));
    }
  }
  addPaths(trace, state, cell, right, add);
  for (const [name, scale] of scalesOf(trace)) {
    if (scale === 0 || scale === 1) continue;
    add(2, `the factor ${name} is missing`, right / scale);
    add(3, `the factor ${name} is there once too often`, right * scale);
    add(5, `it is divided by ${name} in place of multiplied`, right / scale ** 2);
  }
  for (let n = 2; n <= 10; n++) {
    add(6, `it is ${n} times what it should be`, right * n);
    add(6, `it is 1/${n} of what it should be`, right / n);
  }
  if (value.shape.length) {
    const own = arrayAt(state, cell);
    own.data.forEach((number, place) => {
      if (place !== cell.place) found.push({ cost: 5, text: `that is another cell, ${labelOf(trace, { ...cell, place })}`, number });
    });
  }
  return found;
}

function arrayAt(state, cell) {
  return cell.kind === "value" ? state.values[cell.value] : cell.kind === "gradient" ? state.gradients[cell.value] : state.sent[cell.step][cell.input];
}

// What is missing or too much in the sum that the number is.
function addPaths(trace, state, cell, right, add) {
  const explanation = explained(trace, state, cell);
  if (cell.kind !== "value") {
    const total = numberAt(state, { ...cell, kind: "gradient" });
    if (cell.kind === "sent" && total !== right) add(1, "you took all paths together: here only the part through this step counts", total);
    add(4, `that is ${labelOf(trace, { ...cell, kind: "value" })} itself, not its gradient`, numberAt(state, { ...cell, kind: "value" }));
  }
  if (explanation.sections.length > 1) {
    for (const section of explanation.sections) {
      const through = section.step.outputs.map((n) => trace.values[n].name).join(", ");
      add(2, `the path through ${through} is left out`, right - section.total);
      add(5, `the path through ${through} is counted twice`, right + section.total);
    }
    for (const section of explanation.sections) {
      const through = section.step.outputs.map((n) => trace.values[n].name).join(", ");
      add(3, `only the path through ${through} is there`, section.total);
    }
  }
  for (const section of explanation.sections) {
    if (!section.isSum || explanation.sections.length > 1) continue;
    addTerms(trace, state, cell, section, right, add);
  }
}

function addTerms(trace, state, cell, section, right, add) {
  const { step, terms } = section;
  if (terms.length > 1) {
    for (const term of terms) {
      const name = term.names.filter(Boolean).join(" × ");
      add(3, `the sum is missing: that is the term ${name} alone`, term.product);
      add(4, `the term ${name} is left out of the sum`, right - term.product);
    }
    add(3, `it is the mean of ${terms.length} terms, not their sum`, right / terms.length);
  }
  if (cell.kind === "value") return;
  const input = cell.kind === "sent" ? cell.input : step.inputs.indexOf(cell.value);
  const output = step.outputs[0];
  const incoming = state.gradients[output];
  if (!incoming || step.outputs.length > 1) return;
  const ones = sentBy(trace, step, [{ shape: incoming.shape, data: new Float64Array(incoming.data.length).fill(1) }], state.values)[input];
  if (ones) add(2, `the gradient that comes in, dL/d${trace.values[output].name}, is left out`, ones.data[cell.place]);
  if (incoming.data.length === trace.values[cell.value].data.length) {
    add(2, `the derivative of ${step.title} is left out: that is ${labelOf(trace, { kind: "gradient", value: output, place: cell.place })}`, incoming.data[cell.place]);
  }
  if (section.factored) {
    const { p, g, inner } = section.factored;
    add(1, "the sum in the derivative of softmax is left out: that is p g", p * g);
    add(2, "the sum in the derivative of softmax is added in place of subtracted", p * (g + inner));
    add(2, "the factor p before the bracket is left out", g - inner);
    add(3, "only the diagonal of softmax's Jacobian is there, p (1 − p) g", p * (1 - p) * g);
  }
}

// The numbers that something is multiplied with or divided by.
export function scalesOf(trace) {
  const scales = new Map();
  for (const step of trace.steps) {
    if (step.operation === "Mul" || step.operation === "Div") {
      step.inputs.forEach((n, place) => {
        const value = trace.values[n];
        if (value.kind !== "constant") return;
        const divides = step.operation === "Div" && place === 1;
        scales.set(divides ? `1/${value.name}` : value.name, divides ? 1 / value.data[0] : value.data[0]);
      });
    } else if (step.operation === "Mean") {
      const count = trace.values[step.inputs[0]].data.length / trace.values[step.outputs[0]].data.length;
      scales.set(`1/${count}`, 1 / count);
    }
  }
  return scales;
}
