"""A script written for PyTorch runs on tinytorch with its imports changed, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch

SCRIPT = Path(__file__).with_name("torch_idiom.txt")
IMPORTS = {
    "import torch\n": "import tinytorch as torch\n",
    "import torch.nn as nn\n": "import tinytorch.nn as nn\n",
    "from torch.nn import functional as F\n": "from tinytorch.nn import functional as F\n",
}


def run(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "torch_idiom"}
    exec(compile(source, str(SCRIPT), "exec", dont_inherit=True), names)
    return names


@pytest.fixture(autouse=True)
def same_number_of_threads() -> Iterator[None]:
    """The script sets it to 1."""
    threads = tinytorch.get_num_threads()
    yield
    tinytorch.set_num_threads(threads)


def on_tinytorch() -> dict[str, Any]:
    source = SCRIPT.read_text(encoding="utf-8")
    for line, replacement in IMPORTS.items():
        assert source.count(line) == 1
        source = source.replace(line, replacement)
    return run(source)


def check_that_it_learned(names: dict[str, Any]) -> None:
    history = names["history"]
    assert len(history) == 4
    assert history[0] == pytest.approx(math.log(len(names["chars"])), abs=0.3)
    assert history[-1] < history[0] - 0.5
    assert len(names["sample"]) == 41


def test_the_script_runs_on_tinytorch() -> None:
    names = on_tinytorch()
    assert names["torch"].__name__ == "tinytorch"
    check_that_it_learned(names)


@pytest.mark.oracle
def test_the_script_runs_on_torch_with_the_same_numbers() -> None:
    theirs, ours = run(SCRIPT.read_text(encoding="utf-8")), on_tinytorch()
    check_that_it_learned(theirs)
    assert list(theirs["weights"]) == list(ours["weights"])
    ours["model"].load_state_dict({name: ours["torch"].tensor(value) for name, value in theirs["weights"].items()})
    rng = np.random.default_rng(0)
    idx, targets = rng.integers(0, len(ours["chars"]), (2, 3, 16))
    targets[0, :4] = -1  # ignored
    results = []
    for names in (theirs, ours):
        torch, model = names["torch"], names["model"]
        model.zero_grad()
        logits, loss = model(torch.tensor(idx), torch.tensor(targets))
        loss.backward()
        grads = {name: p.grad.numpy() for name, p in model.named_parameters()}
        results.append((logits.detach().numpy(), loss.item(), grads))
    (logits, loss, grads), (our_logits, our_loss, our_grads) = results
    np.testing.assert_allclose(our_logits, logits, rtol=1e-4, atol=1e-4)
    assert our_loss == pytest.approx(loss, rel=1e-5)
    assert list(our_grads) == list(grads)
    for name, grad in grads.items():
        np.testing.assert_allclose(our_grads[name], grad, rtol=1e-3, atol=1e-5, err_msg=name)
