// The backward of attention at three depths: elementary steps, the fused formula, and tiles as the kernel takes them.
// All take plain matrices: q, k, v and g = dL/dy.

import { difference, filled, largest, map, matmul, mul, sum, transposed, zip } from "./arrays.js";
import { scores } from "./fused.js";

// The scores that were computed elsewhere (and perhaps changed by hand), or else from q and k.
function scored(q, k, settings) {
  const { s, factor } = scores(q, k, null, settings);
  return { s: settings.s ?? s, factor };
}

export function elementary({ q, k, v, g }, settings) {
  const { s } = scored(q, k, settings);
  const m = largest(s, [1]);
  const e = zip((x, top) => Math.exp(x - top), s, m);
  const z = sum(e, [1]);
  const dp = matmul(g, transposed(v));
  const dz = map(sum(zip((gi, ei, zi) => (gi * ei) / zi / zi, dp, e, z), [1]), (x) => -x);
  const de = zip((gi, zi, d) => gi / zi + d, dp, z, dz);
  return { dp, e, z, dz, de, ds: mul(de, e) };
}

export function fused({ q, k, v, g }, settings) {
  const { s } = scored(q, k, settings);
  const top = largest(s, [1]);
  const e = zip((x, m) => Math.exp(x - m), s, top);
  const p = zip((ei, z) => ei / z, e, sum(e, [1]));
  const dp = matmul(g, transposed(v));
  const inner = sum(mul(p, dp), [1]);
  return { p, dp, inner, ds: zip((pi, gi, c) => pi * (gi - c), p, dp, inner) };
}

// Forward in one pass over blocks of keys, then backward over them again. A state for each block: what is known after it.
export function tiled({ q, k, v, g }, settings, width) {
  const [T, D] = q.shape;
  const [S] = k.shape;
  const Dv = v.shape[1];
  const { s: all, factor } = scored(q, k, settings);
  const top = filled([T, 1], -Infinity);
  const total = filled([T, 1], 0);
  const o = filled([T, Dv], 0);
  const states = [];
  const part = (a, from, to) => ({ shape: [T, to - from], data: Float64Array.from({ length: T * (to - from) }, (_, n) => a.data[Math.floor(n / (to - from)) * S + from + (n % (to - from))]) });
  for (let from = 0; from < S; from += width) {
    const to = Math.min(S, from + width);
    const s = part(all, from, to);
    for (let i = 0; i < T; i++) {
      const row = s.data.subarray(i * (to - from), (i + 1) * (to - from));
      const higher = Math.max(top.data[i], ...row);
      const base = higher === -Infinity ? 0 : higher;
      const shrink = Math.exp(top.data[i] - base);
      total.data[i] *= shrink;
      for (let d = 0; d < Dv; d++) o.data[i * Dv + d] *= shrink;
      row.forEach((x, n) => {
        const p = Math.exp(x - base);
        total.data[i] += p;
        for (let d = 0; d < Dv; d++) o.data[i * Dv + d] += p * v.data[(from + n) * Dv + d];
      });
      top.data[i] = higher;
    }
    states.push({ phase: "forward", from, to, s, top: copy(top), total: copy(total), o: copy(o) });
  }
  const y = zip((x, l) => (l ? x / l : 0), o, total);
  const delta = sum(mul(g, y), [1]);
  const ds = filled([T, S], NaN);
  const dq = filled([T, D], 0);
  const dk = filled([S, D], 0);
  const dv = filled([S, Dv], 0);
  for (let from = 0; from < S; from += width) {
    const to = Math.min(S, from + width);
    for (let i = 0; i < T; i++) {
      for (let j = from; j < to; j++) {
        const p = total.data[i] ? Math.exp(all.data[i * S + j] - top.data[i]) / total.data[i] : 0;
        let u = 0;
        for (let d = 0; d < Dv; d++) {
          u += g.data[i * Dv + d] * v.data[j * Dv + d];
          dv.data[j * Dv + d] += p * g.data[i * Dv + d];
        }
        const slope = p * (u - delta.data[i]);
        ds.data[i * S + j] = slope;
        for (let d = 0; d < D; d++) {
          dq.data[i * D + d] += factor * slope * k.data[j * D + d];
          dk.data[j * D + d] += factor * slope * q.data[i * D + d];
        }
      }
    }
    states.push({ phase: "backward", from, to, delta, ds: copy(ds), dq: copy(dq), dk: copy(dk), dv: copy(dv) });
  }
  return { states, y, ds, dq, dk, dv };
}

const copy = (a) => ({ shape: a.shape, data: Float64Array.from(a.data) });

// The same three, and how far they are apart.
export function compared(matrices, settings, width) {
  const steps = elementary(matrices, settings);
  const whole = fused(matrices, settings);
  const blocks = tiled(matrices, settings, width);
  return { steps, whole, blocks, apart: [difference(steps.ds, whole.ds), difference(whole.ds, blocks.ds)] };
}
