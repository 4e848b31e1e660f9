"""PyTorch's own sample inputs (OpInfo), run with both libraries: values, dtypes, gradients; and its error inputs."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops.checks import TOLERANCE, array_of

pytestmark = [pytest.mark.oracle("torch", "expecttest"), pytest.mark.filterwarnings("ignore")]

# PyTorch's operations that lie in this project's field and are here, with their variants.
SCOPE = """
T __getitem__ __radd__ __rdiv__ __rmatmul__ __rmul__ __rpow__ __rsub__ abs add addmm all amax amin any argmax argmin
argsort bincount bitwise_and bitwise_not bitwise_or bitwise_xor bmm bmm.triton_optimized broadcast_to bucketize cat
ceil chunk clamp clamp_max clamp_min clone contiguous cos count_nonzero cumprod cumsum diag div.floor_rounding
div.no_rounding_mode div.trunc_rounding dot einsum eq erf exp expand expand_as expm1 flatten flip floor floor_divide
full_like gather ge gt histogram hstack index_add index_fill index_select isclose isfinite isinf isnan le lerp log
log10 log1p log2 log_softmax log_softmax.with_dtype logaddexp logical_and logical_not logical_or logical_xor logsumexp
lt mT masked_fill masked_select matmul max.binary max.reduction_no_dim max.reduction_with_dim maximum mean
meshgrid.list_of_tensors meshgrid.variadic_tensors min.binary min.reduction_no_dim min.reduction_with_dim minimum mm
movedim mul mv narrow ne neg nn.functional.batch_norm nn.functional.binary_cross_entropy
nn.functional.binary_cross_entropy_with_logits nn.functional.cosine_similarity nn.functional.cross_entropy
nn.functional.elu nn.functional.embedding nn.functional.gelu nn.functional.huber_loss nn.functional.kl_div
nn.functional.l1_loss nn.functional.layer_norm nn.functional.leaky_relu nn.functional.linear nn.functional.logsigmoid
nn.functional.mse_loss nn.functional.nll_loss nn.functional.normalize nn.functional.pad.circular
nn.functional.pad.constant nn.functional.pad.reflect nn.functional.pad.replicate nn.functional.pad.replicate_negative
nn.functional.relu nn.functional.rms_norm nn.functional.scaled_dot_product_attention nn.functional.silu
nn.functional.smooth_l1_loss nn.functional.softplus nonzero norm norm.fro norm.inf ones_like outer permute pow prod
reciprocal remainder repeat repeat_interleave reshape roll round round.decimals_0 round.decimals_3
round.decimals_neg_3 rsqrt scatter scatter_add searchsorted select sigmoid sign sin softmax softmax.with_dtype sort
split split.list_args sqrt square squeeze squeeze.multiple stack std std.unbiased sub sum t take_along_dim tanh tile
topk trace transpose tril triu true_divide trunc unbind unflatten unfold unique unsqueeze var var.unbiased view vstack
where zeros_like
""".split()  # noqa: SIM905

DTYPES = ["float64", "float16", "bfloat16", "int64", "bool"]

# Samples that we refuse, or do not compare, by variant and what tells them: the reason.
REFUSED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "nn.functional.batch_norm": (lambda s: s.input.ndim < 2, "a vector has no channels; PyTorch takes one of nothing"),
    "norm": (lambda s: 0 in s.args or s.kwargs.get("ord") == 0, "how many are not 0 has no gradient; zeros there"),
    "scatter": (lambda s: "reduce" in s.kwargs, "deprecated for scatter_reduce"),
    "unique": (lambda s: s.kwargs.get("dim") is not None, "slices cannot be compared"),
    "nn.functional.scaled_dot_product_attention": (lambda s: s.kwargs.get("dropout_p", 0) > 0, "draws other numbers"),
}
# Outputs that are places: any of several equal elements is right, so what stands there is compared, and gradients are
# where no elements are equal.
PLACES = {"topk": 1, "sort": 1, "argsort": 0}
# PyTorch's result requires grad, but its backward raises; ours is of zeros, as that of div(rounding_mode="floor").
NO_DERIVATIVE_THERE = {"floor_divide"}
# Error inputs that ours takes, or refuses with another class of exception.
OTHERWISE = {
    "pow": "takes two numbers, as add, sub, mul and div do in PyTorch too",
    "remainder": "takes two numbers, as add, sub, mul and div do in PyTorch too",
    "max.binary": "AttributeError for a number in place of the first tensor",
    "clamp_max": "AttributeError for a number in place of the first tensor",
    "clamp_min": "AttributeError for a number in place of the first tensor",
    "min.binary": "AttributeError for a number in place of the first tensor",
}


@functools.cache
def opinfos() -> dict[str, Any]:
    from torch.testing._internal.common_methods_invocations import op_db

    return {".".join(filter(None, (op.name, op.variant_test_name))): op for op in op_db}


def ours(op: Any) -> Callable[..., Any]:
    """The operation here: by its name, or, where PyTorch calls it in a function, that function with us for PyTorch."""
    function = op.op
    if isinstance(function, types.FunctionType) and function.__module__.startswith("torch.testing"):
        parts = function.__name__, function.__defaults__, function.__closure__
        return types.FunctionType(function.__code__, {**function.__globals__, "torch": tinytorch}, *parts)
    given = function.keywords if isinstance(function, functools.partial) else {}
    found: Any = tinytorch if op.name != "unfold" else tinytorch.Tensor  # tinytorch.unfold is another thing
    for part in {"__rdiv__": "__rtruediv__"}.get(op.name, op.name).split("."):
        found = getattr(found, part, None) or getattr(tinytorch.Tensor, part)
    return lambda *args, **params: found(*args, **given, **params)


def converted(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        array = np.array(array_of(value))
        if value.dtype == torch.bfloat16:
            array = array.astype(tinytorch.bfloat16)
        return tinytorch.from_numpy(array).requires_grad_(value.requires_grad)
    if isinstance(value, torch.dtype):
        return getattr(tinytorch, str(value).removeprefix("torch."))
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (list, tuple)):
        return type(value)(converted(v) for v in value)
    return {key: converted(v) for key, v in value.items()} if isinstance(value, dict) else value


def flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from flat(v)
    elif isinstance(value, dict):
        yield from flat(list(value.values()))
    else:
        yield value


def differentiable(value: Any) -> list[Any]:
    return [v for v in flat(value) if getattr(v, "requires_grad", False)]


def described(sample: Any) -> str:
    parts = [tuple(v.shape) if hasattr(v, "shape") else v for v in flat([sample.input, sample.args])]
    return f"{parts} {sample.kwargs}"


def assert_same(actual: Any, expected: Any, what: str) -> None:
    """Shapes, dtypes and values, up to a part of the largest."""
    assert f"torch.{actual.dtype}" == str(expected.dtype), f"{what}: {actual.dtype}, PyTorch's {expected.dtype}"
    a, b = actual.detach().numpy(), array_of(expected)
    assert a.shape == b.shape, f"{what}: shape {a.shape}, PyTorch's {b.shape}"
    tolerance = TOLERANCE.get(str(actual.dtype), 0)
    a, b = a.astype(np.float64), b.astype(np.float64)
    scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def in_float64(value: Any) -> Any:
    """PyTorch's tensors of two bytes in float64, as leaves of their own."""
    if hasattr(value, "dtype") and value.is_floating_point() and value.itemsize == 2:
        return value.detach().double().requires_grad_(value.requires_grad)
    if isinstance(value, (list, tuple)):
        return type(value)(in_float64(v) for v in value)
    return {key: in_float64(v) for key, v in value.items()} if isinstance(value, dict) else value


def check_sample(name: str, op: Any, sample: Any, exact: bool = False) -> None:
    """Outputs and gradients are PyTorch's; where `exact`, what it computes in float64, rounded to the dtype."""
    import torch

    arguments = converted((sample.input, sample.args, sample.kwargs))
    their_arguments = (sample.input, sample.args, sample.kwargs)
    their_arguments = in_float64(their_arguments) if exact else their_arguments
    theirs = list(flat(op.op(their_arguments[0], *their_arguments[1], **their_arguments[2])))
    found = list(flat(ours(op)(arguments[0], *arguments[1], **arguments[2])))
    assert len(found) == len(theirs), f"{len(found)} outputs, PyTorch has {len(theirs)}"
    for i, (y, z) in enumerate(zip(found, theirs, strict=True)):
        if PLACES.get(name) == i and sample.input.ndim:
            dim = sample.kwargs.get("dim", sample.args[name == "topk"] if len(sample.args) > (name == "topk") else -1)
            y, z = (t.take_along_dim(x.detach(), at, dim) for t, x, at in _pick(arguments[0], y, their_arguments[0], z))
        assert_same(y, z.to(getattr(torch, str(y.dtype))) if exact else z, f"output {i}")
        assert y.requires_grad == z.requires_grad or PLACES.get(name) == i, f"output {i} requires_grad"
    pairs = [(y, z) for y, z in zip(found, theirs, strict=True) if z.requires_grad]
    inputs, their_inputs = differentiable(arguments), differentiable(their_arguments)
    some_are_equal = name in PLACES and len(sample.input.unique()) < sample.input.numel()
    if not pairs or some_are_equal or name in NO_DERIVATIVE_THERE:
        return
    rng = np.random.default_rng(0)
    cotangents = [np.asarray(rng.standard_normal(tuple(z.shape))) for _, z in pairs]
    their_seeds = [torch.from_numpy(c).to(z.dtype) for c, (_, z) in zip(cotangents, pairs, strict=True)]
    seeds = [tinytorch.from_numpy(c).to(y.dtype) for c, (y, _) in zip(cotangents, pairs, strict=True)]
    grads = tinytorch.autograd.grad([y for y, _ in pairs], inputs, seeds, materialize_grads=True)
    expected = torch.autograd.grad([z for _, z in pairs], their_inputs, their_seeds, materialize_grads=True)
    for i, (g, h) in enumerate(zip(grads, expected, strict=True)):
        assert_same(g, h.to(getattr(torch, str(g.dtype))) if exact else h, f"gradient {i}")


def _pick(x: Any, at: Any, their_x: Any, their_at: Any) -> Any:
    import torch

    return (tinytorch, x, at), (torch, their_x, their_at)


@pytest.mark.parametrize("name", SCOPE)
def test_samples(name: str) -> None:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    op = opinfos()[name]
    refused = REFUSED.get(name, (lambda s: False, ""))[0]
    count = 0
    for dtype in (getattr(torch, d) for d in DTYPES if getattr(torch, d) in op.supported_dtypes("cpu")):
        torch.manual_seed(0)
        requires_grad = dtype.is_floating_point and op.supports_autograd
        with sdpa_kernel(SDPBackend.MATH):
            # Not op.sample_inputs(), which looks at the whole call stack for each sample.
            for sample in op.sample_inputs_func(op, "cpu", dtype, requires_grad):
                if not refused(sample):
                    count += 1
                    try:
                        check_sample(name, op, sample)
                    except Exception as error:
                        if dtype.itemsize == 2 and dtype.is_floating_point:  # some of PyTorch's sums are in two bytes
                            check_sample(name, op, sample, exact=True)
                            continue
                        raise AssertionError(f"{name}, {dtype}: {described(sample)}: {error}") from error
    assert count


def refused_by_pytorch(op: Any) -> Iterator[tuple[Any, Exception]]:
    """Error inputs of what ours has: not out=, complex numbers, or more dimensions than NumPy's 64."""
    import torch

    for error_input in op.error_inputs_func(op, "cpu"):
        sample = error_input.sample_input
        values = list(flat([sample.input, sample.args, sample.kwargs]))
        complex_or_deep = any(isinstance(v, torch.Tensor) and (v.is_complex() or v.ndim > 64) for v in values)
        if "out" in sample.kwargs or complex_or_deep or any(isinstance(v, complex) for v in values):
            continue
        if op.name.startswith("__r") and not isinstance(sample.input, torch.Tensor):
            continue  # a method of no tensor
        try:
            op.op(sample.input, *sample.args, **sample.kwargs)
        except Exception as error:
            yield sample, error


@pytest.mark.parametrize("name", SCOPE)
def test_errors(name: str) -> None:
    op = opinfos()[name]
    if op.error_inputs_func is None:
        return
    unlike = []
    for sample, error in refused_by_pytorch(op):
        arguments = converted((sample.input, sample.args, sample.kwargs))
        expected = RuntimeError if isinstance(error, NotImplementedError) else type(error)
        try:
            found = ours(op)(arguments[0], *arguments[1], **arguments[2])
        except Exception as refused:
            found = refused
        if not isinstance(found, expected):
            unlike.append(f"{described(sample)}: {found!r}; PyTorch: {error!r}")
    assert bool(unlike) == (name in OTHERWISE), unlike
