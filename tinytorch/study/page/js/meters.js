// What the size of the scores does: their spread, the entropy of the weights, and the gradient that comes back.

import { scaleCell } from "./depths.js";
import { byId, make } from "./dom.js";
import { shortText } from "./format.js";

export function measures(trace, state) {
  const named = (name) => trace.values.findIndex((value) => value.name === name);
  const scores = state.values[named("scores")].data;
  const p = state.values[named("p")];
  const columns = p.shape.at(-1);
  const rows = p.data.length / columns;
  const mean = scores.reduce((total, x) => total + x, 0) / scores.length;
  const spread = Math.sqrt(scores.reduce((total, x) => total + (x - mean) ** 2, 0) / scores.length);
  const entropy = -p.data.reduce((total, x) => total + (x > 0 ? x * Math.log(x) : 0), 0) / rows;
  const gradient = Math.sqrt(state.gradients[named("scores")].data.reduce((total, g) => total + g * g, 0));
  return { spread, entropy, most: Math.log(columns), gradient };
}

export function drawMeters(trace, state) {
  const { spread, entropy, most, gradient } = measures(trace, state);
  const divisor = state.values[scaleCell(trace)].data[0];
  byId("scale").value = Math.log10(divisor);
  byId("scale").setAttribute("aria-valuetext", `divided by ${shortText(divisor)}`);
  byId("scale-text").textContent = shortText(divisor);
  const rows = [
    ["spread of the scores (standard deviation)", spread],
    [`entropy of a row of weights, at most ln of its length = ${shortText(most)}`, entropy],
    ["size of the gradient, |dL/dscores|", gradient],
  ];
  byId("meter-numbers").replaceChildren(...rows.map(([label, number]) =>
    make("tr", {}, make("th", { scope: "row" }, label), make("td", { "data-number": String(number) }, shortText(number)))));
}
