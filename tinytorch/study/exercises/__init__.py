"""The exercises, one file each, in the order of a course; and those of a teacher's folder, which come after them."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from ...cli.errors import UserError
from ...cli.reading import reading
from ...mistakes import Candidates, all_mistakes
from ..practice.exercise import Exercise, Problem, Question, gradients, sizes

# What a file of exercises is written with, too.
__all__ = ["Candidates", "Exercise", "Problem", "Question", "find", "gradients", "names", "sizes", "verify"]

ORDER = (
    "add", "mul", "matmul", "broadcast_sum", "exp", "softmax", "log_softmax", "cross_entropy", "gelu", "layernorm",
    "embedding", "attention", "causal_mask", "multi_head", "residual", "lora_layer", "adamw", "topological_order",
    "batchnorm", "tiled_attention",
)  # fmt: skip


def names(folder: Path | None = None) -> list[str]:
    """All exercises in order; those of a folder in the order of the alphabet."""
    if folder is None:
        return list(ORDER)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of exercises")
    own = sorted([path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")])
    for name in own:
        if name in (*ORDER, "check"):  # which is a word of the command
            raise UserError(f"{folder / name}.py: the name {name} is taken already; rename the file")
    return [*ORDER, *own]


def find(name: str, folder: Path | None = None) -> Exercise:
    """The exercise of that name; UserError where there is none, or where a teacher's file is not one."""
    known = names(folder)
    if name not in known:
        alike = difflib.get_close_matches(Path(name).stem.lower(), known, 1)
        meant = f"did you mean {alike[0]}? There are" if alike else "take one of"
        raise UserError(f"there is no exercise {name!r}: {meant} {', '.join(known)}")
    if name in ORDER:
        return _described(importlib.import_module(f"{__name__}.{name}"), name)
    assert folder is not None
    path = folder / f"{name}.py"
    with reading(path, "see docs/exercises.md"):
        spec = importlib.util.spec_from_file_location(f"{__name__}.of_a_folder.{name}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        exercise = _described(module, name)
        verify(exercise)
    return exercise


def verify(exercise: Exercise) -> None:
    """ValueError unless what an exercise says of its questions fits its answers."""
    for question in exercise.questions():
        if not question.answers and question.accepts is None:
            raise ValueError("a question has neither answers nor `accepts`")
        if set(question.candidates) - set(question.answers):
            raise ValueError(f"candidates for {', '.join(question.candidates)}, answers {', '.join(question.answers)}")
        for name, right in question.answers.items():
            if not np.isfinite(right).all() or not right.any():
                raise ValueError(f"the right {name} is 0 everywhere, or not finite: it tells nothing")
            if name in question.candidates:
                all_mistakes(right, question.candidates[name])


def _described(module: ModuleType, name: str) -> Exercise:
    """The exercise of a file, with the docstring of that file."""
    exercise = getattr(module, "EXERCISE", None)
    title, _, text = inspect.cleandoc(module.__doc__ or "").partition("\n\n")
    if not isinstance(exercise, Exercise) or not text:
        raise ValueError("it needs a docstring, of a title and a text below it, and EXERCISE = Exercise(...)")
    return replace(exercise, name=name, title=" ".join(title.split()), text=text)
