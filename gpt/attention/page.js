"use strict";
// Whatever a text consists of arrives in the page as text, never as markup.

(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const T = data.ids.length;
  const bytes = Uint8Array.from(atob(data.weights), (c) => c.charCodeAt(0));
  const mostLoss = Math.log(data.vocabulary.length); // of a guess among all characters

  // How much of what a head hands to position t comes from position s, which is not ahead of t.
  function weight(layer, head, t, s) {
    const at = 2 * ((layer * data.heads + head) * ((T * (T + 1)) / 2) + (t * (t + 1)) / 2 + s);
    return (bytes[at] + 256 * bytes[at + 1]) / 65535;
  }

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const percent = (x) => `${(100 * x).toFixed(1)}%`;
  const mark = (s) => data.vocabulary[data.ids[s]][0];
  const spoken = (s) => data.vocabulary[data.ids[s]][1];
  const isLineFeed = (s) => spoken(s) === "line feed";
  const place = (s) => `${spoken(s)} (${s + 1})`;
  const neighbors = (id) => data.nearest[id].map(([other, cosine]) => `${data.vocabulary[other][1]} ${cosine.toFixed(2)}`).join(", ");

  // The characters one after another; lines end where those of the text do.
  function fill(box, makeOne) {
    const spans = [];
    for (let s = 0; s < T; s++) {
      spans.push(makeOne(s));
      box.append(spans[s]);
      if (isLineFeed(s)) box.append(document.createElement("br"));
    }
    return spans;
  }

  function option(s) {
    const span = make("span", { role: "option", "aria-selected": "false", "aria-label": place(s), tabindex: -1 }, mark(s));
    if (s > 0) span.style.setProperty("--strength", `${100 * Math.min(1, data.losses[s] / mostLoss)}%`);
    span.addEventListener("pointerover", () => choose(s));
    span.addEventListener("focus", () => choose(s));
    return span;
  }

  const text = fill(byId("text"), option);

  const panels = [];
  for (let layer = 0; layer < data.layers; layer++) {
    const row = make("div", { class: "heads" });
    for (let head = 0; head < data.heads; head++) {
      const most = make("span");
      const box = make("div", { class: "cells", "aria-hidden": "true" }); // the caption says it
      const cells = fill(box, (s) => make("span", {}, mark(s)));
      row.append(make("figure", {}, make("figcaption", {}, make("b", {}, `Head ${head + 1}`), most), box));
      panels.push({ layer, head, most, cells });
    }
    byId("heads").append(make("h3", {}, `Layer ${layer + 1}`), row);
  }

  const rows = data.vocabulary.map(([, name], id) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, neighbors(id))));
  byId("nearest").append(...rows);
  byId("scale").textContent = `it is full at ${mostLoss.toFixed(2)} nats, which guessing among ${data.vocabulary.length} characters costs.`;

  function show(panel, t) {
    const weights = [];
    for (let s = 0; s < T; s++) {
      const cell = panel.cells[s];
      cell.className = s > t ? "ahead" : s === t ? "now" : "";
      cell.title = "";
      if (s > t) continue;
      weights.push(weight(panel.layer, panel.head, t, s));
      cell.style.setProperty("--strength", `${100 * Math.sqrt(weights[s])}%`);
      cell.title = `${place(s)}: ${percent(weights[s])}`;
    }
    const order = weights.map((_, s) => s).sort((a, b) => weights[b] - weights[a]);
    panel.most.textContent = order.slice(0, 3).map((s) => `${place(s)} ${percent(weights[s])}`).join(", ");
  }

  let chosen = -1;

  function choose(t) {
    if (t === chosen) return;
    if (chosen >= 0) {
      text[chosen].setAttribute("aria-selected", "false");
      text[chosen].tabIndex = -1;
      rows[data.ids[chosen]].className = "";
    }
    chosen = t;
    text[t].setAttribute("aria-selected", "true");
    text[t].tabIndex = 0;
    rows[data.ids[t]].className = "now";
    for (const panel of panels) show(panel, t);
    const loss = data.losses[t];
    const cost = loss === null ? "nothing before it foretells it" : `the model gave it ${percent(Math.exp(-loss))}, a loss of ${loss.toFixed(3)} nats`;
    byId("reading").textContent = `${spoken(t)}, character ${t + 1} of ${T}: ${cost}. Nearest: ${neighbors(data.ids[t])}.`;
  }

  byId("text").addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const to = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, Home: 0, End: T - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    text[Math.min(Math.max(to, 0), T - 1)].focus();
  });

  choose(T - 1);
})();
