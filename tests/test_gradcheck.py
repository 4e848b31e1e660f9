"""gradcheck finds what is wrong, says where, and does not cry wolf."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch.autograd import GradcheckError, KinkError, gradcheck, gradgradcheck
from tinytorch.engine.function import Function
from tinytorch.gradcheck import GradcheckInputError

modes = pytest.mark.parametrize("fast_mode", [False, True], ids=["slow", "fast"])


def tensor(*shape: int, seed: int = 0) -> Any:
    return tinytorch.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def of(*values: float) -> Any:
    return tinytorch.tensor(np.array(values), requires_grad=True)


def with_backward(derivative: Any) -> Any:
    """x^2 with a backward of one's choice: derivative(x, g)."""

    class Square(tinytorch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return derivative(ctx.saved_tensors[0], g)

    return Square.apply


RIGHT = with_backward(lambda x, g: 2 * x * g)


# ---------------------------------------------------------------------- what passes


@modes
@pytest.mark.parametrize(
    "func, inputs",
    [
        (RIGHT, tensor(3, 4)),
        (lambda x, w: (x @ w).softmax(-1), (tensor(3, 4), tensor(4, 2))),
        (lambda x: (x.exp(), x.sum(), x > 0, x.argmax(), "text", None), (tensor(3),)),  # others than floats are ignored
        (lambda x, n, flag: x**n if flag else x, (of(1.0, 2.0), 3, True)),
        (lambda x: x * 2, (tensor(0, 3),)),
        (lambda x: x.sum(), (tensor(0),)),
        (lambda x: x.exp(), (tensor(),)),
        (lambda x: x * x.T, (tensor(6, 6, 2).detach()[::2, 1::2, 1].T.requires_grad_(),)),  # strided
        (lambda x: x, (tensor(3),)),  # the output is the input
        (lambda x, y: x * y, (tensor(3),) * 2),  # the same tensor twice
        (lambda x, y: x * 2, (tensor(3), tensor(2))),  # an unused input has no gradient: 0
        (lambda x: (x * 2, x.detach()), (tensor(3),)),  # cut off on purpose
        (lambda x: x // 10, (of(1.0, 2.0),)),  # constant, and no output requires grad
        (lambda x: list(x.split(2)), (tensor(5),)),
        (lambda x, w: x @ w.to(tinytorch.float64), (tensor(2, 3), tinytorch.ones(3, 2, dtype=tinytorch.float32))),
    ],
)
def test_right_gradients_pass(func: Any, inputs: Any, fast_mode: bool) -> None:
    listed = inputs if isinstance(inputs, tuple) else (inputs,)
    before = [x.array.copy() if tinytorch.is_tensor(x) else x for x in listed]
    assert gradcheck(func, inputs, fast_mode=fast_mode) is True
    for x, old in zip(listed, before, strict=True):
        np.testing.assert_array_equal(x.array if tinytorch.is_tensor(x) else x, old)


@modes
def test_second_derivatives_pass(fast_mode: bool) -> None:
    inputs = (tensor(3, 4), tensor(4))
    assert gradgradcheck(lambda x, b: ((x + b).tanh(), x.exp()), inputs, fast_mode=fast_mode)
    assert gradgradcheck(RIGHT, tensor(3), tensor(3, seed=1), fast_mode=fast_mode)
    assert gradgradcheck(lambda x: (x * x).sum(0), tensor(3, 4), gen_non_contig_grad_outputs=True, fast_mode=fast_mode)


def test_parameters_that_the_function_reaches_by_itself() -> None:
    layer = tinytorch.nn.Linear(3, 2).double()
    x = tensor(4, 3)
    assert gradcheck(lambda *_: layer(x).tanh(), tuple(layer.parameters()))


def test_the_inputs_are_as_before_also_after_an_error() -> None:
    x = of(1.0, 2.0)

    def breaks(x: Any) -> Any:
        if x.array[0] != 1:
            raise ZeroDivisionError
        return x * 1

    with pytest.raises(ZeroDivisionError):
        gradcheck(breaks, x)
    assert x.tolist() == [1.0, 2.0]
    assert x.grad is None


# ---------------------------------------------------------------------- what is wrong


def test_the_report_names_the_worst_element() -> None:
    wrong = with_backward(lambda x, g: 2 * x * g + g * (x > 2.5) * 7)
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda n, x: wrong(x), (None, of(1.0, 2.0, 3.0)))
    assert str(caught.value).splitlines() == [
        "gradcheck: backward is wrong for input 1 (float64 (3,)): 1 of the 9 elements of its Jacobian are off.",
        "  the worst  d output 0[2] / d input 1[2], where input 1[2] = 3",
        "  analytic   13 (from backward)",
        "  numeric    6 (from differences, eps=1e-06)",
        "  off by     7, relative error 0.538; allowed 1e-05 + 0.001 * |numeric|",
        "Work this one element out by hand, at these inputs, forward and backward.",
    ]


def test_fast_mode_halves_its_way_to_an_element() -> None:
    mask = tinytorch.tensor(np.arange(1000.0) == 617).to(tinytorch.float64)
    wrong = with_backward(lambda x, g: 2 * x * g + 50 * g * mask)
    with pytest.raises(GradcheckError, match=r"d \(c \. outputs\) / d input 0\[617\]"):
        gradcheck(wrong, tensor(1000), fast_mode=True)


@modes
@pytest.mark.parametrize(
    "derivative, hint",
    [
        (lambda x, g: x * g * 0, "Backward gives 0"),
        (lambda x, g: None, "Backward gives 0"),
        (lambda x, g: x * g / 0, "NaN or infinity"),
    ],
)
def test_hints(derivative: Any, hint: str, fast_mode: bool) -> None:
    with pytest.raises(GradcheckError, match=hint):
        gradcheck(with_backward(derivative), of(1.0, 2.0), fast_mode=fast_mode)


def test_hints_of_a_sign_and_a_factor() -> None:
    with pytest.raises(GradcheckError, match="a sign is wrong"):
        gradcheck(with_backward(lambda x, g: -2 * x * g), tensor(3))
    with pytest.raises(GradcheckError, match=r"0\.5 times what it should be"):
        gradcheck(with_backward(lambda x, g: x * g), tensor(3))


@pytest.mark.parametrize(("gradient", "factor"), [(1e5, "5e+04"), (900.0, "450")])
def test_hint_of_a_gradient_that_is_far_too_large(gradient: float, factor: str) -> None:
    with pytest.raises(GradcheckError) as caught:
        gradcheck(with_backward(lambda x, g: gradient * x * g), tinytorch.tensor([1.0, 1.5]).double().requires_grad_())
    assert f"Each of them is {factor} times what it should be" in str(caught.value)


def test_a_bend_is_no_kink() -> None:
    """Between the slopes of both sides, but the gap between these closes as the steps shrink: simply wrong."""
    square = with_backward(lambda x, g: 2.005 * x * g)
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda x: 1e4 * square(x), tinytorch.tensor([1e-3]).double().requires_grad_())
    assert "kink" not in str(caught.value)


def test_hint_of_a_function_that_leaves_the_graph() -> None:
    with pytest.raises(GradcheckError, match="No output requires grad"):
        gradcheck(lambda x: x.detach() * 2, tensor(3))


@modes
def test_hint_of_a_gradient_where_there_is_none(fast_mode: bool) -> None:
    class Front(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x[:2] * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return tinytorch.cat([g, g])

    with pytest.raises(GradcheckError, match=r"input 0\[[23]\](.|\n)*The differences are 0, or next to it") as caught:
        gradcheck(Front.apply, tensor(4), fast_mode=fast_mode)
    assert "inf" not in str(caught.value)


# A fault alone, `f`, beside what is right: in which input it is, and where.
FAULTS: dict[str, tuple[int, Any]] = {
    "first input": (0, lambda f, x, y, z: f(x) + RIGHT(y) + RIGHT(z)),
    "second input": (1, lambda f, x, y, z: RIGHT(x) + f(y) + RIGHT(z)),
    "last input": (2, lambda f, x, y, z: RIGHT(x) + RIGHT(y) + f(z)),
    "first output": (0, lambda f, x, y, z: (f(x), RIGHT(y) * RIGHT(z))),
    "second output": (0, lambda f, x, y, z: (RIGHT(x), RIGHT(y) + f(x) + RIGHT(z))),
    "last input of the last output": (2, lambda f, x, y, z: (RIGHT(x), RIGHT(y), RIGHT(x) + f(z))),
}


@modes
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_beside_what_is_right(fault: str, fast_mode: bool) -> None:
    place, function = FAULTS[fault]
    inputs = tuple(tensor(3, seed=i) for i in range(3))
    wrong = with_backward(lambda x, g: 2.02 * x * g)
    with pytest.raises(GradcheckError, match=rf"gradcheck: backward is wrong for input {place} "):
        gradcheck(lambda *xs: function(wrong, *xs), inputs, fast_mode=fast_mode)
    cut = with_backward(lambda x, g: 2 * x.detach() * g)  # wrong in the second derivative alone
    assert gradcheck(lambda *xs: function(cut, *xs), inputs, fast_mode=fast_mode)
    with pytest.raises(GradcheckError, match=rf"gradgradcheck: backward is wrong for input {place} "):
        gradgradcheck(lambda *xs: function(cut, *xs), inputs, fast_mode=fast_mode)


def test_raise_exception_false_returns_false() -> None:
    assert gradcheck(with_backward(lambda x, g: x * g), tensor(3), raise_exception=False) is False
    assert gradgradcheck(with_backward(lambda x, g: 2 * x.detach() * g), tensor(3), raise_exception=False) is False


def test_a_transposed_gradient_is_caught() -> None:
    with pytest.raises(GradcheckError, match="4 of the 16 elements"):
        gradcheck(with_backward(lambda x, g: (2 * x * g).T), tensor(2, 2))


@modes
def test_a_backward_with_a_constant_second_derivative_of_zero_is_caught(fast_mode: bool) -> None:
    cut = with_backward(lambda x, g: 2 * x.detach() * g)
    assert gradcheck(cut, tensor(3), fast_mode=fast_mode)
    with pytest.raises(GradcheckError, match=r"gradgradcheck: backward is wrong for input 0"):
        gradgradcheck(cut, tensor(3), fast_mode=fast_mode)


@modes
def test_a_gradient_that_is_not_multiplied_by_its_cotangent(fast_mode: bool) -> None:
    with pytest.raises(GradcheckError, match=r"backward of a zero gradient is not zero .* up to 1"):
        gradcheck(with_backward(lambda x, g: 2 * x * g + 1), tensor(3), fast_mode=fast_mode)


def test_a_random_backward() -> None:
    noisy = with_backward(lambda x, g: 2 * x * g * (1 + 1e-9 * tinytorch.randn(3, dtype=tinytorch.float64)))
    with pytest.raises(GradcheckError, match="backward is not deterministic"):
        gradcheck(noisy, tensor(3))
    assert gradcheck(noisy, tensor(3), nondet_tol=1e-6)


def test_a_random_function() -> None:
    with pytest.raises(GradcheckError, match=r"the function is not deterministic: .*dropout"):
        gradcheck(lambda x: tinytorch.nn.functional.dropout(x, 0.5), tensor(8))


def test_an_input_changed_in_place() -> None:
    x = tinytorch.tensor(np.ones(3))

    def careless(w: Any, x: Any) -> Any:
        y = w * 2
        x.add_(1.0)
        return y

    with pytest.raises(GradcheckError, match=r"the function changed input 1 \(float64 \(3,\)\) in place"):
        gradcheck(careless, (tensor(3), x))
    assert x.tolist() == [1, 1, 1]


def test_an_output_nobody_uses() -> None:
    class Two(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2, x * 3

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            return 2 * g + 3 * h

        def run_backward(self, grads: list[Any]) -> list[Any]:
            return [grads[0] * 5] if grads[1] is None else super().run_backward(grads)

    with pytest.raises(GradcheckError, match="when output 0 alone is used"):
        gradcheck(Two.apply, tensor(3))
    assert gradcheck(Two.apply, tensor(3), check_undefined_grad=False)


class Forgetful(Function):
    """x, y -> (2 x, 3 x + 5 y), which forgets one gradient, of the input `at`, where the second output is unused."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any, at: int) -> Any:
        ctx.at = at
        return x * 2, x * 3 + y * 5

    @staticmethod
    def backward(ctx: Any, g: Any, h: Any) -> Any:
        return g * 2 + h * 3, h * 5

    def run_backward(self, grads: list[Any]) -> list[Any]:
        results = super().run_backward(grads)
        if grads[1] is None:
            results[self.at] = results[self.at] + 1e-6  # type: ignore[attr-defined]
        return results


@modes
@pytest.mark.parametrize("at", [0, 1])
def test_an_unused_output_that_one_of_two_inputs_notices(at: int, fast_mode: bool) -> None:
    inputs = tensor(3), tensor(3, seed=1)
    with pytest.raises(GradcheckError, match="when output 0 alone is used"):
        gradcheck(lambda x, y: Forgetful.apply(x, y, at=at), inputs, fast_mode=fast_mode)
    assert gradcheck(lambda x, y: Forgetful.apply(x, y, at=at)[1], inputs, fast_mode=fast_mode)
    assert gradcheck(lambda x, y: Forgetful.apply(x, y, at=at), inputs, nondet_tol=1e-5, fast_mode=fast_mode)


@modes
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_less_than_float64_inside_is_no_kink(check: Any, fast_mode: bool) -> None:
    def narrow(x: Any, w: Any, dtype: Any) -> Any:
        return (x * w).to(dtype).exp().to(tinytorch.float64) + w

    inputs = tensor(2, 3), tensor(3)
    for dtype in (tinytorch.float32, tinytorch.float16):
        with pytest.warns(UserWarning, match=rf"ToBackward0 gives {dtype} \(2, 3\), .*\.double\(\)"):
            assert check(narrow, (*inputs, dtype), fast_mode=fast_mode)
    for raise_exception in (True, False):
        with pytest.raises(GradcheckInputError, match=r"ToBackward0 gives bfloat16 \(2, 3\): in bfloat16 the rounding"):
            check(narrow, (*inputs, tinytorch.bfloat16), fast_mode=fast_mode, raise_exception=raise_exception)


@modes
def test_float32_inside_an_operation_is_no_kink(fast_mode: bool) -> None:
    class Narrow(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return ctx.save(np.exp(x.astype(np.float32)).astype(np.float64))

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved[0]

    with pytest.raises(GradcheckInputError, match=r"its values scatter by \d(\.\d)?e-0[678] around input 0\["):
        gradcheck(Narrow.apply, of(0.3, -1.7), fast_mode=fast_mode)


def test_float32_that_does_not_depend_on_the_inputs_passes_and_hides_no_mistake() -> None:
    w = tinytorch.tensor([1.5, 2.5], requires_grad=True)
    assert gradcheck(lambda x: x * (w * 3).double(), of(1.0, 2.0))
    wrong = with_backward(lambda x, g: 2.02 * x * g)
    with pytest.raises(GradcheckError, match="backward is wrong"):
        gradcheck(lambda x: wrong(x) * (w * 3).double(), of(1.0, 2.0))


# ---------------------------------------------------------------------- kinks


@modes
@pytest.mark.parametrize("offset", [0.0, 3e-7, -3e-7])
@pytest.mark.parametrize(
    "func",
    [tinytorch.relu, lambda x: x.clamp(-9.0, 0.0), lambda x: x.exp() + 3 * x.relu()],
    ids=["relu", "clamp", "sum"],
)
def test_a_kink_is_named(func: Any, offset: float, fast_mode: bool) -> None:
    with pytest.raises(KinkError, match="has a kink") as caught:
        gradcheck(func, of(1.0, offset, -2.0), fast_mode=fast_mode)
    assert f"input 0[1] = {offset:.6g}, or within 1e-06" in str(caught.value)


KINKS: dict[str, Any] = {
    "relu": lambda x: x.relu(),
    "abs": lambda x: x.abs(),
    "clamp": lambda x: x.clamp(-9.0, 0.0),
    "leaky_relu": lambda x: tinytorch.nn.functional.leaky_relu(x, 0.25),
    "maximum": lambda x: tinytorch.maximum(x, -x),
    "abs times": lambda x: x.abs() * x.exp(),
    "relu squared": lambda x: x.relu() * x.relu(),
}


@modes
@pytest.mark.parametrize("name", KINKS)
def test_second_derivatives_at_a_kink_have_nothing_to_compare_with(name: str, fast_mode: bool) -> None:
    what = "has a kink" if name == "relu squared" else "jumps"
    with pytest.raises(KinkError, match=rf"gradgradcheck: the gradient of the function {what}") as caught:
        gradgradcheck(KINKS[name], of(1.0, 0.0, -2.0), fast_mode=fast_mode)
    assert "input 0[1] = 0, or within 1e-06" in str(caught.value)
    assert gradgradcheck(KINKS[name], of(1.0, 0.001, -2.0), fast_mode=fast_mode)


@modes
def test_a_symmetric_jump(fast_mode: bool) -> None:
    with pytest.raises(KinkError, match="gradcheck: the function jumps"):
        gradcheck(lambda x: x.detach().sign() * x.exp(), of(1.0, 0.0), fast_mode=fast_mode)


def test_a_kink_shows_both_slopes() -> None:
    with pytest.raises(KinkError) as caught:
        gradcheck(lambda x: tinytorch.nn.functional.leaky_relu(x, 0.25), of(0.0))
    assert "slopes     of output 0[0]: 0.25 below, 1 above\n  backward   0.25\n" in str(caught.value)


def test_no_kink_at_a_distance() -> None:
    assert gradcheck(tinytorch.relu, of(1e-4, -1e-4))


@modes
def test_a_jump_and_the_edge_of_the_domain(fast_mode: bool) -> None:
    with pytest.raises(KinkError, match="the function jumps"):
        gradcheck(lambda x: x * (x > 1), of(0.5, 1.0), fast_mode=fast_mode)
    with pytest.raises(KinkError, match="edge of its domain"):
        gradcheck(tinytorch.sqrt, of(0.0, 1.0), fast_mode=fast_mode)


def test_a_wrong_gradient_is_reported_before_a_kink() -> None:
    half = with_backward(lambda x, g: x * g)
    with pytest.raises(GradcheckError, match="backward is wrong") as caught:
        gradcheck(lambda x: half(x) + x.relu(), of(0.0, 2.0))
    assert not isinstance(caught.value, KinkError)


def test_a_slope_outside_both_sides_is_wrong_even_at_a_kink() -> None:
    class Relu(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return np.maximum(x, 0)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    with pytest.raises(GradcheckError, match="backward is wrong"):
        gradcheck(Relu.apply, of(0.0))


def test_a_strongly_bent_function_is_no_kink() -> None:
    steep = with_backward(lambda x, g: 2 * x * g)
    with pytest.raises(GradcheckError, match="backward is wrong"):
        gradcheck(lambda x: steep(x) + with_backward(lambda x, g: x * g)(x * 300), of(1e-3))


# ---------------------------------------------------------------------- what cannot be asked


@pytest.mark.parametrize(
    "func, make, message",
    [
        (lambda x: x, lambda: tensor(2).bfloat16(), r"input 0 is bfloat16: .* drowns .*\.double\(\)"),
        (lambda x: x, lambda: tinytorch.ones(2), "none of the 1 inputs requires grad"),
        (lambda x: x.bfloat16(), lambda: tensor(2), "output 0 is bfloat16: "),
        (lambda x: x, lambda: tensor(1).detach().expand(3).requires_grad_(), r"overlap in memory .*\.clone\(\)"),
        (lambda x: x, lambda: tinytorch.from_numpy(np.frombuffer(bytes(16))).requires_grad_(), "read-only memory"),
    ],
    ids=["bfloat16", "no_grad", "output", "expanded", "read_only"],
)  # fmt: skip
def test_misuse(func: Any, make: Any, message: str) -> None:
    for raise_exception in (True, False):
        with pytest.raises(GradcheckInputError, match=message):
            gradcheck(func, make(), raise_exception=raise_exception)
    assert issubclass(GradcheckInputError, ValueError) and issubclass(GradcheckInputError, GradcheckError)


def test_inputs_that_share_memory() -> None:
    x = np.ones(4)
    a, b = (tinytorch.from_numpy(part).requires_grad_() for part in (x[:3], x[1:]))
    with pytest.raises(GradcheckInputError, match=r"input 1 .* shares memory with input 0"):
        gradcheck(lambda a, b: a * b, (a, b))


def test_cotangents_of_the_wrong_shape() -> None:
    with pytest.raises(GradcheckInputError, match=r"grad_outputs have shapes \[\(2,\)\], the outputs \[\(3,\)\]"):
        gradgradcheck(RIGHT, tensor(3), tensor(2))


@pytest.mark.oracle
def test_signatures_are_pytorchs() -> None:
    import inspect

    import torch

    for ours, theirs in ((gradcheck, torch.autograd.gradcheck), (gradgradcheck, torch.autograd.gradgradcheck)):
        expected = inspect.signature(theirs).parameters
        for name, parameter in inspect.signature(ours).parameters.items():
            assert (parameter.default, parameter.kind) == (expected[name].default, expected[name].kind), name
