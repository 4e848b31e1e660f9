"""Anomaly detection: what it raises, what it says, and when it is on."""

from __future__ import annotations

import gc
import itertools
import re
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tinytorch
from tinytorch.nn import functional as F
from tinytorch.utils.checkpoint import checkpoint

NOTHING_KNOWN = (
    "Error detected in SqrtBackward0. No forward pass information available. Enable detect anomaly during forward pass "
    "for more information."
)


@pytest.fixture(autouse=True)
def off_afterwards() -> Iterator[None]:
    """Each test leaves the mode as it was."""
    yield
    assert not tinytorch.is_anomaly_enabled()


def zero(t: Any) -> Any:
    """A zero that is no leaf, as at leaves there is no node whose output could be NaN."""
    return t.zeros(2, dtype=t.float64, requires_grad=True) - 0


def nan(t: Any) -> Any:
    """Its backward is 0 * 1/0."""
    return (zero(t).sqrt() * 0).sum()  # the line that is to blame


def custom(t: Any) -> Any:
    class Fails(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            raise ValueError("of the user's own")

    return Fails.apply(zero(t)).sum()


def found_by(run: Callable[[], Any]) -> tuple[str, list[str]]:
    """What a program raises, and what it warns of, without where PyTorch's own code lies."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run()
            error = ""
        except Exception as exception:
            error = f"{type(exception).__name__}: {exception}"
    return error, [str(w.message) for w in caught if "Anomaly Detection has been enabled" not in str(w.message)]


# ---------------------------------------------------------------------- as PyTorch


def nan_in_backward(t: Any) -> Any:
    with t.autograd.detect_anomaly():
        nan(t).backward()


def not_looked_for(t: Any) -> Any:
    with t.autograd.set_detect_anomaly(True, check_nan=False):
        nan(t).backward()


def not_while_forward_runs(t: Any) -> Any:
    loss = nan(t)
    with t.autograd.set_detect_anomaly(True):
        loss.backward()


def not_while_backward_runs(t: Any) -> Any:
    with t.autograd.set_detect_anomaly(True):
        loss = nan(t)
    loss.backward()


def in_the_second_derivative(t: Any) -> Any:
    with t.autograd.set_detect_anomaly(True):
        x = t.zeros(2, dtype=t.float64, requires_grad=True)
        (g,) = t.autograd.grad((x - 0).pow(1.5).sum(), x, create_graph=True)
        (g * 0).sum().backward()


def of_a_custom_function(t: Any) -> Any:
    with t.autograd.set_detect_anomaly(True):
        custom(t).backward()


def of_a_custom_function_without_nan(t: Any) -> Any:
    with t.autograd.set_detect_anomaly(True, check_nan=False):
        custom(t).backward()


def given_nan(t: Any) -> Any:
    with t.autograd.set_detect_anomaly(True):
        (zero(t) * 2).sum().backward(t.tensor(float("nan"), dtype=t.float64))


def in_the_second_of_two(t: Any) -> Any:
    with t.autograd.set_detect_anomaly(True):
        (t.ones(2, requires_grad=True) / zero(t).float()).sum().backward()


def nan_for_what_wants_no_gradient(t: Any) -> Any:
    class Both(t.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            return x + y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g, g * float("nan")

    with t.autograd.set_detect_anomaly(True):
        Both.apply(zero(t), t.zeros(2, dtype=t.float64)).sum().backward()


PROGRAMS = (
    nan_in_backward, not_looked_for, not_while_forward_runs, not_while_backward_runs, in_the_second_derivative,
    of_a_custom_function, of_a_custom_function_without_nan, given_nan, in_the_second_of_two,
    nan_for_what_wants_no_gradient,
)  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_errors_and_warnings_are_pytorchs(program: Callable[[Any], Any]) -> None:
    torch = pytest.importorskip("torch")
    ours, ours_warned = found_by(lambda: program(tinytorch))
    theirs, theirs_warned = found_by(lambda: program(torch))
    assert ours.startswith(theirs) and bool(ours) is bool(theirs)
    assert [headline(text) for text in ours_warned] == [headline(text) for text in theirs_warned]
    for a, b in zip(ours_warned, theirs_warned, strict=True):
        assert lines_of_this_file(a) == lines_of_this_file(b)


def headline(text: str) -> str:
    """What a warning says before the traceback."""
    return text.partition(" (Triggered internally")[0].partition('  File "')[0].strip()


def lines_of_this_file(text: str) -> list[str]:
    """The frames of a traceback that are ours, from the program on."""
    lines = text.splitlines()
    return [
        f"{where.strip()} {line.strip()}"
        for where, line in itertools.pairwise(lines)
        if __file__ in where and not re.search("in (test_.*|found_by|<lambda>)$", where)
    ]


def switches(t: Any) -> list[Any]:
    """When it is on."""
    on = t.is_anomaly_enabled
    seen = [on()]
    before = t.autograd.set_detect_anomaly(True)
    seen.append(on())
    with before, t.autograd.set_detect_anomaly(False):
        seen.append(on())
    seen.append(on())
    with t.autograd.set_detect_anomaly(True):
        with t.autograd.detect_anomaly(check_nan=False):
            seen.append(on())
            t.autograd.set_detect_anomaly(False)
            seen.append(on())
        seen.append(on())
    return [*seen, on()]


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_on_and_off_as_in_pytorch() -> None:
    ours = switches(tinytorch)
    assert ours[:7] == [False, True, False, False, True, False, True]
    assert ours == switches(pytest.importorskip("torch"))


# ---------------------------------------------------------------------- what ours does beyond that


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_one_instance_is_entered_twice() -> None:
    """PyTorch's goes back to what was there when it was made."""
    one = tinytorch.autograd.detect_anomaly()
    with one:
        with one:
            assert tinytorch.is_anomaly_enabled()
        assert tinytorch.is_anomaly_enabled()


def test_the_error_names_the_operation_and_the_users_line() -> None:
    line = nan.__code__.co_firstlineno + 2
    with (
        tinytorch.autograd.set_detect_anomaly(True),
        pytest.warns(UserWarning, match="Traceback of forward call"),
        pytest.raises(RuntimeError) as caught,
    ):
        nan(tinytorch).backward()
    assert str(caught.value) == (
        "Function 'SqrtBackward0' returned nan values in its 0th output. Its forward, Sqrt, is called in "
        f"{__file__}, line {line}: return (zero(t).sqrt() * 0).sum()  # the line that is to blame"
    )


def test_a_fused_operation_answers_for_its_composite() -> None:
    """Where gradients are recorded, a fused backward runs the composite's: no user wrote those operations."""
    x = tinytorch.ones(2, 3, requires_grad=True)
    with tinytorch.autograd.set_detect_anomaly(True), pytest.warns(UserWarning) as warned:
        y = F.layer_norm(x * 1, (3,))
        with pytest.raises(RuntimeError, match="'LayerNormBackward0' returned nan values in its 0th output"):
            tinytorch.autograd.grad(y, x, tinytorch.full((2, 3), float("nan")), create_graph=True)
    assert len(warned) == 1


def test_what_nobody_asked_for_may_be_nan() -> None:
    """The kernel computes the gradients of all three inputs."""
    q = k = tinytorch.zeros(1, 2, 3)
    v = tinytorch.tensor([[[1e38] * 3, [-1e38] * 3]], requires_grad=True)
    with tinytorch.autograd.set_detect_anomaly(True):
        node = F.scaled_dot_product_attention(q, k, v).grad_fn
        while node.name() != "AttentionBackward0":
            node = node.next_functions[0][0]
        with tinytorch.no_grad():
            grads = node(tinytorch.full((1, 1, 2, 3), 1e38))
    assert grads[0].isnan().any() and not grads[2].isnan().any()


def test_the_warning_stands_at_the_line_that_called_backward() -> None:
    loss = nan(tinytorch)
    with tinytorch.autograd.set_detect_anomaly(True), pytest.warns(UserWarning) as warned, pytest.raises(RuntimeError):
        loss.backward()
    assert str(warned[0].message) == NOTHING_KNOWN and warned[0].filename == __file__


@pytest.mark.filterwarnings("ignore")
def test_decorated_function_and_checkpoint() -> None:
    @tinytorch.autograd.detect_anomaly()
    def run() -> Any:
        return checkpoint(lambda x: (x.sqrt() * 0).sum(), zero(tinytorch)).backward()

    for _ in range(2):
        with pytest.raises(RuntimeError, match="SqrtBackward0"):
            run()
        assert not tinytorch.is_anomaly_enabled()


def test_each_thread_has_its_own_mode() -> None:
    seen: list[bool] = []
    with tinytorch.autograd.set_detect_anomaly(True):
        thread = threading.Thread(target=lambda: seen.append(tinytorch.is_anomaly_enabled()))
        thread.start()
        thread.join()
    assert seen == [False]


def test_left_after_ctrl_c_in_backward() -> None:
    """And without a warning: nothing is wrong with the operation."""

    class Interrupted(tinytorch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt), tinytorch.autograd.set_detect_anomaly(True):
            Interrupted.apply(zero(tinytorch)).sum().backward()


def test_values_and_gradients_stay_and_the_graph_is_freed() -> None:
    results = []
    for on in (False, True):
        x = tinytorch.tensor([[0.5, -1.5, 2.5]], requires_grad=True)
        with tinytorch.autograd.set_detect_anomaly(on):
            loss = (F.gelu(x) * x.softmax(-1)).sum()
            (g,) = tinytorch.autograd.grad(loss, x, create_graph=True)
            g.square().sum().backward()
        results.append(x.grad.numpy().tobytes())
        gc.disable()
        try:
            node = weakref.ref(g.grad_fn)
            del g, loss
            assert node() is None
        finally:
            gc.enable()
    assert results[0] == results[1]
