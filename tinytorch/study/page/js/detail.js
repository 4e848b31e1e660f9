// The panel that says what one number is made of, lets it be changed, and in predict mode asks for it.

import { make } from "./dom.js";
import { factorText, longText } from "./format.js";

const SHOWN = 12; // terms of a sum

// Everything that the panel says of a number. `open` is false while the reader is to find it: names, but no numbers.
export function explanationBox(explanation, open) {
  const box = make("div", { class: "explanation" });
  const { label, number, sections, note, isSum } = explanation;
  box.append(make("p", { class: "headline" }, label, open ? ` = ${longText(number)}` : " = ?"));
  for (const section of sections) box.append(sectionBox(section, label, open, sections.length > 1 || !isSum));
  if (sections.length > 1 && isSum && open) {
    box.append(make("p", { class: "sum" }, `in all ${sections.map((section) => factorText(section.total)).join(" + ")} = ${longText(number)}`));
  }
  if (note) box.append(make("p", {}, note));
  return box;
}

function sectionBox(section, label, open, named) {
  const { step, terms, isSum } = section;
  const box = make("div", { class: "section" });
  if (named && label.startsWith("dL/")) box.append(make("p", { class: "through" }, `through ${step.name}`));
  if (section.also) return make("div", { class: "section" }, section.also);
  if (section.factored && open) {
    const { name, p, g, inner, total } = section.factored;
    box.append(make("p", { class: "sum" }, `= ${factorText(p)} × (${longText(g)} − ${factorText(inner)}) = ${longText(total)}`),
      make("p", { class: "from" }, `by p (g − Σ p g)${name === "p" ? "" : `, p being ${name}`}; or term by term:`));
  }
  if (isSum && terms.length) {
    const plain = terms.length === 1 && terms[0].factors.length === 1; // the number itself, as it came
    if (open && !plain) box.append(make("p", { class: "sum" }, `= ${terms.slice(0, SHOWN).map((term) => term.factors.map(factorText).join(" × ")).join(" + ")}${terms.length > SHOWN ? " + …" : ""}`));
    if (open && terms.length > 1) box.append(make("p", { class: "sum" }, `= ${longText(section.total)}`));
    const list = make("table", { class: "terms" });
    for (const term of terms.slice(0, SHOWN)) {
      list.append(make("tr", {}, make("td", {}, term.names.filter(Boolean).join(" × ")), make("td", {}, open ? longText(term.product) : "")));
    }
    box.append(list);
    if (terms.length > SHOWN) box.append(make("p", {}, `and ${terms.length - SHOWN} more terms`));
  } else if (terms.length) {
    if (open && section.spelled) box.append(make("p", { class: "sum" }, `= ${section.spelled.text(factorText)}`));
    box.append(make("p", { class: "from" }, `${step.title} of ${terms.slice(0, SHOWN).map((term) => (/^[-\d]/.test(term.names[0]) || !open ? term.names[0] : `${term.names[0]} = ${longText(term.factors[0])}`)).join(", ")}${terms.length > SHOWN ? " and more" : ""}`));
  }
  return box;
}

// A field for a number, with a button: submit(text) says what to answer, or nothing.
export function numberForm({ id, label, button, value, submit }) {
  const input = make("input", { id, type: "text", inputmode: "text", autocomplete: "off", spellcheck: "false", size: 12, value });
  const answer = make("p", { class: "answer", role: "status", id: `${id}-answer` });
  const form = make("form", { class: "number-form" }, make("label", { for: id }, label), input, make("button", { type: "submit" }, button), answer);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const said = submit(input.value);
    if (said) {
      answer.textContent = said.text;
      answer.className = `answer ${said.kind}`;
    }
  });
  return form;
}

