"""Every operation in tinytorch, found by itself, with every example it gives: see docs/operations.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tests.ops import checks
from tests.ops.checks import Example, Refused
from tests.ops.edges import REFUSED, at_edges
from tinytorch.compiled.arrays import NotTraceable
from tinytorch.engine.function import Function
from tinytorch.ops.activation import Silu
from tinytorch.ops.arithmetic import Neg
from tinytorch.ops.fused import FusedFunction

OPERATIONS = checks.operations()
ALL_EXAMPLES = [example for cls in OPERATIONS if vars(cls).get("examples") for example in checks.examples_of(cls)]
EXAMPLES = [example for example in ALL_EXAMPLES if checks.has_gradient(example.cls)]
WITHOUT_GRADIENT = [example for example in ALL_EXAMPLES if not checks.has_gradient(example.cls)]
ALL_EDGES = at_edges(ALL_EXAMPLES)
EDGES = at_edges(EXAMPLES)

ERRORS = [error for cls in OPERATIONS if vars(cls).get("errors") for error in checks.errors_of(cls)]

# What PyTorch does at the edges and we refuse, on purpose.
REFUSED_HERE = {
    **{(f"Attention-{i}", "no_4"): "a head of size 0 has no scale" for i in range(6)},
    ("Attention-3", "no_3"): "a mask of 3 rows does not fit 0 queries",
    ("Transpose-1", "0d"): "mT of a number is deprecated in PyTorch",
}

# Compiled functions call these as they are, so that their second derivatives cannot be traced.
LOOKS_AT_VALUES = {
    "BinaryCrossEntropy", "BinCount-0", "CumProd", "OneHot-1", "Prod", "QuantizedProduct", "SearchSorted-0",
    "SearchSorted-1", "Unique-0",
}  # fmt: skip

# What reads more than one element, but has no long sums.
NEVER_LONG = {
    "Cat": "an input given twice gets the sum of two gradients, which the walk adds",
    "CumProd": "products of thousands are 0 or infinite",
    "Prod": "a product of thousands is 0 or infinite: see test_reduction",
    "Rope": "turns pairs",
}

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.id)
every_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.id)
layouts = pytest.mark.parametrize("strided", [False, True], ids=["contiguous", "strided"])
two_bytes = pytest.mark.parametrize("dtype", [tinytorch.float16, tinytorch.bfloat16], ids=str)
maybe_long = pytest.mark.parametrize(
    "cls",
    [cls for cls in OPERATIONS if checks.has_gradient(cls) and cls.__name__ not in NEVER_LONG],
    ids=lambda cls: cls.__name__,
)
without_gradient = pytest.mark.parametrize("example", WITHOUT_GRADIENT, ids=lambda example: example.id)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def test_the_search_finds_operations() -> None:
    names = {cls.__name__ for cls in OPERATIONS}
    assert {"Add", "Triu", "Softmax", "SoftmaxBackward", "Attention", "Embedding"} <= names


@pytest.mark.parametrize("cls", OPERATIONS, ids=lambda cls: cls.__name__)
def test_has_examples_and_says_what_it_is(cls: Any) -> None:
    checks.examples_of(cls)
    assert cls.__doc__


@pytest.mark.parametrize("cls", OPERATIONS, ids=lambda cls: cls.__name__)
def test_an_example_runs_the_operation(cls: Any) -> None:
    checks.check_some_example_runs_it(cls)


@pytest.mark.parametrize("cls", OPERATIONS, ids=lambda cls: cls.__name__)
def test_states_what_it_refuses(cls: Any) -> None:
    checks.errors_of(cls)


@every_error
def test_refuses(error: Refused) -> None:
    checks.check_refused(error)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@every_error
def test_refuses_what_pytorch_refuses(error: Refused) -> None:
    checks.check_refused_by_pytorch(error)


@layouts
@every_example
def test_gradients(example: Example, strided: bool) -> None:
    checks.check_gradients(example, strided)


@layouts
@every_example
def test_second_derivatives(example: Example, strided: bool) -> None:
    checks.check_second_derivatives(example, strided)


@every_example
def test_float32_stays_float32(example: Example) -> None:
    checks.check_dtypes(example)


@two_bytes
@every_example
def test_two_bytes_stay_two_bytes(example: Example, dtype: Any) -> None:
    if example.id != "Prod-2":  # has a float32 constant
        checks.check_dtypes(example, dtype)


@maybe_long
def test_what_sums_is_asked_for_long_sums(cls: Any) -> None:
    checks.check_long_examples(cls)


@two_bytes
@maybe_long
def test_long_sums_in_two_bytes(cls: Any, dtype: Any) -> None:
    for example in checks.long_examples_of(cls):
        checks.check_long(example, dtype)


@pytest.mark.oracle
@two_bytes
@maybe_long
def test_long_sums_in_two_bytes_are_as_accurate_as_pytorchs(cls: Any, dtype: Any) -> None:
    for example in checks.long_examples_of(cls):
        checks.check_as_accurate_as_pytorch(example, example.positive_arrays(dtype), dtype)


@pytest.mark.oracle
@two_bytes
@every_example
def test_two_bytes_are_as_accurate_as_pytorchs(example: Example, dtype: Any) -> None:
    checks.check_as_accurate_as_pytorch(example, example.arrays(dtype), dtype)


@both_dtypes
@every_example
def test_compiled(example: Example, dtype: Any) -> None:
    checks.check_compiled(example, dtype, looks_at_values=bool(LOOKS_AT_VALUES & {example.cls.__name__, example.id}))


@every_example
def test_second_derivatives_compiled(example: Example) -> None:
    if LOOKS_AT_VALUES & {example.cls.__name__, example.id}:
        with pytest.raises(NotTraceable, match=f"second derivative of {example.cls.__name__}"):
            checks.check_compiled(example, np.float64, second=True)
    else:
        checks.check_compiled(example, np.float64, second=True)


@pytest.mark.oracle
@two_bytes
@every_example
def test_two_bytes_as_pytorch(example: Example, dtype: Any) -> None:
    # PyTorch rounds the statistics of layer_norm to two bytes, here they are float32.
    tolerance = 5e-2 if example.cls.__name__ == "LayerNorm" else None
    checks.compare_with_torch(example.call, example.arrays(dtype), tolerance=tolerance)


@pytest.mark.parametrize("example, edge", EDGES, ids=str)
def test_float32_stays_float32_at_the_edges(example: Example, edge: str) -> None:
    """Without dimensions, NumPy's operators return scalars, whose rules for dtypes differ."""
    call, inputs = example.call, checks.tensors(example.at(edge).arrays(np.float32))
    if (example.id, edge) in REFUSED:
        error, message = REFUSED[example.id, edge]
        with pytest.raises(error, match=message) as caught:
            call(tinytorch, *inputs)
        assert caught.type is error
    else:
        checks.check_dtypes(example.at(edge))


def test_what_is_refused_is_an_example() -> None:
    assert set(REFUSED) <= {(example.id, edge) for example, edge in ALL_EDGES}


@without_gradient
def test_what_has_no_gradient_is_not_recorded(example: Example) -> None:
    """Whatever the input requires; nor is it recorded that this was not."""
    for y in checks.listed(example.call(tinytorch, *checks.tensors(example.arrays(np.float32)))):
        assert (y.requires_grad, y.grad_fn) == (False, None)


@both_dtypes
@without_gradient
def test_what_has_no_gradient_compiled(example: Example, dtype: Any) -> None:
    checks.check_compiled(example, dtype, looks_at_values=example.id in LOOKS_AT_VALUES)


@pytest.mark.oracle
@both_dtypes
@without_gradient
def test_what_has_no_gradient_as_pytorch(example: Example, dtype: Any) -> None:
    checks.check_oracle(example, dtype)


@both_dtypes
@every_example
def test_unfold_changes_nothing(example: Example, dtype: Any) -> None:
    """Kernels and composite agree, also where the operation is a step inside another one."""
    checks.check_composite(example, dtype)


@every_example
def test_second_walk_raises_unless_retained(example: Example) -> None:
    checks.check_second_walk(example)


@every_example
def test_who_owns_a_gradient(example: Example) -> None:
    checks.check_shares(example)


@every_example
def test_only_what_is_saved_survives_the_forward(example: Example) -> None:
    checks.check_saves(example)


@pytest.mark.parametrize("example, edge", EDGES, ids=str)
def test_who_owns_a_gradient_at_the_edges(example: Example, edge: str) -> None:
    if (example.id, edge) not in REFUSED:
        checks.check_shares(example.at(edge))


@pytest.mark.parametrize("cls", [cls for cls in OPERATIONS if cls.backward_shares], ids=lambda cls: cls.__name__)
def test_what_says_that_it_shares_does(cls: Any) -> None:
    assert any(checks.check_shares(example) for example in checks.examples_of(cls))


@pytest.mark.oracle
@both_dtypes
@every_example
def test_as_pytorch(example: Example, dtype: Any) -> None:
    checks.check_oracle(example, dtype)


@pytest.mark.oracle
@pytest.mark.parametrize("example, edge", ALL_EDGES, ids=str)
def test_as_pytorch_at_the_edges(example: Example, edge: str) -> None:
    """Shapes without dimensions or elements: the same result, or both refuse."""
    import torch

    refused = (example.id, edge) in REFUSED
    example = example.at(edge)
    try:
        example.call(torch, *[torch.from_numpy(a) for a in example.arrays(np.float32)])
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        # PyTorch's gradients of nothing are cut off from the graph, ours are not.
        assert refused or "does not require grad" in str(error), f"PyTorch refuses this: {error}"
        return
    assert refused == ((example.id, edge) in REFUSED_HERE), "PyTorch computes this"
    if not refused:
        checks.check_oracle(example, np.float32, second=False)


@pytest.mark.parametrize("cls, kind", [(Neg, tinytorch.Tensor), (Silu, np.ndarray)], ids=["elementary", "fused"])
def test_a_backward_is_given_tensors_or_where_it_is_fused_arrays(cls: Any, kind: type) -> None:
    given: list[type] = []

    def backward(ctx: Any, g: Any) -> Any:
        given.append(type(g))
        return -g

    watched: Any = type("Watched", (cls,), {"backward": staticmethod(backward)})
    x = tinytorch.ones(3, requires_grad=True)
    (dx,) = tinytorch.autograd.grad(watched.apply(x).sum(), x)
    assert dx.tolist() == [-1, -1, -1] and given == [kind]


# ---------------------------------------------------------------------- these tests can fail


class _Holds(Function):
    """y = x, with x as an attribute"""

    examples = ((lambda t, x: _Holds.apply(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.inputs = (x,)
        return x.copy()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 1


class _Shares(Function):
    """y = x, whose backward returns what it is given, and does not say so"""

    examples = ((lambda t, x: _Shares.apply(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.copy()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g


class _WrongFactor(Function):
    """y = x^2, with half its derivative"""

    examples = ((lambda t, x: _WrongFactor.apply(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return g * x


class _Zeros(_WrongFactor):
    """y = x^2, without gradient"""

    examples = ((lambda t, x: _Zeros.apply(x), (3, 4)),)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 0


class _NotDifferentiable(_WrongFactor):
    """y = x^2, with a gradient cut off from the graph"""

    examples = ((lambda t, x: _NotDifferentiable.apply(x), (3, 4)),)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return g * (2 * x.detach())


class _IgnoresStrides(_WrongFactor):
    """y = x^2, read in the order of memory"""

    examples = ((lambda t, x: _IgnoresStrides.apply(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return (x * x).ravel(order="K").reshape(x.shape)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return g * (2 * x)


class _WideForward(_WrongFactor):
    """y = x^2 in float64"""

    examples = ((lambda t, x: _WideForward.apply(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return x * x * np.float64(1)


class _WideBackward(_WrongFactor):
    """y = x^2, with a float64 gradient, which the walk would cast in silence"""

    examples = ((lambda t, x: _WideBackward.apply(x), (3, 4)),)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return g.double() * (2 * x)


class _WrongComposite(FusedFunction):
    """y = x^2, but its composite is x^3"""

    examples = ((lambda t, x: _WrongComposite.apply(x), (3, 4)),)

    @staticmethod
    def composite(x: Any) -> Any:
        return x * x * x

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return g * 2 * x


class _StatesErrors(_WrongFactor):
    """Refuses one thing, and states others that it does not refuse, or not so"""

    examples = ((lambda t, x: x * x, (3, 4)),)
    errors = (
        (lambda t, x: x.sum(2), (3, 4), IndexError, "out of range"),
        (lambda t, x: x.sum(1), (3, 4), IndexError, "out of range"),
        (lambda t, x: x.sum(2), (3, 4), LookupError, "out of range"),
        (lambda t, x: x.sum(2), (3, 4), IndexError, "out of season"),
        (lambda t, x: x.sum(2), (3, 4), IndexError, "out of range", "PyTorch takes it for the last"),
    )


class _StatesNoErrors(_WrongFactor):
    """Has a condition, of which it says nothing"""

    @staticmethod
    def forward(ctx: Any, x: Any, dim: int) -> Any:
        return x


class _SumsInTwoBytes(_WrongFactor):
    """y = sum_i x_i, in the dtype of x"""

    examples = ((lambda t, x: _SumsInTwoBytes.apply(x), (3, 4)),)

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return np.add.reduce(x, axis=0)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g.expand(ctx.saved[0].shape)


class _ShortSums(_SumsInTwoBytes):
    """y = sum_i x_i of three, as the examples have it"""

    examples = ((lambda t, x: _ShortSums.apply(x[:3]), (3, 4)),)


class _Elsewhere(_WrongFactor):
    """Its example is of another operation"""

    examples = ((lambda t, x: x.exp(), (3, 4)),)


class _NoExamples(_WrongFactor):
    """Inherits those of its base"""


def _only(cls: Any) -> Example:
    (example,) = checks.examples_of(cls)
    return example


def test_an_array_that_is_not_saved_is_caught() -> None:
    with pytest.raises(AssertionError, match="_Holds-0 holds arrays"):
        checks.check_saves(_only(_Holds))


def test_a_shared_gradient_is_caught() -> None:
    with pytest.raises(AssertionError, match="backward shares memory"):
        checks.check_shares(_only(_Shares))


@pytest.mark.parametrize("cls", [_WrongFactor, _Zeros], ids=lambda cls: cls.__name__)
def test_a_wrong_backward_is_caught(cls: Any) -> None:
    with pytest.raises(RuntimeError, match="gradcheck: backward is wrong"):
        checks.check_gradients(_only(cls))


def test_a_backward_that_is_cut_off_is_caught_in_the_second_derivative() -> None:
    checks.check_gradients(_only(_NotDifferentiable))
    with pytest.raises(RuntimeError, match="gradgradcheck: backward is wrong"):
        checks.check_second_derivatives(_only(_NotDifferentiable))


def test_a_forward_that_ignores_strides_is_caught() -> None:
    checks.check_gradients(_only(_IgnoresStrides))
    with pytest.raises(RuntimeError, match="gradcheck: backward is wrong"):
        checks.check_gradients(_only(_IgnoresStrides), strided=True)


@pytest.mark.parametrize("cls", [_WideForward, _WideBackward], ids=lambda cls: cls.__name__)
def test_silent_widening_is_caught(cls: Any) -> None:
    with pytest.raises(AssertionError, match="float64"):
        checks.check_dtypes(_only(cls))


def test_a_wrong_composite_is_caught() -> None:
    with pytest.raises(AssertionError, match="value"):
        checks.check_composite(_only(_WrongComposite), np.float64)
    checks.check_gradients(_only(_WrongComposite))
    with pytest.raises(RuntimeError, match="gradgradcheck: backward is wrong"):
        checks.check_second_derivatives(_only(_WrongComposite))


def test_missing_examples_are_caught() -> None:
    with pytest.raises(AssertionError, match="_NoExamples has no examples"):
        checks.examples_of(_NoExamples)


def test_an_example_of_something_else_is_caught() -> None:
    with pytest.raises(AssertionError, match="no example of _Elsewhere runs it"):
        checks.check_some_example_runs_it(_Elsewhere)


def test_a_sum_in_two_bytes_is_caught() -> None:
    checks.check_long_examples(_SumsInTwoBytes)
    for dtype in (tinytorch.float16, tinytorch.bfloat16):
        with pytest.raises(AssertionError, match=r"_SumsInTwoBytes-0-long_3, .*: output 0 is off by"):
            for example in checks.long_examples_of(_SumsInTwoBytes):
                checks.check_long(example, dtype)


def test_a_sum_that_is_never_long_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"_ShortSums sums in \['forward'\]: give long_examples"):
        checks.check_long_examples(_ShortSums)


def test_errors_that_do_not_come_as_stated_are_caught() -> None:
    right, accepted, parent, other_words, _ = checks.errors_of(_StatesErrors)
    checks.check_refused(right)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        checks.check_refused(accepted)
    with pytest.raises(AssertionError, match="IndexError, which is a LookupError"):
        checks.check_refused(parent)
    with pytest.raises(AssertionError, match="season"):
        checks.check_refused(other_words)


@pytest.mark.oracle
def test_errors_that_pytorch_does_not_raise_as_stated_are_caught() -> None:
    right, accepted, _, _, unlike = checks.errors_of(_StatesErrors)
    checks.check_refused_by_pytorch(right)
    with pytest.raises(AssertionError, match="accepts this"):
        checks.check_refused_by_pytorch(accepted)
    with pytest.raises(AssertionError, match=r"raises IndexError.*stated: .*for the last"):
        checks.check_refused_by_pytorch(unlike)


def test_unstated_errors_are_caught() -> None:
    assert checks.errors_of(_WrongFactor) == []  # nothing to refuse
    with pytest.raises(AssertionError, match="_StatesNoErrors states no errors"):
        checks.errors_of(_StatesNoErrors)


def test_operations_are_found_below_other_operations() -> None:
    assert any(cls.__mro__[1] is not Function and cls.__mro__[1] is not FusedFunction for cls in OPERATIONS)


@pytest.mark.oracle
def test_a_difference_from_pytorch_is_caught() -> None:
    def call(t: Any, x: Any) -> Any:
        return x * x if t is not tinytorch else _Zeros.apply(x)

    with pytest.raises(AssertionError, match="gradient of input 0"):
        checks.compare_with_torch(call, [np.ones(3)])
