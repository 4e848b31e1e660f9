// What the page was given: JSON, in which NaN and infinities are strings.

export function decoded(thing) {
  const traces = thing.variants.map((variant) => variant.trace);
  traces.forEach(decodeTrace);
  return thing;
}

export function decodeTrace(trace) {
  for (const value of trace.values) {
    value.data = value.data.map(Number);
    value.gradient = value.gradient && value.gradient.map(Number);
  }
  for (const step of trace.steps) {
    step.sent = step.sent.map((data, n) => (data === true ? trace.values[step.inputs[n]].gradient : data && data.map(Number)));
    for (const [name, x] of Object.entries(step.settings)) {
      if (["NaN", "Infinity", "-Infinity"].includes(x)) step.settings[name] = Number(x);
    }
  }
  for (const root of trace.roots) root.gradient = root.gradient.map(Number);
  return trace;
}
