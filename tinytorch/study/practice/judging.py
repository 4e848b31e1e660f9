"""What is wrong with the answers to an exercise's questions, and which mistake it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ...mistakes import NONE, Array, Candidates
from ...repairs import Repair, explain
from .exercise import Exercise, Problem, Question
from .student import called

TOLERANCE = 1e-7  # of the largest number, in float64: what is left of it after some operations in another order

# Where to look, by the kind of a repair: what is said before the mistake itself is.
NUDGES = {
    "negated": "look at the signs",
    "transposed": "look at the order of the dimensions",
    "scale": "the direction is right, the size is not: look for a constant factor",
    "path": "count the ways in which {of} goes into the result",
    "reduction": "look at what the forward used more than once: what comes back from there is summed",
    "shifted": "look at where each number belongs",
    "swapped": "look at where each number belongs",
    "masked": "look at the entries that are masked",
    "cell": "all but one number is right: what is special about it?",
    "two mistakes": "there are two mistakes at once: do not trust the first one that you find",
    "zero": "something takes everything away",
    "shape": "look at the shapes on the way",
    "nonfinite": "look for a division by 0, a logarithm of 0, or an exponential of a large number",
}


class Wrong(NamedTuple):
    """An array that is not the right one, and what is known of that."""

    got: Array
    right: Array
    candidates: Candidates


def problems(exercise: Exercise, questions: list[Question], returned: list[tuple[Any, list[str]]]) -> list[Problem]:
    """What is wrong with what the student's function has returned; nothing where all of it is right."""
    wrong: dict[str, list[Wrong]] = {}
    for question, (value, changed) in zip(questions, returned, strict=True):
        if changed:
            return [Problem(f"{exercise.function} changes what it is given, {', '.join(changed)}: work on a copy")]
        if question.accepts is not None:
            problem = question.accepts(value)
            if problem is not None:
                return [problem]
            continue
        arrays = _arrays(exercise.function, value, question.answers)
        if isinstance(arrays, Problem):
            return [arrays]
        for name, right in question.answers.items():
            if not _equal(arrays[name], right):
                wrong.setdefault(name, []).append(Wrong(arrays[name], right, _candidates(question, name)))
    return [_problem(exercise, name, cases) for name, cases in wrong.items()]


def _candidates(question: Question, name: str) -> Candidates:
    """What is known of an answer, and that it may be another one."""
    known = question.candidates.get(name, NONE)
    others = {f"it is {n}, in the place of {name}": x for n, x in question.answers.items() if n != name}
    return replace(known, alternatives={**known.alternatives, **others})


def _arrays(function: str, value: Any, answers: Mapping[str, Array]) -> dict[str, Array] | Problem:
    """The arrays by name, or what there is in their place."""
    names = list(answers)
    expected = names[0] if len(names) == 1 else f"{len(names)} arrays, {', '.join(names)}"
    if value is None:
        return Problem(f"{function} returns None: it should end with `return {', '.join(names)}`")
    values = list(value) if isinstance(value, tuple) or (isinstance(value, list) and len(names) > 1) else [value]
    if len(values) != len(names):
        count = "one value" if len(values) == 1 else f"{len(values)} values"
        return Problem(f"{function} returns {count}, expected {expected}")
    arrays = {}
    for name, got in zip(names, values, strict=True):
        right = answers[name]
        if isinstance(got, (float, np.generic)) and not right.shape:
            got = np.asarray(got)
        if not isinstance(got, np.ndarray):
            return Problem(f"{name} is {called(got)}, expected a NumPy array of shape {right.shape}")
        if got.dtype != right.dtype:
            return Problem(f"{name} has the dtype {got.dtype}, expected {right.dtype}, as what came in has")
        arrays[name] = np.asarray(got)
    return arrays


def _equal(got: Array, right: Array) -> bool:
    return got.shape == right.shape and bool((np.abs(got - right) <= _allowed(right)).all())


def _allowed(right: Array) -> float:
    return TOLERANCE * (float(np.abs(right).max(initial=0)) + 1e-3)


def _problem(exercise: Exercise, name: str, cases: list[Wrong]) -> Problem:
    """Told by the first array that is wrong. A mistake must explain every one of them."""
    got, right, _ = cases[0]
    fact = _fact(name, got, right)
    found = [_repairs(case) for case in cases]
    kinds = set.intersection(*[{repair.kind for repair in repairs} for repairs in found])
    fitting = [repair for repair in found[0] if repair.kind in kinds]
    if not fitting:
        return Problem(fact, exercise.nudge, "no single mistake that is known gives these numbers")
    nudge = NUDGES.get(fitting[0].kind, exercise.nudge).format(of=name.removeprefix("d"))
    return Problem(fact, nudge, "; or: ".join([repair.text for repair in fitting]))


def _fact(name: str, got: Array, right: Array) -> str:
    """The worst element, or why there is none."""
    if got.shape != right.shape:
        return f"{name} has the wrong shape: it is {got.shape}, expected {right.shape}"
    odd = ~np.isfinite(got)
    if odd.any():
        first = tuple(np.argwhere(odd)[0])
        return f"{_element(name, first)} is {got[first]}: {odd.sum()} of {got.size} numbers are not finite"
    off = np.abs(got - right)
    worst = np.unravel_index(int(off.argmax()), off.shape)
    count = int((off > _allowed(right)).sum())
    return (
        f"{_element(name, worst)} is {got[worst]:.6g} and should be {right[worst]:.6g}, off by {off[worst]:.3g}: "
        f"the worst of {count} that are wrong, of {got.size}"
    )


def _element(name: str, index: Any) -> str:
    return name + (f"[{','.join([str(int(i)) for i in index])}]" if len(index) else "")


def _repairs(case: Wrong) -> list[Repair]:
    got, right, candidates = case
    if got.shape == right.shape and not got.any():
        return [Repair("zero", "it is 0 everywhere")]
    for text, array in candidates.alternatives.items():  # numbers all alike: `explain` takes them for chance
        if got.shape == array.shape and np.ptp(array) == 0 and np.array_equal(got, array):
            return [Repair("alternative", text)]
    found = explain(got, right, candidates)
    few = Repair("digits", "it is right to a few digits only: something on the way has too little precision")
    return [few if repair.kind in ("right", "rounded") else repair for repair in found]
