"""autograd.functional and func: PyTorch's results and errors, for the same calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch.func import grad, jacrev, vjp


def tensors(t: Any, *shapes: tuple[int, ...]) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    return tuple(t.from_numpy(rng.standard_normal(shape)) for shape in shapes)


def plain(tree: Any) -> Any:
    """Nested lists of numbers, with whether each Tensor requires grad, for comparison."""
    if isinstance(tree, dict):
        return {key: plain(part) for key, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        return [type(tree).__name__, *[plain(part) for part in tree]]
    if hasattr(tree, "detach"):
        return [tuple(tree.shape), str(tree.dtype).split(".")[-1], tree.requires_grad, tree.detach().tolist()]
    return tree


def assert_same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs), (ours, theirs)
    if isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs)
        assert_same(list(ours.values()), list(theirs.values()))
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)
    else:
        assert ours == theirs


# ---------------------------------------------------------------------- values, worked out by hand


def test_jacobian_and_hessian() -> None:
    F = tinytorch.autograd.functional
    x = tinytorch.tensor([1.0, 2.0])
    assert F.jacobian(lambda x: x * x[0], x).tolist() == [[2.0, 0.0], [2.0, 1.0]]
    assert F.hessian(lambda x: x[0] ** 2 * x[1], x).tolist() == [[4.0, 2.0], [2.0, 0.0]]
    output, product = F.jvp(lambda x: x * x[0], x, tinytorch.tensor([1.0, 10.0]))
    assert output.tolist() == [1.0, 2.0] and product.tolist() == [2.0, 12.0]
    output, product = F.vjp(lambda x: x * x[0], x, tinytorch.tensor([1.0, 10.0]))
    assert output.tolist() == [1.0, 2.0] and product.tolist() == [22.0, 10.0]


def test_a_vector_times_the_hessian() -> None:
    F = tinytorch.autograd.functional
    x, v = tinytorch.tensor([1.0, 2.0]), tinytorch.tensor([1.0, 10.0])
    for product in (F.hvp, F.vhp):
        value, found = product(lambda x: x[0] ** 2 * x[1], x, v)
        assert value.item() == 2 and found.tolist() == [24.0, 2.0]
    assert tinytorch.func.hessian(lambda x: x[0] ** 2 * x[1])(x).tolist() == [[4.0, 2.0], [2.0, 0.0]]


def test_an_output_without_elements_has_a_jacobian_without_elements() -> None:
    empty = tinytorch.zeros(0, 4)
    assert tinytorch.autograd.functional.jacobian(tinytorch.sin, empty).shape == (0, 4, 0, 4)
    assert jacrev(tinytorch.sin)(empty).shape == (0, 4, 0, 4)


def test_transforms_nest() -> None:
    x = tinytorch.tensor(2.0)
    assert grad(lambda x: x**3)(x).item() == 12
    assert grad(grad(lambda x: x**3))(x).item() == 12
    assert grad(grad(grad(lambda x: x**3)))(x).item() == 6
    assert jacrev(grad(lambda v: (v**3).sum()))(tinytorch.tensor([1.0, 2.0])).tolist() == [[6.0, 0.0], [0.0, 12.0]]
    assert not grad(lambda x: x**3)(x).requires_grad and not x.requires_grad


def test_gradients_flow_on_to_what_required_them_before() -> None:
    x = tinytorch.tensor(2.0, requires_grad=True)
    w = tinytorch.tensor(3.0, requires_grad=True)
    slope = grad(lambda x: w * x**3)(x)  # 3 w x^2
    slope.backward()
    assert x.grad is not None and w.grad is not None
    assert (x.grad.item(), w.grad.item()) == (36.0, 12.0)  # 6 w x and 3 x^2
    output, _ = vjp(lambda x: w * x, x.detach())
    output.backward()
    assert w.grad.item() == 14.0


# ---------------------------------------------------------------------- PyTorch's


CALLS: dict[str, Any] = {
    "jacobian": lambda t, F, x, w: F.jacobian(lambda x: (x @ w).softmax(-1), x),
    "jacobian of two": lambda t, F, x, w: F.jacobian(lambda x, w: x @ w, (x, w)),
    "jacobian of outputs": lambda t, F, x, w: F.jacobian(lambda x: ((x * x).sum(), x.exp()), x),
    "jacobian, both": lambda t, F, x, w: F.jacobian(lambda x, w: (x @ w, w.sin()), (x, w)),
    "jacobian vectorized": lambda t, F, x, w: F.jacobian(lambda x, w: x @ w, (x, w), vectorize=True),
    "jacobian forward": lambda t, F, x, w: F.jacobian(lambda x: x.sin(), x, vectorize=True, strategy="forward-mode"),
    "jacobian recorded": lambda t, F, x, w: F.jacobian(lambda x: x.sin(), x.requires_grad_(), create_graph=True),
    "jacobian, not recorded": lambda t, F, x, w: F.jacobian(lambda x: x.sin(), x.requires_grad_()),
    "jacobian of a part": lambda t, F, x, w: F.jacobian(lambda x: x[:1] * 2, x),
    "jacobian of nothing": lambda t, F, x, w: F.jacobian(lambda x: w, x),
    "hessian": lambda t, F, x, w: F.hessian(lambda x: (x @ w).sin().sum(), x),
    "hessian of two": lambda t, F, x, w: F.hessian(lambda x, w: (x @ w).exp().sum(), (x, w)),
    "hessian of a linear": lambda t, F, x, w: F.hessian(lambda x: x.sum(), x),
    "hessian, one element": lambda t, F, x, w: F.hessian(lambda x: (x**3).sum().reshape(1, 1), x),
    "vjp": lambda t, F, x, w: F.vjp(lambda x, w: x @ w, (x, w), t.ones(3, 2, dtype=t.float64)),
    "vjp of a number": lambda t, F, x, w: F.vjp(lambda x: x.exp().sum(), x),
    "vjp unused": lambda t, F, x, w: F.vjp(lambda x, w: x.exp().sum(), (x, w)),
    "vjp recorded": lambda t, F, x, w: F.vjp(lambda x: x.exp().sum(), x.requires_grad_(), create_graph=True),
    "vjp of outputs": lambda t, F, x, w: F.vjp(lambda x: (x, x.sin()), x, (x, x)),
    "jvp": lambda t, F, x, w: F.jvp(lambda x, w: (x @ w).softmax(-1), (x, w), (x, w)),
    "jvp of outputs": lambda t, F, x, w: F.jvp(lambda x: (x.sin(), x @ w), x, x),
    "jvp of a number": lambda t, F, x, w: F.jvp(lambda a: a.exp() * x, x[0, 0]),
    "jvp unused": lambda t, F, x, w: F.jvp(lambda x, w: x * 2, (x, w), (x, w)),
    "jvp recorded": lambda t, F, x, w: F.jvp(lambda x: x.exp(), x.requires_grad_(), x, create_graph=True),
    "hvp": lambda t, F, x, w: F.hvp(lambda x, w: (x @ w).sin().sum(), (x, w), (x + 1, w * 2)),
    "hvp of a linear": lambda t, F, x, w: F.hvp(lambda x: x.sum(), x, x),
    "hvp recorded": lambda t, F, x, w: F.hvp(lambda x: x.exp().sum(), x.requires_grad_(), x, create_graph=True),
    "vhp": lambda t, F, x, w: F.vhp(lambda x, w: (x @ w).sin().sum(), (x, w), (x + 1, w * 2)),
    "vhp of a number": lambda t, F, x, w: F.vhp(lambda a: a.exp(), x[0, 0]),
    "vhp recorded": lambda t, F, x, w: F.vhp(lambda x: x.exp().sum(), x.requires_grad_(), x, create_graph=True),
    # func
    "hessian of func": lambda t, F, x, w: t.func.hessian(lambda x: (x @ w).sin().sum())(x),
    "hessian of several": lambda t, F, x, w: t.func.hessian(lambda x, w: (x @ w).sin().sum(), argnums=(0, 1))(x, w),
    "grad": lambda t, F, x, w: t.func.grad(lambda x, w: (x @ w).sin().sum())(x, w),
    "grad of several": lambda t, F, x, w: t.func.grad(lambda x, w: (x @ w).sin().sum(), argnums=(1, 0))(x, w),
    "grad from the end": lambda t, F, x, w: t.func.grad(lambda x, w: (x @ w).sin().sum(), -1)(x, w),
    "grad, aux": lambda t, F, x, w: t.func.grad(lambda x: (x.sin().sum(), (x, {"w": w})), has_aux=True)(x),
    "grad of a dict": lambda t, F, x, w: t.func.grad(lambda p: (p["x"] @ p["w"][0]).sum())({"x": x, "w": [w]}),
    "grad by keyword": lambda t, F, x, w: t.func.grad(lambda x, w: (x @ w).sum())(x, w=w),
    "grad of nothing": lambda t, F, x, w: t.func.grad(lambda x: w.sum())(x),
    "grad under no_grad": lambda t, F, x, w: under_no_grad(t, lambda: t.func.grad(lambda x: x.sin().sum())(x)),
    "grad, no_grad inside": lambda t, F, x, w: t.func.grad(lambda x: (x * no_grad_of(t, x)).sum())(x),
    "grad of what requires grad": lambda t, F, x, w: t.func.grad(lambda x: x.sin().sum())(x.requires_grad_()),
    "grad with a parameter": lambda t, F, x, w: with_parameter(t, x, w.requires_grad_()),
    "grad and value": lambda t, F, x, w: t.func.grad_and_value(lambda x: x.sin().sum())(x),
    "jacrev": lambda t, F, x, w: t.func.jacrev(lambda x: (x @ w).softmax(-1))(x),
    "jacrev of several": lambda t, F, x, w: t.func.jacrev(lambda x, w: (x @ w, w.sin()), argnums=(0, 1))(x, w),
    "jacrev of a dict": lambda t, F, x, w: t.func.jacrev(lambda x: {"a": x.sin(), "b": [x.sum()]})(x),
    "jacrev, aux": lambda t, F, x, w: t.func.jacrev(lambda x: (x.sin(), x), has_aux=True)(x),
    "jacrev in chunks": lambda t, F, x, w: t.func.jacrev(lambda x: x.sin(), chunk_size=2)(x),
    "jacrev of jacrev": lambda t, F, x, w: t.func.jacrev(t.func.jacrev(lambda x: (x @ w).sin().sum()))(x),
    "vjp of func": lambda t, F, x, w: t.func.vjp(lambda x, w: x @ w, x, w)[1](t.ones(3, 2, dtype=t.float64)),
    "vjp of one": lambda t, F, x, w: t.func.vjp(lambda x: x.sin(), x)[1](x),
    "vjp, outputs": lambda t, F, x, w: t.func.vjp(lambda x: {"y": x.sin(), "z": (x.exp(), w)}, x)[0],
    "vjp, dict": lambda t, F, x, w: t.func.vjp(lambda x: {"y": x.sin(), "z": (x @ w,)}, x)[1]({"y": x, "z": (x @ w,)}),
    "vjp, aux": lambda t, F, x, w: t.func.vjp(lambda x: (x.sin(), w), x, has_aux=True)[2],
}  # fmt: skip


def with_parameter(t: Any, x: Any, w: Any) -> Any:
    return t.func.grad(lambda x: (x @ w).sin().sum())(x)


def under_no_grad(t: Any, call: Any) -> Any:
    with t.no_grad():
        return call()


def no_grad_of(t: Any, x: Any) -> Any:
    with t.no_grad():
        return x**2


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CALLS)
def test_results_are_pytorchs(name: str) -> None:
    import torch

    ours, theirs = (CALLS[name](t, t.autograd.functional, *tensors(t, (3, 4), (4, 2))) for t in (tinytorch, torch))
    assert_same(plain(ours), plain(theirs))


ERRORS: dict[str, Any] = {
    "inputs": lambda t, F, x: F.jacobian(lambda x: x, [x]),
    "second input": lambda t, F, x: F.jacobian(lambda *x: x[0], (x, 3)),
    "output": lambda t, F, x: F.vjp(lambda x: 3, x),
    "outputs": lambda t, F, x: F.jvp(lambda x: (x, 3), x, x),
    "vhp of outputs": lambda t, F, x: F.vhp(lambda x: x, x, x),
    "hvp of a tuple": lambda t, F, x: F.hvp(lambda x: (x.sum(),), x, x),
    "no v for hvp": lambda t, F, x: F.hvp(lambda x: x.sum(), x),
    "shape of v for vhp": lambda t, F, x: F.vhp(lambda x: x.sum(), x, x[0]),
    "no v": lambda t, F, x: F.vjp(lambda x: x, x),
    "no v for jvp": lambda t, F, x: F.jvp(lambda x: x, x),
    "shape of v": lambda t, F, x: F.vjp(lambda x: x, x, x[0]),
    "shape of v in a tuple": lambda t, F, x: F.jvp(lambda x, y: x, (x, x), (x, x[0])),
    "length of v": lambda t, F, x: F.jvp(lambda x, y: x, (x, x), (x,)),
    "too many v": lambda t, F, x: F.vjp(lambda x: x, x, (x, x)),
    "strict, detached": lambda t, F, x: F.jacobian(lambda x: x.detach(), x, strict=True),
    "strict, unused": lambda t, F, x: F.jacobian(lambda x, y: x, (x, x), strict=True),
    "strict, linear": lambda t, F, x: F.jacobian(lambda x: 2 * x, x, create_graph=True, strict=True),
    "strict vjp, unused": lambda t, F, x: F.vjp(lambda x, y: x, (x, x), x, strict=True),
    "strict vjp, linear": lambda t, F, x: F.vjp(lambda x: 2 * x, x, x, create_graph=True, strict=True),
    "strict jvp, detached": lambda t, F, x: F.jvp(lambda x: x.detach(), x, x, strict=True),
    "strict jvp, unused": lambda t, F, x: F.jvp(lambda x, y: x, (x, x), (x, x), strict=True),
    "strict hessian, linear": lambda t, F, x: F.hessian(lambda x: x.sum(), x, strict=True),
    "hessian of several": lambda t, F, x: F.hessian(lambda x: x, x),
    "hessian of a tuple": lambda t, F, x: F.hessian(lambda x: (x.sum(),), x),
    "strategy": lambda t, F, x: F.jacobian(lambda x: x, x, strategy="sideways"),
    "strategy of the hessian": lambda t, F, x: F.hessian(lambda x: x.sum(), x, outer_jacobian_strategy="sideways"),
    "forward": lambda t, F, x: F.jacobian(lambda x: x, x, strategy="forward-mode"),
    "forward, strict": lambda t, F, x: F.jacobian(lambda x: x, x, strict=True, strategy="forward-mode"),
    "forward, recorded": lambda t, F, x: F.jacobian(lambda x: x, x, create_graph=True, strategy="forward-mode"),
    "vectorized, strict": lambda t, F, x: F.jacobian(lambda x: x, x, strict=True, vectorize=True),
    # func
    "grad of several": lambda t, F, x: t.func.grad(lambda x: x)(x),
    "grad of a tuple": lambda t, F, x: t.func.grad(lambda x: (x.sum(),))(x),
    "grad without aux": lambda t, F, x: t.func.grad(lambda x: x.sum(), has_aux=True)(x),
    "argnums": lambda t, F, x: t.func.grad(lambda x: x.sum(), 1)(x),
    "argnums of text": lambda t, F, x: t.func.grad(lambda x: x.sum(), "x")(x),
    "argnums twice": lambda t, F, x: t.func.grad(lambda x: x.sum(), (0, 0))(x),
    "no argnums": lambda t, F, x: t.func.grad(lambda x: x.sum(), ())(x),
    "argnums in a tuple": lambda t, F, x: t.func.jacrev(lambda x: x, ("x",))(x),
    "grad of a number": lambda t, F, x: t.func.grad(lambda x: x)(3.0),
    "grad of integers": lambda t, F, x: t.func.grad(lambda x: x.sum())(x.long()),
    "vjp of nothing": lambda t, F, x: t.func.vjp(lambda x: None, x),
    "vjp of no Tensor": lambda t, F, x: t.func.vjp(lambda x: (x, 3), x),
    "vjp of integers": lambda t, F, x: t.func.vjp(lambda x: x.long(), x),
    "cotangents": lambda t, F, x: t.func.vjp(lambda x: (x, x), x)[1](x),
    "chunk_size": lambda t, F, x: t.func.jacrev(lambda x: x, chunk_size=0)(x),
    "vjp without aux": lambda t, F, x: t.func.vjp(lambda x: x, x, has_aux=True),
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_pytorchs(name: str) -> None:
    import torch

    messages = []
    for t in (tinytorch, torch):
        with pytest.raises(Exception) as caught:
            ERRORS[name](t, t.autograd.functional, *tensors(t, (3, 4)))
        messages.append((type(caught.value), str(caught.value)))
    (our_type, ours), (their_type, theirs) = messages
    assert our_type is their_type, (ours, theirs)
    words = [set(text.lower().replace(":", " ").split()) for text in (ours, theirs)]
    assert len(words[0] & words[1]) >= 0.5 * len(words[0]), (ours, theirs)


@pytest.mark.oracle
def test_signatures_are_pytorchs() -> None:
    import inspect

    import torch

    for module, names in (("autograd.functional", ("jacobian", "hessian", "hvp", "vhp", "vjp", "jvp")),
                          ("func", ("grad", "grad_and_value", "vjp", "jacrev"))):  # fmt: skip
        for name in names:
            ours, theirs = tinytorch, torch
            for part in (*module.split("."), name):
                ours, theirs = getattr(ours, part), getattr(theirs, part)
            found = [[(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
                     for f in (ours, theirs)]  # fmt: skip
            assert found[0] == found[1], name
