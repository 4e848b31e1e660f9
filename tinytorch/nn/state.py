"""Comparing a module's state with one to load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..creation import from_numpy
from ..tensor import Tensor
from .parameter import Parameter


class IncompatibleKeys(NamedTuple):
    """Names that `load_state_dict` found only in the module, and only in the loaded dictionary."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def check_fit(owner: str, own: Mapping[str, Tensor], given: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """The names that only one side has. Raises RuntimeError that lists everything that prevents loading."""
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    errors = []
    if strict:
        for what, names in (("Missing", missing), ("Unexpected", unexpected)):
            if names:
                errors.append(f"{what} key(s) in state_dict: " + ", ".join(f'"{name}"' for name in names) + ".")
    for name, tensor in own.items():
        value = given.get(name, tensor)
        if not isinstance(value, (Tensor, np.ndarray)):
            errors.append(f"{name}: expected a Tensor or ndarray, got {type(value).__name__}.")
        elif tuple(value.shape) != tuple(tensor.shape):
            errors.append(
                f"size mismatch for {name}: copying a param with shape {tuple(value.shape)} from checkpoint, "
                f"the shape in current model is {tuple(tensor.shape)}."
            )
        elif name in given and not tensor.array.flags.writeable:
            errors.append(f"{name}: the model's tensor lies in read-only memory and cannot be loaded into: clone() it.")
    if errors:
        raise RuntimeError(f"Error(s) in loading state_dict for {owner}:\n\t" + "\n\t".join(errors))
    return IncompatibleKeys(missing, unexpected)


def replacement(value: Tensor | np.ndarray[Any, Any], present: Tensor) -> Tensor:
    """A loaded value as a member of a module: if it replaces a Parameter, a Parameter with the same
    requires_grad."""
    tensor = value if isinstance(value, Tensor) else from_numpy(value)
    if not isinstance(present, Parameter):
        return tensor
    if not isinstance(tensor, Parameter):
        return Parameter(tensor, present.requires_grad)
    return tensor.requires_grad_(present.requires_grad)
