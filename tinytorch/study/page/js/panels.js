// The panels below the step, which follow it.

import { drawDepths } from "./depths.js";
import { drawDial } from "./dial.js";
import { byId } from "./dom.js";
import { drawMeters } from "./meters.js";
import { page, trace } from "./page.js";
import { shownCell } from "./step.js";
import { keyOf } from "./table.js";

export function drawPanels() {
  if (byId("depths")) drawDepths(trace(), page.state, Number(byId("width").value), Number(byId("block").value));
  if (byId("meters") && !page.readOnly) drawMeters(trace(), page.state);
  drawDialSoon();
}

let waiting = 0;

export function drawDialSoon() {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => {
    if (page.readOnly || !byId("dial").open) return;
    const target = dialCell();
    const asked = page.selected && shownCell(keyOf(page.selected))?.classList.contains("blank"); // its gradient is for the reader to find
    byId("dial-numbers").hidden = byId("dial-plot").hidden = Boolean(asked);
    if (target && !asked) drawDial(trace(), page.changes, target);
  });
}

// The number that is nudged: the one that is selected, or else the first that has a gradient.
function dialCell() {
  const able = (cell) => cell && page.state.gradients[cell.value] && Number.isFinite(page.state.values[cell.value].data[cell.place]);
  if (able(page.selected)) return { kind: "value", value: page.selected.value, place: page.selected.place };
  const n = trace().values.findIndex((_, number) => page.state.gradients[number]);
  return n < 0 ? null : { kind: "value", value: n, place: 0 };
}
