// The page: what happens when something is pressed.

import { drawChoices } from "./choices.js";
import { scaleCell } from "./depths.js";
import { byId } from "./dom.js";
import { shortText } from "./format.js";
import { drawGraph } from "./graph.js";
import { drawDetail, look, select, selectFirst } from "./number.js";
import { change, data, heading, page, position, restore, say, take, trace } from "./page.js";
import { drawDialSoon, drawPanels } from "./panels.js";
import { drawStep } from "./step.js";
import { hashOf, positionNamed, turned } from "./story.js";

function openVariant(number) {
  const reason = take(number);
  byId("read-only").hidden = !reason;
  byId("read-only").textContent = reason && `${reason}: the numbers are shown as they were recorded, and cannot be changed.`;
  document.body.dataset.deviation = reason ? "" : String(page.off);
  byId("agreement").textContent = reason ? "" : `This page computes in float64. At first its numbers are the engine's, but for ${shortText(page.off)} of the largest of each array.`;
  for (const id of ["reset", "dial", "meters"]) if (byId(id)) byId(id).hidden = page.readOnly;
  drawGraph(byId("graph"), number, trace(), goToValue);
  go(page.at);
}

// After numbers have changed.
function draw() {
  drawStep();
  drawDetail();
  drawPanels();
}

// After the place has changed.
function showStep() {
  drawStep();
  selectFirst();
  drawDetail();
  drawPanels();
}

function go(at) {
  page.at = Math.min(Math.max(at, 0), page.positions.length - 1);
  showStep();
  const hash = hashOf(position());
  if (document.body.dataset.ready && location.hash !== hash) history.replaceState(null, "", hash);
  say(heading());
}

function goToValue(n) {
  const made = trace().values[n].step;
  const first = made >= 0 ? made : trace().steps.findIndex((one) => one.inputs.includes(n));
  const there = page.positions.findIndex((p) => p.step === first && p.phase === position().phase);
  go(there >= 0 ? there : first);
  const cell = page.cells.find((one) => one.value === n);
  if (cell) select(cell);
}

function turn(phase) {
  go(turned(position(), phase, page.positions));
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, summary")) return;
  if (event.key === " " && event.target.closest("button, a")) return;
  const actions = {
    ArrowRight: () => go(page.at + 1), ArrowLeft: () => go(page.at - 1), " ": () => go(page.at + 1),
    Home: () => go(0), End: () => go(page.positions.length - 1), f: () => turn("forward"), b: () => turn("backward"),
    p: () => byId("predict").click(),
  };
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  if (event.target.closest("#tables")) byId("step-title").focus({ preventScroll: true });
  action();
}

function listen() {
  byId("next").addEventListener("click", () => go(page.at + 1));
  byId("previous").addEventListener("click", () => go(page.at - 1));
  byId("forward").addEventListener("click", () => turn("forward"));
  byId("backward").addEventListener("click", () => turn("backward"));
  byId("place").addEventListener("input", () => go(Number(byId("place").value)));
  byId("reset").addEventListener("click", () => {
    restore();
    draw();
    say("All numbers are as they were.");
  });
  byId("predict").addEventListener("change", () => {
    page.predict = byId("predict").checked;
    page.found.clear();
    draw();
  });
  byId("dial").addEventListener("toggle", drawDialSoon);
  byId("dial-h").addEventListener("input", drawDialSoon);
  byId("width")?.addEventListener("input", drawPanels);
  byId("block")?.addEventListener("input", drawPanels);
  byId("scale")?.addEventListener("input", () => {
    change({ kind: "value", value: scaleCell(trace()), place: 0 }, Number((10 ** Number(byId("scale").value)).toPrecision(4)));
    draw();
  });
  document.addEventListener("keydown", pressed);
  window.addEventListener("hashchange", () => {
    const at = positionNamed(location.hash, page.positions);
    if (at >= 0) go(at);
  });
}

function begin() {
  page.redraw = draw;
  page.look = look;
  const attention = data.variants.some((variant) => variant.trace.attention);
  if (!attention) byId("depths-box").remove();
  if (data.variants.every((variant) => scaleCell(variant.trace) === null)) byId("meters").remove();
  openVariant(data.first);
  drawChoices(openVariant);
  listen();
  const at = positionNamed(location.hash, page.positions);
  if (at >= 0) go(at);
  document.body.dataset.ready = "true";
}

begin();
