"""Folders of adapters and models change as one, whatever happens while they are written."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lora import Llama, LoraConfig, add_adapter, load_adapter, save_adapter
from tests.faults import Killed, full_from, killed_at
from tests.lora.adapters.test_attached import logits
from tests.lora.model.test_llama import make
from tinytorch.cli.errors import UserError
from tinytorch.safetensors import SafetensorError

Save, Load = Callable[[Path], None], Callable[[Path], Any]


def adapter(alpha: float, value: float) -> tuple[Save, Any]:
    """How to save an adapter of that scaling whose B is filled with the value, and what a model with it computes."""
    model = add_adapter(make(), LoraConfig(r=2, lora_alpha=alpha, target_modules=["q_proj"]))
    for name, parameter in model.named_parameters():
        if name.endswith("lora_B"):
            parameter.data[...] = value
    return (lambda folder: save_adapter(model, folder)), logits(model)


def whole(theta: float, value: float) -> tuple[Save, Any]:
    """The same of a model, whose configuration gives theta."""
    model = make(rope_theta=theta)
    model.model.norm.weight.data[...] = value
    return model.save_pretrained, logits(model)


def with_adapter(folder: Path) -> Any:
    return logits(load_adapter(make(), folder))


def as_model(folder: Path) -> Any:
    return logits(Llama.from_pretrained(folder))


CASES = {
    "adapter, other configuration": (with_adapter, adapter(64.0, 0.5), adapter(8.0, 0.25)),
    "adapter, same configuration": (with_adapter, adapter(8.0, 0.5), adapter(8.0, 0.25)),
    "model, other configuration": (as_model, whole(1e4, 0.5), whole(1e2, 0.25)),
    "model, same configuration": (as_model, whole(1e4, 0.5), whole(1e4, 0.25)),
}


@pytest.mark.parametrize("case", CASES)
def test_killed_at_any_call_the_folder_is_old_or_new_or_says_so(case: str, tmp_path: Path) -> None:
    load, (save_old, old), (save_new, new) = CASES[case]
    seen = []
    for number in count():
        folder = tmp_path / str(number)
        save_old(folder)
        try:
            with killed_at(number):
                save_new(folder)
            break
        except Killed:
            pass
        try:
            found = load(folder)
            assert np.array_equal(found, old) or np.array_equal(found, new)
            seen.append("old" if np.array_equal(found, old) else "new")
        except UserError as error:
            assert "has no" in str(error) and "config.json" in str(error)
            seen.append("none")
        save_new(folder)
        np.testing.assert_array_equal(load(folder), new)
    np.testing.assert_array_equal(load(folder), new)
    assert seen == sorted(seen, key=["old", "none", "new"].index)
    assert ("none" in seen) == ("other" in case)
    assert len(seen) > 8


@pytest.mark.parametrize("case", CASES)
def test_a_disk_that_fills_up_at_any_call_leaves_no_mixture(case: str, tmp_path: Path) -> None:
    load, (save_old, old), (save_new, new) = CASES[case]
    for number in count():
        folder = tmp_path / str(number)
        save_old(folder)
        names = {path.name for path in folder.iterdir()}
        try:
            with full_from(number):
                save_new(folder)
            break
        except UserError as error:
            assert "No space left on device" in str(error)
        assert {path.name for path in folder.iterdir()} <= names  # and no half of a file
        try:
            found = load(folder)
            assert np.array_equal(found, old) or np.array_equal(found, new)
        except (UserError, SafetensorError) as error:
            assert "other" in case and "has no" in str(error)
    assert number > 8
