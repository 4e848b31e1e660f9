// What can be chosen: the mask, D, whole operations. For each choice the engine has made a trace.

import { byId, make } from "./dom.js";
import { data, page } from "./page.js";

// open(number) shows another trace.
export function drawChoices(open) {
  const names = Object.keys(data.variants[0].options);
  for (const name of names) {
    const all = [...new Set(data.variants.map((variant) => variant.options[name]))];
    if (all.length < 2) continue;
    byId("choices").append(typeof all[0] === "boolean" ? switchOf(name, open) : sliderOf(name, open, all.sort((a, b) => a - b)));
  }
}

function openWith(name, choice, open) {
  const wanted = { ...data.variants[page.variant].options, [name]: choice };
  const number = data.variants.findIndex((variant) => Object.entries(wanted).every(([key, x]) => variant.options[key] === x));
  if (number >= 0) open(number);
}

function switchOf(name, open) {
  const box = make("input", { type: "checkbox", id: `choice-${name}` });
  box.checked = data.variants[page.variant].options[name];
  box.addEventListener("change", () => openWith(name, box.checked, open));
  return make("label", { class: "choice", for: `choice-${name}` }, box, ` ${data.choices[name]}`);
}

function sliderOf(name, open, all) {
  const shown = make("output", { for: `choice-${name}` }, String(data.variants[page.variant].options[name]));
  const slider = make("input", { type: "range", id: `choice-${name}`, min: 0, max: all.length - 1, step: 1 });
  slider.value = all.indexOf(data.variants[page.variant].options[name]);
  const valued = () => slider.setAttribute("aria-valuetext", `${name} = ${all[slider.value]}`);
  valued();
  slider.addEventListener("input", () => {
    shown.textContent = String(all[slider.value]);
    valued();
    openWith(name, all[slider.value], open);
  });
  return make("label", { class: "choice", for: `choice-${name}` }, `${data.choices[name]} `, slider, " ", shown);
}
