"""What an exercise consists of, and what a file of exercises is written with: `Exercise`, `gradients`, `sizes`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinytorch as torch

from ...mistakes import NONE, Array, Candidates

SEEDS = (0, 1, 2)  # of the questions that an answer must be right for


class Problem(NamedTuple):
    """What is wrong: `fact` is told at once, `nudge` at the first try, `mistake` from the second on.

    Only what has a nudge counts as a try: a wrong dtype or a missing return is told, and costs nothing.
    """

    fact: str
    nudge: str = ""
    mistake: str = ""


@dataclass(frozen=True)
class Question:
    """What the student's function is called with, by name and in order, and what it should return.

    answers: the right arrays by name, in order. candidates: what is known of each, for hints. accepts: where more than
    one answer is right, it judges what was returned in place of a comparison; None says that it is right.
    """

    arguments: Mapping[str, Any]
    answers: Mapping[str, Array] = field(default_factory=dict)
    candidates: Mapping[str, Candidates] = field(default_factory=dict)
    accepts: Callable[[Any], Problem | None] | None = None


@dataclass(frozen=True)
class Exercise:
    """An exercise. The docstring of its file is what the student reads: a title, an empty line, the text.

    question: draws one; it is asked several, of other sizes and numbers. nudge: where to look, said at the first wrong
    try when the mistake is none of a general kind. solution: the library's own classes or functions. function: what the
    student's is called.
    """

    question: Callable[[np.random.Generator], Question]
    nudge: str
    solution: Sequence[Any]
    function: str = "backward"
    name: str = ""  # of its file
    title: str = ""
    text: str = ""

    def questions(self) -> list[Question]:
        """The same ones each time."""
        return [self.question(np.random.default_rng(seed)) for seed in SEEDS]

    @property
    def signature(self) -> str:
        """backward(x, g)"""
        return f"{self.function}({', '.join(self.questions()[0].arguments)})"

    def file(self, check: str = "") -> str:
        """The file to fill in; `check` is the command that checks it, if that is another than usual."""
        check = check or command("check", f"{self.name}.py")
        said = f"{self.title}\n\n{self.text}\n\nCheck it with: {check}\n"
        raw = "r" * ("\\" in said)  # as in a formula
        return (
            f'{raw}"""{said}"""\n\n'
            f"import numpy as np\n\n\ndef {self.signature}:\n"
            "    raise NotImplementedError  # write your code in place of this line\n"
        )


def command(*words: str, folder: Path | None = None) -> str:
    """A command line of exercises, for a student to copy; `folder` is the teacher's, if there is one."""
    given = [] if folder is None else ["--folder", str(folder)]
    return shlex.join(["python", "-m", "tinytorch.study", "exercise", *words, *given])


def sizes(rng: np.random.Generator, count: int) -> list[int]:
    """So many sizes from 3 to 7, no two the same: what is transposed or summed over the wrong dimension shows."""
    return [int(size) for size in 3 + rng.permutation(5)[:count]]


def gradients(
    forward: Callable[..., Any],
    inputs: Mapping[str, Any],
    g: Array,
    candidates: Mapping[str, Candidates] | None = None,
    *,
    frozen: Sequence[str] = (),
) -> Question:
    """A question for a backward: the inputs and g go in, and the gradients of the inputs are to come out.

    forward takes the inputs in order, as Tensors, and returns one. Gradients are asked of all that are arrays of floats
    and not `frozen`, and named "dx" for "x". Known for each without being said: that g or the derivative is left out.
    """
    candidates = candidates or {}
    asked = [n for n, x in inputs.items() if isinstance(x, np.ndarray) and x.dtype.kind == "f" and n not in frozen]
    tensors = {n: torch.tensor(x) if isinstance(x, np.ndarray) else x for n, x in inputs.items()}
    for name in asked:
        tensors[name].requires_grad_()
    y = forward(*tensors.values())
    if tuple(y.shape) != g.shape:
        raise ValueError(f"forward gives {tuple(y.shape)}, but g has the shape {g.shape}")

    def backward(g: Array) -> dict[str, Array]:
        found = torch.autograd.grad(y, [tensors[n] for n in asked], torch.tensor(g), retain_graph=True)
        return {f"d{n}": d.numpy() for n, d in zip(asked, found, strict=True)}

    answers, of_ones = backward(g), backward(np.ones_like(g))
    known = {}
    for name, right in answers.items():
        given = candidates.get(name, NONE)
        more = {"the gradient that comes in, g, is left out": of_ones[name]}
        if g.shape == right.shape:
            more["the derivative is left out: it is g as it came"] = g
        known[name] = replace(given, alternatives={**given.alternatives, **more})
    return Question({**inputs, "g": g}, answers, known)
