// The positions that one walks through: each step forward, then each step backward, as the engine went.

export function positionsOf(trace) {
  return [
    ...trace.steps.map((_, step) => ({ phase: "forward", step })),
    ...trace.walk.map((step) => ({ phase: "backward", step })),
  ];
}

export function hashOf({ phase, step }) {
  return `#step-${step + 1}-${phase}`;
}

// The position that a link names; -1 where it names none.
export function positionNamed(hash, positions) {
  return positions.findIndex((position) => hashOf(position) === hash);
}

// The same step in the other direction, or the nearest that has one.
export function turned(position, phase, positions) {
  const there = positions.findIndex((other) => other.phase === phase && other.step === position.step);
  if (there >= 0) return there;
  return positions.findIndex((other) => other.phase === phase && (phase === "forward" || other.step <= position.step));
}
