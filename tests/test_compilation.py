"""Compiled functions do what they do uncompiled, to the bit, or say why they cannot."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import nn
from tinytorch.compiled.arguments import bounds, layout, sharing
from tinytorch.compiled.arrays import NotTraceable
from tinytorch.engine.function import Function
from tinytorch.kernels.gemm import gemm
from tinytorch.nn import functional as F
from tinytorch.random import default_generator


class Counted:
    """A function that counts how often Python runs it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *args: Any, **params: Any) -> Any:
        self.calls += 1
        return self.function(*args, **params)


def counted(function: Callable[..., Any]) -> tuple[Any, Counted]:
    inner = Counted(function)

    def call(*args: Any, **params: Any) -> Any:
        return inner(*args, **params)

    return tinytorch.compile(call), inner


class Net(nn.Module):
    """Something of everything: an embedding, layer_norm, dropout, a buffer, tied weights."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.norm = nn.LayerNorm(8)
        self.hidden = nn.Linear(8, 16)
        self.drop = nn.Dropout(dropout)
        self.back = nn.Linear(16, 8)
        self.register_buffer("scale", tinytorch.tensor(0.5))

    def forward(self, ids: Any) -> Any:
        x = self.embedding(ids)
        x = x + self.back(self.drop(F.gelu(self.hidden(self.norm(x))))) * self.scale
        return x @ self.embedding.weight.T


def batches(count: int, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [tuple(tinytorch.tensor(rng.integers(0, 11, (4, 5))) for _ in range(2)) for _ in range(count)]


def trained(optimizer_of: Any, compiled: bool, dropout: float = 0.0, zero: str = "inside") -> Any:
    """Losses, parameters and gradients of a few steps."""
    tinytorch.manual_seed(1)
    net = Net(dropout)
    optimizer = optimizer_of(net.parameters())
    scheduler = tinytorch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.5**k)

    def step(ids: Any, targets: Any) -> Any:
        if zero == "inside":
            optimizer.zero_grad()
        loss = F.cross_entropy(net(ids).reshape(-1, 11), targets.reshape(-1))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
        return loss, norm

    if compiled:
        step, calls = counted(step)
    results = []
    for number, (ids, targets) in enumerate(batches(6)):
        if zero == "outside" or (zero == "sometimes" and number % 2):
            optimizer.zero_grad()
        results += [x.item() for x in step(ids, targets)]
    if compiled:
        assert calls.calls == 1 and not step.whole  # type: ignore[attr-defined]
    return results, [p.array.copy() for p in net.parameters()], [p.grad.array.copy() for p in net.parameters()]


def assert_same(ours: Any, expected: Any) -> None:
    assert ours[0] == expected[0]
    for a, b in zip([*ours[1], *ours[2]], [*expected[1], *expected[2]], strict=True):
        np.testing.assert_array_equal(a, b)


OPTIMIZERS = {
    "adamw": lambda params: tinytorch.optim.AdamW(params, lr=0.01),
    "sgd": lambda params: tinytorch.optim.SGD(params, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("zero", ["inside", "outside", "sometimes", "never"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_has_the_same_bits(name: str, zero: str) -> None:
    assert_same(trained(OPTIMIZERS[name], True, zero=zero), trained(OPTIMIZERS[name], False, zero=zero))


def test_dropout_draws_anew_at_each_step_and_as_uncompiled() -> None:
    compiled, plain = (trained(OPTIMIZERS["sgd"], c, dropout=0.5) for c in (True, False))
    assert_same(compiled, plain)


def test_an_optimizer_of_ones_own_is_traced_to_its_arithmetic() -> None:
    """Its state lives outside: made before, it is changed in place."""

    def run(compiled: bool) -> Any:
        tinytorch.manual_seed(0)
        net = Net()
        velocities = [tinytorch.zeros_like(p) for p in net.parameters()]

        def step(ids: Any, targets: Any) -> Any:
            net.zero_grad()
            loss = F.cross_entropy(net(ids).reshape(-1, 11), targets.reshape(-1))
            loss.backward()
            with tinytorch.no_grad():
                for p, v in zip(net.parameters(), velocities, strict=True):
                    v.mul_(0.9).add_(p.grad)
                    p -= 0.1 * v
            return loss

        function = tinytorch.compile(step) if compiled else step
        losses = [function(*batch).item() for batch in batches(5)]
        return losses, [p.array.copy() for p in net.parameters()], [p.grad.array.copy() for p in net.parameters()]

    assert_same(run(True), run(False))


def test_new_shapes_dtypes_and_other_arguments_are_traced_anew_and_found_again() -> None:
    double, calls = counted(lambda x, factor=2: {"y": x * factor, "list": [x.sum(), (x.amax(),)]})
    for shape in [(3,), (2, 2), (3,)]:
        x = tinytorch.randn(*shape)
        result = double(x)
        np.testing.assert_array_equal(result["y"].array, x.array * 2)
        assert result["list"][1][0].item() == x.array.max()
    assert calls.calls == 2
    double(tinytorch.ones(3, dtype=tinytorch.float64))
    assert double(tinytorch.ones(3), factor=3)["y"].tolist() == [3, 3, 3]
    assert double(tinytorch.ones(3), 5)["y"].tolist() == [5, 5, 5]
    assert double(tinytorch.zeros(3))["y"].tolist() == [0, 0, 0]
    assert calls.calls == 5


def test_strides_of_arguments_do_not_matter() -> None:
    product, calls = counted(lambda a, b: a @ b)
    for _ in range(3):
        a, b = tinytorch.randn(4, 3).T, tinytorch.randn(8, 5)[::2]
        np.testing.assert_array_equal(product(a, b).array, (a.contiguous() @ b.contiguous()).array)
    assert calls.calls == 1


def test_results_are_copies() -> None:
    double = tinytorch.compile(lambda x: x * 2)
    first = double(tinytorch.ones(2))
    second = double(tinytorch.zeros(2))
    assert first.tolist() == [2, 2] and second.tolist() == [0, 0]
    same = tinytorch.compile(lambda x: x + 0)
    x = tinytorch.ones(2)
    assert same(x).data_ptr() != x.data_ptr() and same(tinytorch.zeros(2)).tolist() == [0, 0]


def test_evaluation_and_training_are_two_programs() -> None:
    drop = nn.Dropout(0.5)
    apply, calls = counted(drop)
    x = tinytorch.ones(1000)
    drop.eval()
    assert (apply(x).array == 1).all()
    drop.train()
    zeros = [(apply(x).array == 0).sum() for _ in range(4)]
    assert len(set(zeros)) > 1 and all(400 < n < 600 for n in zeros)
    drop.eval()
    assert (apply(x).array == 1).all()
    assert calls.calls == 2


def test_new_memory_of_a_parameter_is_noticed() -> None:
    layer = nn.Linear(2, 2, bias=False)
    apply, calls = counted(layer)
    apply(tinytorch.ones(1, 2))
    with tinytorch.no_grad():
        layer.weight.fill_(1.0)  # in place: nothing to notice
    assert apply(tinytorch.ones(1, 2)).tolist() == [[2, 2]] and calls.calls == 1
    layer.weight.data = tinytorch.full((2, 2), 3.0)
    assert apply(tinytorch.ones(1, 2)).tolist() == [[6, 6]] and calls.calls == 2


def test_freezing_is_noticed() -> None:
    layer = nn.Linear(2, 1, bias=False)

    def gradient(x: Any) -> Any:
        layer.zero_grad()
        (layer(x) * layer.weight.sum()).sum().backward() if layer.weight.requires_grad else None
        return layer(x)

    step = tinytorch.compile(gradient)
    step(tinytorch.ones(1, 2))
    assert layer.weight.grad is not None
    layer.weight.requires_grad_(False)
    step(tinytorch.ones(1, 2))
    assert layer.weight.grad is None


def test_a_counter_made_inside_starts_anew() -> None:
    def total(x: Any) -> Any:
        sums = tinytorch.zeros(2)
        for _ in range(3):
            sums += x
        sums[0] = sums[1] * 2
        return sums

    compiled = tinytorch.compile(total)
    for k in range(3):
        x = tinytorch.full((2,), float(k))
        assert compiled(x).tolist() == total(x).tolist() == [6 * k, 3 * k]


def test_functions_of_numpy_that_give_several_views_or_copies() -> None:
    def parts(x: Any) -> Any:
        left, right = np.split(x.numpy(), 2)
        left += 1  # a view: x sees it
        fraction, whole = np.modf(x.numpy())
        return x, tinytorch.Tensor(right * 2), tinytorch.Tensor(fraction), tinytorch.Tensor(whole)

    compiled = tinytorch.compile(lambda x: parts(x.clone()))
    for values in ([1.5, 2.5, 3.5, 4.5], [-1.0, 0.25, 8.0, 7.75]):
        x = tinytorch.tensor(values)
        for ours, expected in zip(compiled(x), parts(x.clone()), strict=True):
            np.testing.assert_array_equal(ours.array, expected.array)


def test_state_outside_is_changed_in_place() -> None:
    seen = tinytorch.zeros(3, 2)

    def write(x: Any, place: Any) -> Any:
        seen[place] = x
        seen.mul_(2)
        return seen.sum()

    compiled = tinytorch.compile(write)
    expected = np.zeros((3, 2), np.float32)
    for k in range(3):
        expected[k] = k + 1
        expected *= 2
        assert compiled(tinytorch.full((1, 2), k + 1.0), tinytorch.tensor([k])).item() == expected.sum()
    np.testing.assert_array_equal(seen.array, expected)


def test_random_numbers_are_those_of_the_uncompiled_function() -> None:
    def draws(x: Any) -> Any:
        y = x + tinytorch.randn(3) + tinytorch.rand(3) * tinytorch.randint(0, 5, (3,))
        return y, tinytorch.empty(3).normal_().uniform_(), tinytorch.randperm(7), tinytorch.bernoulli(x)

    compiled = tinytorch.compile(draws)
    results = []
    for function in (compiled, draws):
        tinytorch.manual_seed(3)
        results.append([[t.tolist() for t in function(tinytorch.full((3,), 0.5))] for _ in range(3)])
    assert results[0] == results[1]
    assert results[0][0] != results[0][1]


def test_what_draws_in_numpy_or_loads_is_done_each_time() -> None:
    layer = nn.Linear(3, 3)
    state = nn.Linear(3, 3).state_dict()

    def again(x: Any) -> Any:
        nn.init.orthogonal_(layer.weight)
        first = layer(x)
        nn.init.trunc_normal_(layer.weight)
        second = layer(x)
        layer.load_state_dict(state)
        return first, second, layer(x)

    compiled, results = tinytorch.compile(again), []
    x = tinytorch.randn(2, 3)
    for function in (compiled, again):
        tinytorch.manual_seed(3)
        layer.load_state_dict(state)
        results.append([[y.tolist() for y in function(x)] for _ in range(3)])
    assert results[0] == results[1] and results[0][0] != results[0][1]


def test_views_of_another_dtype_and_sums_at_an_index_follow_what_is_outside() -> None:
    table, mask = tinytorch.zeros(2, 2), tinytorch.tensor([[True, False], [True, True]])

    def read(x: Any) -> Any:
        bits = table.view(tinytorch.int32) + 0
        put = table.index_put((tinytorch.tensor([0, 0]),), x, accumulate=True)
        return bits, put, F.scaled_dot_product_attention(x.half(), x.half(), x.half(), mask)

    compiled = tinytorch.compile(read)
    for k in range(3):
        table.fill_(float(k))
        mask[0, 1] = k == 2
        x = tinytorch.randn(2, 2)
        for ours, expected in zip(compiled(x), read(x), strict=True):
            np.testing.assert_array_equal(ours.array, expected.array)


def test_attention_with_dropout() -> None:
    def attend(q: Any) -> Any:
        return F.scaled_dot_product_attention(q, q, q, dropout_p=0.5, is_causal=True)

    compiled = tinytorch.compile(attend)
    q, results = tinytorch.randn(1, 2, 6, 4), []
    for function in (compiled, attend):
        tinytorch.manual_seed(3)
        results.append([function(q).tolist() for _ in range(3)])
    assert results[0] == results[1] and results[0][0] != results[0][1]


def test_gradients_add_up_over_calls_as_uncompiled() -> None:
    weight = nn.Parameter(tinytorch.ones(2))

    def accumulate(x: Any) -> None:
        (weight * x).sum().backward()
        (weight * x * 2).sum().backward()

    compiled = tinytorch.compile(accumulate)
    for k in range(1, 4):
        compiled(tinytorch.tensor([1.0, 2.0]))
        assert weight.grad is not None
        assert weight.grad.tolist() == [3 * k, 6 * k]
    weight.grad = tinytorch.tensor([10.0, 10.0])
    compiled(tinytorch.tensor([1.0, 2.0]))
    assert weight.grad.tolist() == [13, 16]


def test_gradients_made_before_are_read_as_they_are() -> None:
    weight = nn.Parameter(tinytorch.ones(2))

    def scaled() -> Any:
        return weight.grad * 2

    compiled = tinytorch.compile(scaled)
    for k in range(3):
        weight.grad = tinytorch.full((2,), float(k))
        assert compiled().tolist() == [2 * k, 2 * k]


def test_hooks_and_higher_derivatives() -> None:
    seen = []

    def curvature(x: Any) -> Any:
        x = x.clone().requires_grad_()
        x.register_hook(lambda g: seen.append(1) or g * 3)
        y = (x**3).sum()
        (first,) = tinytorch.autograd.grad(y, x, create_graph=True)
        (second,) = tinytorch.autograd.grad(first.sum(), x)
        return first, second

    compiled = tinytorch.compile(curvature)
    for values in ([1.0, 2.0], [3.0, 4.0]):
        x = tinytorch.tensor(values)
        for a, b in zip(compiled(x), curvature(x), strict=True):
            np.testing.assert_array_equal(a.array, b.array)


def test_checkpoint_gives_the_same() -> None:
    layer = nn.Linear(3, 3)

    def step(x: Any) -> Any:
        layer.zero_grad()
        tinytorch.utils.checkpoint.checkpoint(lambda y: layer(y).tanh(), x, use_reentrant=False).sum().backward()
        return layer.weight.grad

    compiled = tinytorch.compile(step)
    for _ in range(2):
        x = tinytorch.randn(2, 3)
        np.testing.assert_array_equal(compiled(x).array, step(x).array.copy())


def test_the_matmul_backend_and_the_default_dtype_choose_the_program() -> None:
    product, calls = counted(lambda a: a @ a + tinytorch.ones(2))
    a = tinytorch.ones(2, 2)
    try:
        for backend in ("numba", "blas", "numba"):
            gemm.set_matmul_backend(backend)
            assert product(a).tolist() == [[3, 3], [3, 3]]
        assert calls.calls == 2
        tinytorch.set_default_dtype(tinytorch.float64)
        assert product(a).dtype == tinytorch.float64
    finally:
        gemm.set_matmul_backend("numba")
        tinytorch.set_default_dtype(tinytorch.float32)


def test_calls_from_several_threads_take_turns() -> None:
    chain = tinytorch.compile(lambda x: ((x * 2 + 1) * 3).sum())
    wrong = []

    def work(value: float) -> None:
        x = tinytorch.full((1000,), value)
        for _ in range(200):
            if chain(x).item() != (value * 2 + 1) * 3000:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(float(k),)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_compiled_function_inside_another_is_part_of_it() -> None:
    inner, calls = counted(lambda x: x * 2)
    outer = tinytorch.compile(lambda x: inner(x) + 1)
    for k in range(3):
        assert outer(tinytorch.full((1,), float(k))).tolist() == [2 * k + 1]
    assert calls.calls == 1


def test_changes_in_place_of_views_and_of_what_is_saved_are_noticed_while_tracing() -> None:
    def change(x: Any, how: str) -> Any:
        x = x.clone().requires_grad_()
        y = x * 2
        z = y * y
        if how == "view":
            y[0:2][0:1] += 1
        elif how == "itself":
            y += 1
        return tinytorch.autograd.grad(z.sum(), x)[0]

    for function in (change, tinytorch.compile(change)):
        assert function(tinytorch.ones(3), "not").tolist() == [8, 8, 8]
        with pytest.raises(RuntimeError, match="modified by an in-place operation"):
            function(tinytorch.ones(3), "itself")
        with pytest.raises(RuntimeError, match="in-place operation"):
            function(tinytorch.ones(3), "view")


def test_memory_of_what_is_recorded_without_a_backward_is_used_again() -> None:
    """The graph of a result that nobody can walk is not kept."""
    net = Net()
    alive = []

    def forward(ids: Any) -> Any:
        y = net(ids)
        alive.append(weakref.ref(y.grad_fn))
        return y

    compiled = tinytorch.compile(forward)
    compiled(batches(1)[0][0])
    gc.collect()
    assert alive[0]() is None


def test_is_a_decorator_that_keeps_the_name() -> None:
    @tinytorch.compile
    def triple(x: Any) -> Any:
        """Three times x."""
        return x * 3

    assert triple.__name__ == "triple" and triple.__doc__ == "Three times x."


def test_empty_and_dimensionless_arguments() -> None:
    compiled = tinytorch.compile(lambda x: (x.sum(), x * 2, x.reshape(-1)))
    for shape in [(), (0,), (3, 0), (1,)]:
        for _ in range(2):
            x = tinytorch.randn(*shape)
            total, doubled, flat = compiled(x)
            assert doubled.shape == x.shape and flat.shape == (x.numel(),)
            assert total.item() == x.sum().item()


def test_not_a_number_and_infinity_pass_without_warning() -> None:
    compiled = tinytorch.compile(lambda x: (x.log(), 1 / x, F.softmax(x, -1)))
    for values in ([1.0, 2.0], [0.0, np.inf], [np.nan, -np.inf]):
        x = tinytorch.tensor(values)
        for a, b in zip(compiled(x), (x.log(), 1 / x, F.softmax(x, -1)), strict=True):
            np.testing.assert_array_equal(a.array, b.array)


class _Looks(Function):
    """y = |x| by a look at the sign of the sum, forward and backward"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x)
        return (x if x.sum() > 0 else -x) * 1

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved
        return g if x.sum() > 0 else -g


class _DrawsAndLooks(_Looks):
    """The same of x and a random number, drawn before it looks"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return _Looks.forward(ctx, x + default_generator.uniform((), x.dtype))


@pytest.mark.parametrize("cls", [_Looks, _DrawsAndLooks])
def test_what_looks_at_values_is_called_whole_and_listed(cls: Any) -> None:
    def both(x: Any) -> Any:
        leaf = x.clone().requires_grad_()
        y = cls.apply(leaf * 2)
        (y * y).sum().backward()
        return y, leaf.grad, tinytorch.randn(2)

    compiled: Any = tinytorch.compile(both)
    results = []
    for function in (compiled, both):
        tinytorch.manual_seed(0)
        results.append([[t.tolist() for t in function(tinytorch.tensor([k, 2.0]))] for k in (1.0, -5.0, 3.0)])
    assert results[0] == results[1]
    assert compiled.whole == [cls.__name__, f"{cls.__name__}Backward0"]


class _Broken(Function):
    """y = x, with an error of its own where arrays are not NumPy's"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 1 if type(x) is np.ndarray else [][0]

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g


class _Copying(Function):
    """2x, by way of a copy that NumPy makes without asking."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return np.array(x) * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 2


def test_an_operation_whose_result_is_not_recorded_is_called_whole() -> None:
    compiled = tinytorch.compile(lambda x: _Copying.apply(x) + 1)
    for k in (1.0, 2.0):
        assert compiled(tinytorch.full((2,), k)).tolist() == [2 * k + 1] * 2
    assert compiled.whole == ["_Copying"]


class _BrokenBackward(_Broken):
    """y = x, with such an error in its backward"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 1

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g if type(g.array) is np.ndarray else {}["missing"]


def test_other_errors_in_an_operation_are_raised() -> None:
    """They may be faults, which a call of the whole operation would hide."""
    leaf = nn.Parameter(tinytorch.ones(2))
    for cls, error in ((_Broken, IndexError), (_BrokenBackward, KeyError)):
        step = lambda: cls.apply(leaf).sum().backward()  # noqa: B023, E731
        step()
        with pytest.raises(error):
            tinytorch.compile(step)()


# ---------------------------------------------------------------------- what it refuses


READS = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: x if x.sum() > 0 else -x,
    "int": lambda x: int(x.sum()),
    "index": lambda x: range(x.sum().long()),
    "tolist": lambda x: x.tolist(),
    "asarray": lambda x: np.asarray(x.numpy()).copy(),
    "print": lambda x: repr(x),
    "in": lambda x: 1.0 in x,
}


@pytest.mark.parametrize("name", READS)
def test_reading_values_is_refused(name: str) -> None:
    compiled = tinytorch.compile(READS[name])
    with pytest.raises(NotTraceable):
        compiled(tinytorch.ones(2))
    assert tinytorch.ones(2).sum().item() == 2  # all is as before


def test_shapes_that_depend_on_values() -> None:
    compiled = tinytorch.compile(lambda x: x[x > 0].sum())
    assert compiled(tinytorch.tensor([1.0, -1.0, 2.0])).item() == 3
    assert compiled(tinytorch.tensor([-1.0, 4.0, 2.0])).item() == 6  # as many
    with pytest.raises(RuntimeError, match="shapes that depend on values cannot be compiled"):
        compiled(tinytorch.tensor([1.0, 1.0, 2.0]))


def test_arguments_that_require_grad_are_refused() -> None:
    with pytest.raises(RuntimeError, match="requires grad: what it returns has no history"):
        tinytorch.compile(lambda x: x)(tinytorch.ones(2, requires_grad=True))


def test_arrays_are_refused() -> None:
    with pytest.raises(TypeError, match="from_numpy"):
        tinytorch.compile(lambda x: x)(np.ones(2))


def test_a_history_from_outside_is_refused() -> None:
    weight = nn.Parameter(tinytorch.ones(2))
    scaled = weight * 2
    compiled = tinytorch.compile(lambda x: (x * scaled).sum())
    with pytest.raises(NotTraceable, match="has a history"):
        compiled(tinytorch.ones(2))
    with tinytorch.no_grad():
        assert compiled(tinytorch.ones(2)).item() == 4


def test_what_is_not_hashable_is_refused() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        tinytorch.compile(lambda x, names: x)(tinytorch.ones(2), {1, 2})


KEPT_OF_A_GRADIENT: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda gradient: None,
    "the gradient": lambda gradient: gradient,
    "its array": lambda gradient: gradient.numpy(),
    "a view": lambda gradient: gradient[1:],
    "a part of its array": lambda gradient: gradient.numpy()[2:, None],
    "detached": lambda gradient: gradient.detach(),
    "its buffer": lambda gradient: memoryview(gradient.numpy()),
    "what is computed of it": lambda gradient: gradient * 1,
    "a history": lambda gradient: (gradient.requires_grad_(), None)[1],
    "a product in place": lambda gradient: (gradient.mul_(tinytorch.ones(1).requires_grad_()), None)[1],
    "a label": lambda gradient: setattr(gradient, "label", "g"),
}


@pytest.mark.parametrize("what", KEPT_OF_A_GRADIENT)
@pytest.mark.parametrize("size", [3, 1 << 19], ids=["small", "at a cache line"])
def test_a_new_gradient_has_nothing_of_what_was_kept_of_the_last(what: str, size: int) -> None:
    w = nn.Parameter(tinytorch.ones(size))

    @tinytorch.compile
    def learn(x: Any) -> None:
        w.grad = None
        (w * w * x).sum().backward()

    kept = []
    for k in range(6):
        learn(tinytorch.full((1,), float(k)))
        assert w.grad is not None
        assert (w.grad.requires_grad, w.grad.grad_fn, w.grad._version) == (False, None, 0)
        assert not hasattr(w.grad, "label")
        np.testing.assert_array_equal(w.grad.numpy(), np.full(size, 2.0 * k, np.float32))
        kept.append(KEPT_OF_A_GRADIENT[what](w.grad))
    if kept[0] is not None:
        for k, part in enumerate(kept):
            np.testing.assert_array_equal(np.unique(np.asarray(getattr(part, "array", part))), [2.0 * k])


def test_a_new_gradient_lies_where_the_last_lay_that_nobody_kept() -> None:
    """Then nobody asks anew where all gradients lie, which takes longer than a small model's arithmetic."""
    w = nn.Parameter(tinytorch.ones(3))

    @tinytorch.compile
    def learn(x: Any) -> None:
        w.grad = None
        (w * x).sum().backward()

    places = set()
    kept = [np.empty(3, np.float32) for _ in range(3)]
    for k in range(8):
        learn(tinytorch.full((1,), float(k)))
        assert w.grad is not None
        kept.append(np.empty(3, np.float32))  # which would take the place
        if k > 2:
            places.add(w.grad.data_ptr())
    assert len(places) == 1


def test_a_tensor_kept_outside_is_refused_and_says_so_when_it_is_used() -> None:
    kept = []
    compiled = tinytorch.compile(lambda x: kept.append(x * 2))
    with pytest.raises(NotTraceable, match=r"float32 \(2,\), is kept outside"):
        compiled(tinytorch.ones(2))
    with pytest.raises(NotTraceable, match="used outside"):
        kept[0] + 1


def test_errors_are_those_of_the_function() -> None:
    layer = nn.Embedding(3, 2)
    compiled = tinytorch.compile(layer)
    compiled(tinytorch.tensor([0, 1]))
    with pytest.raises(IndexError, match=r"embedding: index\[1\] is 3, which is out of bounds for 3 rows"):
        compiled(tinytorch.tensor([0, 3]))
    assert compiled(tinytorch.tensor([2, 2])).shape == (2, 2)
    loss = tinytorch.compile(F.cross_entropy)
    loss(tinytorch.randn(2, 3), tinytorch.tensor([0, 1]))
    with pytest.raises(IndexError, match="out of bounds for 3 classes"):
        loss(tinytorch.randn(2, 3), tinytorch.tensor([0, 7]))
    with pytest.raises(RuntimeError, match="broadcast"):
        tinytorch.compile(lambda a, b: a + b)(tinytorch.ones(2), tinytorch.ones(3))


def test_an_error_while_tracing_leaves_gradients_as_they_were_uncompiled() -> None:
    weight = nn.Parameter(tinytorch.ones(2))

    def step(x: Any) -> None:
        (weight * x).sum().backward()
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tinytorch.compile(step)(tinytorch.ones(2))
    assert weight.grad is not None and weight.grad.tolist() == [1, 1]
    assert (weight * weight.grad).tolist() == [1, 1]


# ---------------------------------------------------------------------- memory


def test_memory_is_used_again() -> None:
    """A chain of a hundred operations needs the memory of a few."""
    from tinytorch.compiled.program import Program
    from tinytorch.compiled.trace import Trace

    def chain(x: Any) -> Any:
        for _ in range(100):
            x = x * 1.01
        return x

    x = tinytorch.ones(1000)
    program = Program(Trace([x]))
    program.record(chain, (x,), {}, [x])
    assert sum(len(blocks) for blocks in program.trace._spare.values()) <= 4


def test_dropping_the_function_frees_its_memory() -> None:
    net = Net()
    step = tinytorch.compile(net)
    step(batches(1)[0][0])
    alive = weakref.ref(net)
    del net, step
    gc.collect()
    assert alive() is None


def test_the_parameters_can_be_copied_and_saved_as_usual() -> None:
    net = Net()
    optimizer = tinytorch.optim.SGD(net.parameters(), lr=0.1)

    @tinytorch.compile
    def step(ids: Any, targets: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(ids).reshape(-1, 11), targets.reshape(-1))
        loss.backward()
        optimizer.step()
        return loss

    for batch in batches(2):
        step(*batch)
    twin = copy.deepcopy(net)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert type(a.grad.array) is type(b.array) is np.ndarray  # type: ignore[union-attr]
        np.testing.assert_array_equal(a.array, b.array)
        assert b.grad is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ["plain", "bias", "batch", "transposed", "broadcast", "misaligned"])
def test_products_are_run_by_address(case: str, dtype: Any) -> None:
    """With the same bits; arrays that no address will do for keep the call that they had."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return tinytorch.tensor(rng.standard_normal(shape).astype(dtype))

    weight, bias, stack = draw(30, 20), draw(30), draw(3, 1, 20, 7)
    record = np.zeros(20, [("flag", np.int8), ("value", dtype, 9)])  # elements at odd addresses
    record["value"] = rng.standard_normal((20, 9))
    function = {
        "plain": lambda x: x @ weight.T,
        "bias": lambda x: F.linear(x, weight, bias),
        "batch": lambda x: x.reshape(2, 25, 20) @ stack[0, 0],
        "transposed": lambda x: x.T @ x,
        "broadcast": lambda x: x @ stack,
        "misaligned": lambda x: x @ tinytorch.from_numpy(record["value"]),
    }[case]
    compiled = tinytorch.compile(function)
    for _ in range(3):
        x = draw(50, 20)
        np.testing.assert_array_equal(compiled(x).numpy(), function(x).numpy())


def test_arguments_that_have_an_element_in_common_are_found() -> None:
    x = np.zeros(6)
    for apart in ([x[:3], x[3:]], [x[3:], x[:3]], [x[::2], x[1::2]], [x[:0], x], [x, np.zeros(6)], [x[:1], x[1:2]]):
        assert sharing(apart) == ()
    assert sharing([x[3:], x[:4]]) == (((0, 24, (8,)), (1, 0, (8,))),)
    assert sharing([x[5::-1], x[5:], x[:1]]) == (((0, 40, (-8,)), (1, 40, (8,)), (2, 0, (8,))),)
    assert sharing([x[:2], x[3:5], x[1:3], x[4:]]) == (
        ((0, 0, (8,)), (2, 8, (8,))),
        ((1, 0, (8,)), (3, 8, (8,))),
    )
    start = x.ctypes.data
    assert bounds(x[4:1:-2]) == (start + 16, start + 40)
    assert bounds(np.broadcast_to(x[2:3], (3, 4))) == (start + 16, start + 24)
    pair = np.zeros(2, np.uint8)
    assert bounds(pair) == bounds(pair[::-1]) == (pair.ctypes.data, pair.ctypes.data + 2)


def test_layouts_are_known_but_for_the_size_of_gaps() -> None:
    x = np.zeros((4, 6))
    assert layout(x) is None and layout(x[:2]) is None and layout(x[:, :0]) is None
    assert layout(x.T) == (0, 8, 48)
    assert layout(x[:, 0]) == layout(x[0, ::2]) == (0, 16)  # every other one, or farther apart
    assert layout(x[0, ::-1]) == (40, -8) and layout(x[0, ::-2]) == (32, -16)
    assert layout(x[::-1, :4]) == (120, -40, 8) and layout(x[:, ::-1]) == (40, 48, -8)
    assert layout(np.broadcast_to(x[0], (3, 6))) == (0, 0, 8)
    assert layout(np.lib.stride_tricks.sliding_window_view(x[0, ::2], 2)) == (0, 16, 16)
    shifted = np.zeros(8 * 4 + 4, np.uint8)[4:].view(np.float64)
    assert layout(shifted) == (4, 8) or layout(np.zeros(8 * 4 + 4, np.uint8)[:-4].view(np.float64)) == (4, 8)
