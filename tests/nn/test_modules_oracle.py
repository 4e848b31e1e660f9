"""Every module against PyTorch's: its arguments and defaults, and PyTorch's own samples of arguments and inputs."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import nn

pytestmark = pytest.mark.oracle

MODULES = [name for name in nn.__all__ if inspect.isclass(getattr(nn, name)) and name not in ("Module", "Parameter")]
# Arguments of PyTorch's that there are none of here.
LEFT_OUT = {
    "Embedding": {"max_norm", "norm_type", "scale_grad_by_freq", "sparse", "_weight", "_freeze"},
    "CrossEntropyLoss": {"size_average", "reduce"},  # deprecated, like those of the other losses
    "NLLLoss": {"size_average", "reduce"},
    "MSELoss": {"size_average", "reduce"},
    "L1Loss": {"size_average", "reduce"},
    "SmoothL1Loss": {"size_average", "reduce"},
    "KLDivLoss": {"size_average", "reduce"},
    "BCELoss": {"size_average", "reduce"},
    "BCEWithLogitsLoss": {"size_average", "reduce"},
}


# PyTorch has no samples of these.
WITHOUT_SAMPLES = ("Sequential", "ModuleList", "ModuleDict", "Identity", "Flatten", "Dropout")


def _arguments(kind: Any) -> dict[str, inspect.Parameter]:
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return {parameter.name: parameter for parameter in parameters if parameter.kind not in variable}


@pytest.mark.parametrize("name", MODULES)
def test_arguments(name: str) -> None:
    """The same names and defaults; and what is given by position means the same."""
    torch = importlib.import_module("torch")
    ours, theirs = _arguments(getattr(nn, name)), _arguments(getattr(torch.nn, name))
    assert set(theirs) - set(ours) == LEFT_OUT.get(name, set()) and not set(ours) - set(theirs)
    assert {key: argument.default for key, argument in ours.items()} == {key: theirs[key].default for key in ours}
    by_position = [key for key, argument in ours.items() if argument.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert by_position == list(theirs)[: len(by_position)]


def _converted(value: Any) -> Any:
    """PyTorch's tensors as ours."""
    torch = importlib.import_module("torch")
    if isinstance(value, torch.Tensor):
        return tinytorch.tensor(value.detach().numpy(), requires_grad=value.requires_grad)
    if isinstance(value, (list, tuple)):
        return type(value)([_converted(item) for item in value])
    if isinstance(value, dict):
        return {key: _converted(item) for key, item in value.items()}
    return value


def _compare(ours: Any, theirs: Any, what: str) -> None:
    assert (ours is None) == (theirs is None), what
    if theirs is not None:
        assert tuple(ours.shape) == tuple(theirs.shape) and str(ours.dtype) == str(theirs.dtype)[6:], what
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), 1e-10, 1e-12, err_msg=what)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", [name for name in MODULES if name not in WITHOUT_SAMPLES])
def test_samples(name: str, training: bool) -> None:
    """PyTorch's ModuleInfo: the output, the gradients of inputs and parameters, and the buffers afterwards."""
    torch = importlib.import_module("torch")
    common = importlib.import_module("torch.testing._internal.common_modules")
    (info,) = [info for info in common.module_db if info.module_cls is getattr(torch.nn, name)]
    count = 0
    samples = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True, training=training)
    for sample in samples:
        made, given = sample.constructor_input, sample.forward_input
        if given is None or set(made.kwargs) & LEFT_OUT.get(name, set()):
            continue
        what = f"{name} {sample.desc} {made.args} {made.kwargs}"
        torch.manual_seed(0)
        theirs = info.module_cls(*made.args, **made.kwargs).double().train(training)
        ours = getattr(nn, name)(*_converted(made.args), **_converted(made.kwargs)).double().train(training)
        state = {key: value.numpy() for key, value in theirs.state_dict().items()}
        ours.load_state_dict(state)
        # Some targets are computed: as what comes in they are data.
        their_args = [a.detach() if isinstance(a, torch.Tensor) and not a.is_leaf else a for a in given.args]
        for _ in range(2):
            args, kwargs = _converted(their_args), _converted(given.kwargs)
            output, expected = ours(*args, **kwargs), theirs(*their_args, **given.kwargs)
            _compare(output, expected, what)
            if not expected.requires_grad:
                continue
            cotangent = np.random.default_rng(0).normal(size=tuple(expected.shape))
            output.backward(tinytorch.tensor(cotangent)), expected.backward(torch.tensor(cotangent))
            for mine, other in zip(args, their_args, strict=True):
                if isinstance(other, torch.Tensor):
                    _compare(mine.grad, other.grad, what)
                    other.grad = None
        for (key, mine), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            _compare(mine.grad, other.grad, f"{what}: {key}")
        for (key, mine), (_, other) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
            _compare(mine, other, f"{what}: {key}")
        count += 1
    assert count
