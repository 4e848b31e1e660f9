// The fused operations: what the engine does in one or two kernels, by the formula that the kernel computes.

import { add, expand, indexOf, map, matmul, mul, reshape, sizeOf, sum, sumTo, transposed, zip } from "./arrays.js";
import { logSoftmax, softmax, softmaxBackward } from "./operations.js";
import { below, density } from "./special.js";

// s_ij = scale sum_d q_id k_jd, -inf where query i may not see key j.
export function scores(q, k, mask, { causal, scale }) {
  const factor = scale ?? 1 / Math.sqrt(q.shape.at(-1));
  let s = map(matmul(q, transposed(k)), (x) => x * factor);
  const [T, S] = s.shape.slice(-2);
  if (causal) s = { shape: s.shape, data: s.data.map((x, place) => (place % S > Math.floor(place / S) % T ? -Infinity : x)) };
  if (mask) s = zip((x, m) => (m ? x : -Infinity), s, mask);
  return { s, factor };
}

const known = ({ dropout }, q, k) => {
  if (dropout || (q.shape.length > 3 && q.shape[1] !== k.shape[1])) throw new RangeError("dropout or shared heads");
};

// The dimensions that the weight of a norm has.
const lastDims = (x, ndim) => Array.from({ length: ndim }, (_, n) => x.shape.length - ndim + n);

function normalized(x, ndim, eps, centre) {
  const dims = lastDims(x, ndim);
  const count = dims.reduce((product, dim) => product * x.shape[dim], 1);
  const mean = map(sum(x, dims), (total) => (centre ? total / count : 0));
  const centred = zip((xi, m) => xi - m, x, mean);
  const r = map(sum(mul(centred, centred), dims), (total) => 1 / Math.sqrt(total / count + eps));
  return { dims, count, r, n: mul(centred, r) };
}

// With u the gradient of n: dL/dx_i = r (u_i - mean u - n_i mean(u n)), without mean u where the mean was not taken off.
function normBackward(g, x, w, ndim, eps, centre) {
  const { dims, count, r, n } = normalized(x, ndim, eps, centre);
  const u = w ? mul(g, w) : g;
  const mean = map(sum(u, dims), (total) => (centre ? total / count : 0));
  const along = map(sum(mul(u, n), dims), (total) => total / count);
  const dx = zip((ui, m, ni, a, ri) => ri * (ui - m - ni * a), u, mean, n, along, r);
  return { dx, dw: w ? sumTo(mul(g, n), w.shape) : null };
}

function losses(x, target, { ignore_index: ignored, smoothing }) {
  if (smoothing || x.shape.length !== 2) throw new RangeError("smoothed or many-dimensional targets");
  const logp = logSoftmax(x, 1);
  const counted = Array.from(target.data, (c) => c !== ignored);
  const each = map(target, (c, row) => {
    if (!counted[row]) return 0;
    if (!(Number.isInteger(c) && c >= 0 && c < x.shape[1])) throw new RangeError(`class ${c} is outside of 0 to ${x.shape[1] - 1}`);
    return -logp.data[row * x.shape[1] + c];
  });
  return { logp, each, counted, count: counted.filter(Boolean).length };
}

export const FUSED = {
  Linear: {
    forward: ([x, w, b]) => {
      const rows = reshape(x, [sizeOf(x.shape.slice(0, -1)), x.shape.at(-1)]);
      const y = reshape(matmul(rows, transposed(w)), [...x.shape.slice(0, -1), w.shape[0]]);
      return [b ? add(y, b) : y];
    },
    backward: ([g], [x, w, b]) => {
      const flat = (a) => reshape(a, [sizeOf(a.shape.slice(0, -1)), a.shape.at(-1)]);
      return [reshape(matmul(flat(g), w), x.shape), matmul(transposed(flat(g)), flat(x)), b ? sumTo(g, b.shape) : null];
    },
  },
  Attention: {
    forward: ([q, k, v, mask], settings) => {
      known(settings, q, k);
      return [matmul(softmax(scores(q, k, mask, settings).s, q.shape.length - 1), v)];
    },
    backward: ([g], [q, k, v, mask], _, settings) => {
      const { s, factor } = scores(q, k, mask, settings);
      const p = softmax(s, q.shape.length - 1);
      const ds = map(softmaxBackward(matmul(g, transposed(v)), p, q.shape.length - 1), (x) => x * factor);
      return [matmul(ds, k), matmul(transposed(ds), q), matmul(transposed(p), g), null];
    },
  },
  LayerNorm: {
    forward: ([x, w, b], { ndim, eps }) => {
      const { n } = normalized(x, ndim, eps, true);
      const y = w ? mul(n, w) : n;
      return [b ? add(y, b) : y];
    },
    backward: ([g], [x, w, b], _, { ndim, eps }) => {
      const { dx, dw } = normBackward(g, x, w, ndim, eps, true);
      return [dx, dw, b ? sumTo(g, b.shape) : null];
    },
  },
  RMSNorm: {
    forward: ([x, w], { ndim, eps }) => {
      const { n } = normalized(x, ndim, eps, false);
      return [w ? mul(n, w) : n];
    },
    backward: ([g], [x, w], _, { ndim, eps }) => {
      const { dx, dw } = normBackward(g, x, w, ndim, eps, false);
      return [dx, dw];
    },
  },
  Gelu: {
    forward: ([x], { tanh }) => {
      if (tanh) throw new RangeError("the form by tanh");
      return [map(x, (xi) => xi * below(xi))];
    },
    backward: ([g], [x]) => [zip((gi, xi) => gi * (below(xi) + xi * density(xi)), g, x)],
  },
  Silu: {
    forward: ([x]) => [map(x, (xi) => xi / (1 + Math.exp(-xi)))],
    backward: ([g], [x]) => [zip((gi, xi) => {
      const s = 1 / (1 + Math.exp(-xi));
      return gi * s * (1 + xi * (1 - s));
    }, g, x)],
  },
  CrossEntropy: {
    forward: ([x, target], settings) => {
      const { each, count } = losses(x, target, settings);
      if (settings.reduction === "none") return [each];
      return [map(reshape(sum(each, [0]), []), (total) => (settings.reduction === "mean" ? total / count : total))];
    },
    backward: ([g], [x, target], _, settings) => {
      const { logp, counted, count } = losses(x, target, settings);
      const rows = settings.reduction === "none" ? g : expand(g, target.shape);
      const divisor = settings.reduction === "mean" ? count : 1;
      return [{
        shape: x.shape,
        data: logp.data.map((l, place) => {
          const [row, c] = indexOf(place, x.shape);
          return counted[row] ? (rows.data[row] / divisor) * (Math.exp(l) - (c === target.data[row] ? 1 : 0)) : 0;
        }),
      }, null];
    },
  },
};
