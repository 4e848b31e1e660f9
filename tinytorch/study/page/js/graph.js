// The graph of values: each box leads to the step that made it, and the step that is shown is marked.

import { fromTemplate } from "./dom.js";

export function drawGraph(container, number, trace, go) {
  const picture = fromTemplate(`graph-${number}`).querySelector("svg");
  picture.setAttribute("role", "group");
  picture.removeAttribute("aria-roledescription");
  const boxes = [...picture.querySelectorAll('g[role="graphics-symbol img"]')];
  boxes.forEach((box, place) => {
    const n = trace.cards[place];
    box.setAttribute("role", "button");
    box.setAttribute("tabindex", "-1");
    box.dataset.value = n;
    box.addEventListener("click", () => go(n));
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        event.stopPropagation();
        go(n);
      }
    });
  });
  container.replaceChildren(picture);
}

export function markGraph(container, trace, { phase, step: number }) {
  const step = trace.steps[number];
  container.dataset.phase = phase;
  container.querySelectorAll("path.edge").forEach((edge, n) => {
    edge.classList.toggle("flow", step.outputs.includes(trace.edges[n][1]));
  });
  for (const box of container.querySelectorAll("g[data-value]")) {
    const n = Number(box.dataset.value);
    const now = step.outputs.includes(n);
    box.classList.toggle("now", now);
    box.classList.toggle("near", step.inputs.includes(n));
    if (now) box.setAttribute("aria-current", "step");
    else box.removeAttribute("aria-current");
    box.setAttribute("tabindex", now ? "0" : "-1"); // one stop for the tab key, not one for each box
  }
  const now = container.querySelector(".now");
  if (!now) return;
  if (container.contains(document.activeElement) && document.activeElement !== container) now.focus({ preventScroll: true });
  const box = now.getBoundingClientRect();
  const frame = container.getBoundingClientRect();
  if (box.left < frame.left + 40 || box.right > frame.right - 40) {
    container.scrollLeft += box.left - frame.left - (frame.width - box.width) / 2;
  }
  if (box.top < frame.top || box.bottom > frame.bottom) {
    container.scrollTop += box.top - frame.top - (frame.height - box.height) / 2;
  }
}
