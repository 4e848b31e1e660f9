// The elementary operations that a trace consists of, forward and backward, under the engine's names.
//
// forward(inputs, settings) gives the outputs. backward(grads, inputs, outputs, settings) gives a gradient for each
// input, or null where there is none; it may still have the shape of what was broadcast.

import { add, expand, filled, indexOf, keptShape, largest, map, matmul, mul,
  permutedPlaces, pick, placeOf, reshape, scatter, sizeOf, sum, sumTo, swapped, transposed, zip } from "./arrays.js";
import { erf } from "./special.js";

// y = f(x), with dy/dx given by x and y.
function elementwise(f, slope) {
  return {
    forward: ([x]) => [map(x, f)],
    backward: ([g], [x], [y]) => [zip((gi, xi, yi) => gi * slope(xi, yi), g, x, y)],
  };
}

// y = f(a, b), broadcast, with dy/da and dy/db.
function binary(f, byA, byB) {
  return {
    forward: ([a, b]) => [zip(f, a, b)],
    backward: ([g], [a, b]) => [
      zip((gi, ai, bi) => gi * byA(ai, bi), g, a, b),
      zip((gi, ai, bi) => gi * byB(ai, bi), g, a, b),
    ],
  };
}

// Elements in other places: y[i] = x[places[i]].
function picking(places, shape) {
  return {
    forward: ([x], settings) => [pick(x, places(x.shape, settings), shape(x.shape, settings))],
    backward: ([g], [x], _, settings) => [scatter(g, places(x.shape, settings), x.shape)],
  };
}

// Compares, or works on whole numbers: no gradient.
function truth(f) {
  return { forward: (inputs) => [zip((...numbers) => Number(f(...numbers)), ...inputs)], backward: () => [null, null] };
}

const inOrder = (shape) => Array.from({ length: sizeOf(shape) }, (_, place) => place);

function reduced(x, { dims, keepdim }) {
  const shape = keptShape(x.shape, dims);
  return keepdim ? shape : shape.filter((_, dim) => !dims.includes(dim));
}

const spread = (g, x, { dims }) => expand(reshape(g, keptShape(x.shape, dims)), x.shape);
const count = (x, { dims }) => dims.reduce((product, dim) => product * x.shape[dim], 1);

// For each element of the index, the place in x that it names along a dimension.
function gatheredPlaces(x, index, dim) {
  return Array.from(index.data, (i, place) => {
    if (!(Number.isInteger(i) && i >= 0 && i < x.shape[dim])) throw new RangeError(`index ${i} is outside of 0 to ${x.shape[dim] - 1}`);
    const at = indexOf(place, index.shape);
    at[dim] = i;
    return placeOf(at, x.shape);
  });
}

function rowPlaces(weight, index) {
  const width = weight.shape[1];
  return Array.from(index.data).flatMap((row) => {
    if (!(Number.isInteger(row) && row >= 0 && row < weight.shape[0])) throw new RangeError(`index ${row} is outside of 0 to ${weight.shape[0] - 1}`);
    return Array.from({ length: width }, (_, column) => row * width + column);
  });
}

function splitPlaces(shape, { sizes, dim }) {
  let start = 0;
  return sizes.map((size) => {
    const part = shape.map((own, d) => (d === dim ? size : own));
    const from = start;
    start += size;
    return {
      shape: part,
      places: inOrder(part).map((place) => {
        const at = indexOf(place, part);
        at[dim] += from;
        return placeOf(at, shape);
      }),
    };
  });
}

// p_i = e^(x_i) / sum_k e^(x_k) along a dimension; zeros where every x_k is -inf.
export function softmax(x, dim) {
  const top = map(largest(x, [dim]), (m) => (m === -Infinity ? 0 : m));
  const e = zip((xi, m) => Math.exp(xi - m), x, top);
  return zip((ei, s) => (s === 0 ? 0 : ei / s), e, sum(e, [dim]));
}

// p_i (g_i - sum_k g_k p_k)
export function softmaxBackward(g, p, dim) {
  return zip((pi, gi, inner) => pi * (gi - inner), p, g, sum(mul(g, p), [dim]));
}

export function logSoftmax(x, dim) {
  const top = map(largest(x, [dim]), (m) => (m === -Infinity ? 0 : m));
  const total = sum(zip((xi, m) => Math.exp(xi - m), x, top), [dim]);
  return zip((xi, m, s) => (s === 0 ? -Infinity : xi - m - Math.log(s)), x, top, total);
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

export const OPERATIONS = {
  Add: binary((a, b) => a + b, () => 1, () => 1),
  Sub: binary((a, b) => a - b, () => 1, () => -1),
  Mul: binary((a, b) => a * b, (a, b) => b, (a) => a),
  Div: binary((a, b) => a / b, (a, b) => 1 / b, (a, b) => -a / b / b),
  Pow: {
    forward: ([a, b]) => [zip((x, n) => (n === 2 ? x * x : n === 3 ? x * x * x : Math.pow(x, n)), a, b)],
    backward: ([g], [a, b]) => [
      zip((gi, x, n) => (n === 0 ? 0 : gi * n * (n === 2 ? x : n === 3 ? x * x : Math.pow(x, n - 1))), g, a, b),
      zip((gi, x, n) => (x === 0 && n >= 0 ? 0 : gi * Math.pow(x, n) * Math.log(x)), g, a, b),
    ],
  },
  Neg: elementwise((x) => -x, () => -1),
  Abs: elementwise(Math.abs, (x) => Math.sign(x)),
  Exp: elementwise(Math.exp, (x, y) => y),
  Expm1: elementwise(Math.expm1, (x, y) => y + 1),
  Log: elementwise(Math.log, (x) => 1 / x),
  Log1p: elementwise(Math.log1p, (x) => 1 / (1 + x)),
  Sqrt: elementwise(Math.sqrt, (x, y) => 1 / (2 * y)),
  Rsqrt: elementwise((x) => 1 / Math.sqrt(x), (x, y) => -0.5 * y * y * y),
  Sin: elementwise(Math.sin, Math.cos),
  Cos: elementwise(Math.cos, (x) => -Math.sin(x)),
  Erf: elementwise(erf, (x) => (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x)),
  Tanh: elementwise(Math.tanh, (x, y) => 1 - y * y),
  Sigmoid: elementwise(sigmoid, (x, y) => y * (1 - y)),
  Relu: elementwise((x) => Math.max(x, 0), (x, y) => (y > 0 ? 1 : 0)),
  Equal: truth((a, b) => a === b),
  NotEqual: truth((a, b) => a !== b),
  Greater: truth((a, b) => a > b),
  GreaterEqual: truth((a, b) => a >= b),
  Less: truth((a, b) => a < b),
  LessEqual: truth((a, b) => a <= b),
  BitwiseNot: truth((a) => !a),
  Clone: elementwise((x) => x, () => 1),
  To: {
    forward: ([x], { dtype }) => [map(x, (xi) => (
      dtype === "float64" ? xi : dtype === "float32" ? Math.fround(xi) : dtype === "bool" ? Number(xi !== 0) : Math.trunc(xi)))],
    backward: ([g]) => [g],
  },
  Where: {
    forward: ([condition, a, b]) => [zip((c, x, y) => (c ? x : y), condition, a, b)],
    backward: ([g], [condition]) => [
      null, zip((gi, c) => (c ? gi : 0), g, condition), zip((gi, c) => (c ? 0 : gi), g, condition),
    ],
  },
  Sum: {
    forward: ([x], settings) => [reshape(sum(x, settings.dims), reduced(x, settings))],
    backward: ([g], [x], _, settings) => [spread(g, x, settings)],
  },
  Mean: {
    forward: ([x], settings) => [map(reshape(sum(x, settings.dims), reduced(x, settings)), (s) => s / count(x, settings))],
    backward: ([g], [x], _, settings) => [map(spread(g, x, settings), (gi) => gi / count(x, settings))],
  },
  Softmax: {
    forward: ([x], { dim }) => [softmax(x, dim)],
    backward: ([g], _, [y], { dim }) => [softmaxBackward(g, y, dim)],
  },
  LogSoftmax: {
    forward: ([x], { dim }) => [logSoftmax(x, dim)],
    backward: ([g], _, [y], { dim }) => [zip((gi, yi, s) => gi - Math.exp(yi) * s, g, y, sum(g, [dim]))],
  },
  Matmul: {
    forward: ([a, b], { a_transposed: left, b_transposed: right }) => {
      if (a.shape.length < 2 || b.shape.length < 2) throw new RangeError("a product of vectors");
      return [matmul(left ? transposed(a) : a, right ? transposed(b) : b)];
    },
    backward: ([g], [a, b], _, { a_transposed: left, b_transposed: right }) => {
      const byA = matmul(g, right ? b : transposed(b));
      const byB = matmul(left ? a : transposed(a), g);
      return [left ? transposed(byA) : byA, right ? transposed(byB) : byB];
    },
  },
  Reshape: picking(inOrder, (_, { shape }) => shape),
  View: picking(inOrder, (_, { shape }) => shape),
  Alias: picking(inOrder, (shape) => shape),
  Transpose: picking(
    (shape, { dim0, dim1 }) => permutedPlaces(shape, swapped(shape.length, dim0, dim1)),
    (shape, { dim0, dim1 }) => swapped(shape.length, dim0, dim1).map((dim) => shape[dim]),
  ),
  Permute: picking((shape, { dims }) => permutedPlaces(shape, dims), (shape, { dims }) => dims.map((dim) => shape[dim])),
  // Slices and the like: which element each is of was recorded.
  Picked: picking((_, { places }) => places, (_, { shape }) => shape),
  Expand: { forward: ([x], { shape }) => [expand(x, shape)], backward: ([g]) => [g] },
  SumToSize: { forward: ([x], { shape }) => [sumTo(x, shape)], backward: ([g], [x]) => [expand(g, x.shape)] },
  Split: {
    forward: ([x], settings) => splitPlaces(x.shape, settings).map((part) => pick(x, part.places, part.shape)),
    backward: (grads, [x], _, settings) => [
      splitPlaces(x.shape, settings).map((part, n) => scatter(grads[n], part.places, x.shape)).reduce(add),
    ],
  },
  Cat: {
    forward: (xs, { dim }) => {
      const shape = xs[0].shape.map((size, d) => (d === dim ? xs.reduce((total, x) => total + x.shape[dim], 0) : size));
      const result = filled(shape, 0);
      splitPlaces(shape, { dim, sizes: xs.map((x) => x.shape[dim]) }).forEach((part, n) => {
        part.places.forEach((to, from) => { result.data[to] = xs[n].data[from]; });
      });
      return [result];
    },
    backward: ([g], xs, _, { dim }) =>
      splitPlaces(g.shape, { dim, sizes: xs.map((x) => x.shape[dim]) }).map((part) => pick(g, part.places, part.shape)),
  },
  Gather: {
    forward: ([x, index], { dim }) => [pick(x, gatheredPlaces(x, index, dim), index.shape)],
    backward: ([g], [x, index], _, { dim }) => [scatter(g, gatheredPlaces(x, index, dim), x.shape), null],
  },
  Embedding: {
    forward: ([weight, index]) => [pick(weight, rowPlaces(weight, index), [...index.shape, weight.shape[1]])],
    backward: ([g], [weight, index], _, { padding_idx: padding }) => {
      const result = scatter(g, rowPlaces(weight, index), weight.shape);
      if (padding !== null) result.data.fill(0, padding * weight.shape[1], (padding + 1) * weight.shape[1]);
      return [result, null];
    },
  },
};
