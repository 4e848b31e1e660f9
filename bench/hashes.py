"""Hashes of the results of some work: commits that compute the same bits on one machine have the same hashes.

Hashed are all parameters after 20 steps of P2, P3 and P7, and the tokens of P9: each with compiled functions, as
programs run it, and as written, which must agree. Each runs in a process of its own, without PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench import generate, lora
from bench.child import run as run_child
from bench.timing import OURS, Row, Sides
from bench.train import STEPS, model_and_step

SECTION = "hashes"
FORMS = ("compiled", "as written")
_STEPS = 20
_OF_TRAINING = {step.target: step for step in STEPS if step.target in ("P2", "P3")}


def run(sides: Sides, quick: bool) -> Iterator[Row]:
    """A row for each, in both forms; `quick` leaves out P7, which takes a minute."""
    for target, step in _OF_TRAINING.items():
        yield _row(target, f"{step}, parameters after {_STEPS} steps")
    yield _row("P9", "nano-cpu, greedy, tokens")
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            yield _row("P7", f"{lora.NAME}, parameters after {_STEPS} steps", str(lora.write_base(Path(folder))))


def _row(target: str, name: str, base: str = "") -> Row:
    calls = {form: f"from bench.hashes import child; child({target!r}, {form!r}, {base!r})" for form in FORMS}
    found = {form: run_child(call) for form, call in calls.items()}
    hashes = {form: answer["hash"] for form, answer in found.items()}
    return Row(SECTION, name, {OURS: found[FORMS[0]]["seconds"]}, {}, target, hashes=hashes)


def child(target: str, form: str, base: str) -> None:
    """In the child: do the work, print the hash and how long it took."""
    import tinytorch

    if form != FORMS[0]:
        tinytorch.compile = lambda function: function
    start = time.perf_counter()
    found = computed(target, Path(base))
    print(json.dumps({"hash": found, "seconds": time.perf_counter() - start}))


def computed(target: str, base: Path) -> str:
    """The hash of a target's result; `base` is the folder of P7's model."""
    import tinytorch

    if target == "P9":
        return digest({"tokens": generate.generation(OURS)()})
    tinytorch.manual_seed(0)
    if target == "P7":
        model, call = lora.model_and_step(base, "highest")
        call = tinytorch.compile(call)
    else:
        model, call = model_and_step(_OF_TRAINING[target], OURS)
    for _ in range(_STEPS):
        call()
    return digest(dict(model.named_parameters()))


def digest(tensors: dict[str, Any]) -> str:
    """A hash of the names, shapes, dtypes and bits of Tensors."""
    total = hashlib.sha256()
    for name, tensor in tensors.items():
        array: np.ndarray[Any, Any] = tensor.detach().numpy()
        total.update(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes())
    return total.hexdigest()[:16]
