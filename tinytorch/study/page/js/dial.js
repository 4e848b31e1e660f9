// Finite differences: one number is nudged by h, and the slope of the loss is held against the gradient.

import { backward, forward, lossAt } from "./evaluator.js";
import { labelOf } from "./explain.js";
import { byId, make, svgElement } from "./dom.js";
import { longText, shortText } from "./format.js";

const EXPONENTS = Array.from({ length: 57 }, (_, n) => 1 + n * 0.25);
const WIDTH = 580;
const RIGHT = 30;
const HEIGHT = 260;
const LEFT = 54;
const BOTTOM = 34;
const LEAST = 1e-17; // differences below are drawn here

// The two quotients of differences at one h.
export function slopes(trace, changes, cell, x, h) {
  const here = lossAt(trace, changes, cell.value, cell.place, x);
  const up = lossAt(trace, changes, cell.value, cell.place, x + h);
  const down = lossAt(trace, changes, cell.value, cell.place, x - h);
  return { here, up, down, oneSided: (up - here) / h, central: (up - down) / (2 * h) };
}

export function drawDial(trace, changes, cell) {
  const h = 10 ** -Number(byId("dial-h").value);
  byId("dial-h-text").textContent = h.toExponential(1).replace("-", "−").replace("+", "");
  const values = forward(trace, changes);
  const x = values[cell.value].data[cell.place];
  const gradient = backward(trace, values, { ...changes, gradients: {} }).gradients[cell.value].data[cell.place];
  const name = labelOf(trace, cell);
  const at = slopes(trace, changes, cell, x, h);
  byId("dial-name").textContent = name;
  const rows = [
    [`L at ${name} = ${longText(x)}`, precise(at.here)],
    [`L at ${name} + h`, precise(at.up)],
    ["slope, (L(x + h) − L(x)) / h", precise(at.oneSided)],
    ["slope, (L(x + h) − L(x − h)) / 2h", precise(at.central)],
    [`gradient, dL/d${name}`, precise(gradient)],
    ["|slope − gradient|, one-sided", shortText(Math.abs(at.oneSided - gradient))],
    ["|slope − gradient|, central", shortText(Math.abs(at.central - gradient))],
  ];
  byId("dial-numbers").replaceChildren(...rows.map(([label, number]) => make("tr", {}, make("th", { scope: "row" }, label), make("td", {}, number))));
  const points = EXPONENTS.map((exponent) => {
    const step = 10 ** -exponent;
    const found = slopes(trace, changes, cell, x, step);
    return { exponent, oneSided: Math.abs(found.oneSided - gradient), central: Math.abs(found.central - gradient) };
  });
  byId("dial-plot").replaceChildren(plot(points, -Math.log10(h)));
}

const precise = (x) => (Number.isFinite(x) ? String(Number(x.toPrecision(14))).replaceAll("-", "−") : shortText(x));

function plot(points, now) {
  const finite = points.flatMap((p) => [p.oneSided, p.central]).filter(Number.isFinite).map((y) => Math.log10(Math.max(y, LEAST)));
  const top = Math.ceil(Math.max(-1, ...finite));
  const low = Math.floor(Math.min(top - 4, ...finite));
  const px = (exponent) => LEFT + ((exponent - 1) / 14) * (WIDTH - LEFT - RIGHT);
  const py = (y) => 14 + ((top - Math.log10(Math.max(y, LEAST))) / (top - low)) * (HEIGHT - BOTTOM - 14);
  const picture = svgElement("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "plot",
    "aria-label": "The distance of slope and gradient against h: it falls with h while the curve counts, and rises again when rounding does" });
  for (let power = low; power <= top; power += Math.max(1, Math.round((top - low) / 6))) {
    picture.append(svgElement("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: py(10 ** power), y2: py(10 ** power) }));
    picture.append(svgElement("text", { x: LEFT - 6, y: py(10 ** power) + 4, "text-anchor": "end" }, `1e${power}`.replace("-", "−")));
  }
  for (const exponent of [1, 3, 5, 7, 9, 11, 13, 15]) {
    picture.append(svgElement("text", { x: px(exponent), y: HEIGHT - 14, "text-anchor": "middle" }, `1e−${exponent}`));
  }
  picture.append(svgElement("text", { x: WIDTH - RIGHT, y: HEIGHT - 1, "text-anchor": "end" }, "h, smaller to the right"));
  picture.append(svgElement("line", { class: "now", x1: px(now), x2: px(now), y1: 14, y2: HEIGHT - BOTTOM }));
  for (const kind of ["oneSided", "central"]) {
    const good = points.filter((p) => Number.isFinite(p[kind]));
    const path = good.map((p, n) => `${n ? "L" : "M"}${px(p.exponent).toFixed(1)} ${py(p[kind]).toFixed(1)}`).join("");
    picture.append(svgElement("path", { class: kind, d: path }));
  }
  picture.append(svgElement("text", { class: "oneSided", x: LEFT + 8, y: 26 }, "— one-sided"));
  picture.append(svgElement("text", { class: "central", x: LEFT + 108, y: 26 }, "- - central"));
  return picture;
}
