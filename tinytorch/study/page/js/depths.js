// The three depths side by side, with their differences.

import { zip } from "./arrays.js";
import { byId } from "./dom.js";
import { shortText } from "./format.js";
import { numberTable } from "./table.js";
import { compared } from "./tiles.js";

const SHOWS = { enter() {}, leave() {}, choose() {}, type() {} };

// The matrices of the first head, from what the page has computed.
function firstHead(a) {
  const [rows, columns] = a.shape.slice(-2);
  return { shape: [rows, columns], data: a.data.slice(0, rows * columns) };
}

export function drawDepths(trace, state, width, block) {
  const where = trace.attention;
  const matrices = {
    q: firstHead(state.values[where.q]), k: firstHead(state.values[where.k]), v: firstHead(state.values[where.v]),
    g: firstHead(state.gradients[where.y]),
  };
  const factor = scaleOf(trace, state);
  const s = where.s === null ? null : firstHead(state.values[where.s]);
  const { steps, whole, blocks, apart } = compared(matrices, { causal: where.causal, scale: factor, s }, width);
  byId("depth-steps").replaceChildren(
    table("g = dL/dp = dL/dy vᵀ", steps.dp), table("e = eˢ⁻ᵐ", steps.e), table("Z = Σ e", steps.z),
    table("dL/dZ = −Σ g e / Z²", steps.dz), table("dL/de = g / Z + dL/dZ", steps.de), table("dL/ds = dL/de e", steps.ds, "ds-steps"));
  byId("depth-fused").replaceChildren(
    table("g = dL/dp = dL/dy vᵀ", whole.dp), table("p", whole.p), table("Σ p g", whole.inner), table("dL/ds = p (g − Σ p g)", whole.ds, "ds-fused"));
  const now = blocks.states[Math.min(block, blocks.states.length - 1)];
  byId("block-name").textContent = `${now.phase}, keys ${now.from} to ${now.to - 1}`;
  byId("block").max = blocks.states.length - 1;
  byId("depth-tiled").replaceChildren(...(now.phase === "forward" ? [
    table(`s, keys ${now.from} to ${now.to - 1}`, now.s, "", now.from), table("m, the largest score so far", now.top),
    table("l, the sum so far", now.total), table("o = Σ eˢ⁻ᵐ v so far", now.o),
  ] : [
    table("δ = Σ y dL/dy", now.delta), table("dL/ds = p (g − δ)", now.ds, "ds-tiled"), table("dL/dq so far", now.dq),
    table("dL/dk", now.dk), table("dL/dv", now.dv),
  ]));
  const minus = (label, a, b) => table(label, zip((x, y) => x - y, a, b));
  byId("depth-apart").replaceChildren(minus("steps − formula", steps.ds, whole.ds), minus("formula − tiles", whole.ds, blocks.ds));
  byId("depth-differences").textContent = `The largest difference in dL/ds of steps and formula is ${shortText(apart[0])}, of formula and tiles ${shortText(apart[1])}.`;
}

// What the scores are multiplied with; null for 1/sqrt(D).
function scaleOf(trace, state) {
  if (trace.attention.scale !== null) return trace.attention.scale;
  const divided = scaleCell(trace);
  return divided === null ? null : 1 / state.values[divided].data[0];
}

// The number that the attention page's scores are divided by.
export function scaleCell(trace) {
  const step = trace.steps.find(({ operation, outputs }) => operation === "Div" && trace.values[outputs[0]].name === "scores");
  return step && trace.values[step.inputs[1]].kind === "constant" ? step.inputs[1] : null;
}

function table(label, a, id = "", from = 0) {
  const box = numberTable({
    label, a, shape: a.shape, dtype: "float64", name: label, kind: "depth", look: SHOWS,
    cellOf: (place) => ({ kind: "depth", value: label, place }), blank: (place) => Number.isNaN(a.data[place]),
  });
  if (id) box.id = id;
  if (from) box.querySelectorAll("thead th").forEach((th, n) => { th.textContent = String(from + n); });
  return box;
}

