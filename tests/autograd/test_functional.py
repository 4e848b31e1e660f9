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


def test_an_output_without_elements_has_a_jacobian_without_elements() -> None:
    empty = tinytorch.zeros(0, 4)
    assert tinytorch.autograd.functional.jacobian(tinytorch.sin, empty).shape == (0, 4, 0, 4)
    assert jacrev(tinytorch.sin)(empty).shape == (0, 4, 0, 4)


def test_jacfwd_and_vmap_where_pytorch_is_wrong() -> None:
    """It gives zeros for argnums=-1, and mixes up dicts whose in_dims are in another order."""
    x, w = tensors(tinytorch, (3, 4), (4, 2))
    forward, reverse = (f(lambda x, w: x @ w, -1)(x, w) for f in (tinytorch.func.jacfwd, jacrev))
    assert forward.shape == (3, 2, 4, 2) and forward.tolist() == reverse.tolist()
    product = tinytorch.vmap(lambda p: p["x"] @ p["w"], in_dims=({"w": None, "x": 0},))({"x": x, "w": w})
    np.testing.assert_allclose(product.numpy(), x.numpy() @ w.numpy())


def test_linearize_runs_the_function_once_and_jacfwd_too() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(x)
        return x**2

    x = tinytorch.tensor([1.0, 2.0, 3.0])
    _, push = tinytorch.func.linearize(f, x)
    assert [push(v * x).tolist() for v in (1, 10)] == [[2.0, 8.0, 18.0], [20.0, 80.0, 180.0]]
    assert tinytorch.func.jacfwd(f)(x).tolist() == np.diag([2.0, 4.0, 6.0]).tolist()
    assert len(calls) == 2


def test_random_numbers_under_vmap_and_jacfwd() -> None:
    x = tinytorch.ones(3, 4)
    same = tinytorch.vmap(lambda x: x * tinytorch.rand(4), randomness="same")(x)
    other = tinytorch.vmap(lambda x: x * tinytorch.rand(4), randomness="different")(x)
    assert (same == same[0]).all() and len(set(other.reshape(-1).tolist())) == 12
    assert not (tinytorch.vmap(lambda x: x * tinytorch.rand(4), randomness="same")(x) == same).any()
    for randomness, count in (("same", 1), ("different", 4)):
        scaled = tinytorch.func.jacfwd(lambda x: x * tinytorch.rand(1), randomness=randomness)(x[0])
        assert len(set(scaled.reshape(-1).tolist()) - {0.0}) == count


def test_vmap_needs_a_slice_and_outputs_of_one_form() -> None:
    with pytest.raises(ValueError, match=r"vmap\(sin\): the mapped dimension is empty"):
        tinytorch.vmap(tinytorch.sin)(tinytorch.ones(0, 3))
    with pytest.raises(ValueError, match=r"returns \('\*',\) for the first slice, but \('\*', '\*'\) for slice 1"):
        tinytorch.vmap(lambda x: (x,) * int(x))(tinytorch.tensor([1.0, 2.0]))


def test_a_module_is_as_before_also_after_an_error() -> None:
    model = tinytorch.nn.Sequential(tinytorch.nn.Linear(2, 3), tinytorch.nn.Linear(3, 1))
    before = dict(model.named_parameters())
    given = {"1.weight": tinytorch.ones(2, 2), "0.bias": tinytorch.ones(3)}
    with pytest.raises(RuntimeError, match="does not fit weight"):
        tinytorch.func.functional_call(model, given, tinytorch.ones(2))
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name[0])
        assert parameter is before[name] and getattr(owner, name[2:]) is parameter
    with pytest.raises(TypeError, match=r"expected a Module, got <class 'function'>\. What torch.compile returns"):
        tinytorch.func.functional_call(tinytorch.compile(model), given, tinytorch.ones(2))


def test_per_sample_gradients_compile() -> None:
    model = tinytorch.nn.Linear(3, 2)
    xs, targets = tinytorch.randn(4, 3), tinytorch.randn(4, 2)

    def loss(parameters: Any, x: Any, target: Any) -> Any:
        return ((tinytorch.func.functional_call(model, parameters, x) - target) ** 2).sum()

    def of_samples(parameters: Any, xs: Any, targets: Any) -> Any:
        return tinytorch.vmap(grad(loss), in_dims=(None, 0, 0))(parameters, xs, targets)

    parameters = {name: p.detach() for name, p in model.named_parameters()}
    compiled = tinytorch.compile(of_samples)
    for _ in range(3):
        found, expected = compiled(parameters, xs, targets), of_samples(parameters, xs, targets)
        assert found["weight"].shape == (4, 2, 3)
        assert {name: g.tolist() for name, g in found.items()} == {name: g.tolist() for name, g in expected.items()}
    loss(dict(model.named_parameters()), xs[2], targets[2]).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None
        np.testing.assert_allclose(found[name][2].numpy(), p.grad.numpy(), rtol=1e-5)


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
    "vhp": lambda t, F, x, w: F.vhp(lambda x: (x @ w).sin().sum(), x, x * x),
    "vhp of two": lambda t, F, x, w: F.vhp(lambda x, w: (x @ w).exp().sum(), (x, w), (x.cos(), w.cos())),
    "vhp of a number": lambda t, F, x, w: F.vhp(lambda a: a**3, x[0, 0]),
    "vhp unused": lambda t, F, x, w: F.vhp(lambda x, w: x.exp().sum(), (x, w), (x, w)),
    "vhp of a linear": lambda t, F, x, w: F.vhp(lambda x: x.sum(), x, x),
    "vhp, one element": lambda t, F, x, w: F.vhp(lambda x: (x**3).sum().reshape(1, 1), x, x),
    "vhp recorded": lambda t, F, x, w: F.vhp(lambda x: x.exp().sum(), x.requires_grad_(), x, create_graph=True),
    "vhp strict": lambda t, F, x, w: F.vhp(lambda x: x.exp().sum(), x, x, strict=True),
    "vhp of fused": lambda t, F, x, w: F.vhp(lambda x: (fused(t, x) * x).sum(), x, x.sin()),
    "hvp": lambda t, F, x, w: F.hvp(lambda x: (x @ w).sin().sum(), x, x * x),
    "hvp of two": lambda t, F, x, w: F.hvp(lambda x, w: (x @ w).exp().sum(), (x, w), (x.cos(), w.cos())),
    "hvp of a number": lambda t, F, x, w: F.hvp(lambda a: a**3, x[0, 0]),
    "hvp unused": lambda t, F, x, w: F.hvp(lambda x, w: x.exp().sum(), (x, w), (x, w)),
    "hvp of a linear": lambda t, F, x, w: F.hvp(lambda x: x.sum(), x, x),
    "hvp recorded": lambda t, F, x, w: F.hvp(lambda x: x.exp().sum(), x.requires_grad_(), x, create_graph=True),
    "hvp strict": lambda t, F, x, w: F.hvp(lambda x: x.exp().sum(), x, x, strict=True),
    "hvp of fused": lambda t, F, x, w: F.hvp(lambda x: (fused(t, x) * x).sum(), x, x.sin()),
    "hvp under no_grad": lambda t, F, x, w: under_no_grad(t, lambda: F.hvp(lambda x: x.exp().sum(), x, x)),
    # func
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
    # J v
    "func.jvp": lambda t, F, x, w: t.func.jvp(lambda x, w: (x @ w).softmax(-1), (x, w), (x.sin(), w.sin())),
    "jvp of a dict": lambda t, F, x, w: t.func.jvp(
        lambda p: {"y": p["x"] @ p["w"][0]}, ({"x": x, "w": [w]},), ({"x": x, "w": [w]},)
    ),
    "jvp, aux": lambda t, F, x, w: t.func.jvp(lambda x: (x.sin(), (x, {"w": w})), (x,), (x,), has_aux=True),
    "jvp of nothing": lambda t, F, x, w: t.func.jvp(lambda x: (w, x.detach(), x.exp()), (x,), (x,)),
    "jvp of integers": lambda t, F, x, w: t.func.jvp(lambda x: (x.exp(), x.long()), (x,), (x,)),
    "jvp of itself": lambda t, F, x, w: t.func.jvp(lambda x: (x, x[0]), (x,), (x,)),
    "jvp strict": lambda t, F, x, w: t.func.jvp(lambda x: x.exp(), (x,), (x,), strict=True),
    "jvp of what requires grad": lambda t, F, x, w: t.func.jvp(lambda x: x.sin(), (x.requires_grad_(),), (x.detach(),)),
    "jvp along what requires grad": lambda t, F, x, w: t.func.jvp(t.sin, (x,), (x.clone().requires_grad_(),)),
    "jvp with a parameter": lambda t, F, x, w: jvp_with(t, x, w.requires_grad_()),
    "jvp under no_grad": lambda t, F, x, w: under_no_grad(
        t, lambda: t.func.jvp(lambda x: x.sin(), (x.requires_grad_(),), (x,))
    ),
    "jvp of writes": lambda t, F, x, w: t.func.jvp(lambda x: written(x), (x,), (x.sin(),)),
    "jvp of views": lambda t, F, x, w: t.func.jvp(lambda x: (x.T[1:] * x[:, :3].T).transpose(0, 1), (x,), (x.sin(),)),
    "jvp of fused": lambda t, F, x, w: t.func.jvp(lambda x: fused(t, x), (x,), (x.sin(),)),
    "jvp at a singularity": lambda t, F, x, w: t.func.jvp(lambda x: x.sqrt(), (x * 0,), (x,)),
    "jvp of a grad": lambda t, F, x, w: t.func.jvp(t.func.grad(lambda x: (x @ w).sin().sum()), (x,), (x,)),
    "grad of a jvp": lambda t, F, x, w: t.func.grad(lambda x: t.func.jvp(t.exp, (x,), (w[:3],))[1].sum())(x[:, :2]),
    "grad along": lambda t, F, x, w: t.func.grad(lambda v: t.func.jvp(t.exp, (x,), (v,))[1].sum())(x),
    "jvp of a jvp": lambda t, F, x, w: t.func.jvp(lambda x: t.func.jvp(t.sin, (x,), (x,))[1], (x,), (x.exp(),)),
    "backward of a jvp": lambda t, F, x, w: leaf_gradient(
        t, x, lambda x: t.func.jvp(lambda x: (x @ w).exp(), (x,), (x.detach().exp(),))[1].sum()
    ),
    "linearize": lambda t, F, x, w: t.func.linearize(lambda x, w: (x @ w).exp(), x, w)[1](x.sin(), w.sin()),
    "linearize, outputs": lambda t, F, x, w: t.func.linearize(lambda x: {"y": x.sin()}, x)[0],
    "linearize, twice": lambda t, F, x, w: [t.func.linearize(lambda x: x.exp(), x)[1](v) for v in (x, x.sin())],
    "linearize of a constant": lambda t, F, x, w: t.func.linearize(lambda x: w * 1, x)[1](x),
    "jacfwd": lambda t, F, x, w: t.func.jacfwd(lambda x: (x @ w).softmax(-1))(x),
    "jacfwd of several": lambda t, F, x, w: t.func.jacfwd(lambda x, w: (x @ w, w.sin()), argnums=(0, 1))(x, w),
    "jacfwd of a dict": lambda t, F, x, w: t.func.jacfwd(lambda p: {"a": p["x"].sin(), "b": [p["x"].sum()]})({"x": x}),
    "jacfwd, aux": lambda t, F, x, w: t.func.jacfwd(lambda x: (x.sin(), (x, w)), has_aux=True)(x),
    "jacfwd of integers": lambda t, F, x, w: t.func.jacfwd(lambda x: x.long())(x),
    "jacfwd of what requires grad": lambda t, F, x, w: t.func.jacfwd(lambda x: x.sin())(x.requires_grad_()),
    "jacfwd under no_grad": lambda t, F, x, w: under_no_grad(
        t, lambda: t.func.jacfwd(lambda x: x.sin())(x.requires_grad_())
    ),
    "jacfwd without elements": lambda t, F, x, w: t.func.jacfwd(lambda x: x.sin())(x[:0]),
    "jacfwd of dropout": lambda t, F, x, w: t.func.jacfwd(
        lambda x: t.nn.functional.dropout(x, 0.0), randomness="same"
    )(x),
    "jacfwd of jacfwd": lambda t, F, x, w: t.func.jacfwd(t.func.jacfwd(lambda x: (x @ w).sin().sum()))(x),
    "jacrev of jacfwd": lambda t, F, x, w: t.func.jacrev(t.func.jacfwd(lambda x: (x @ w).sin().sum()))(x),
    "func.hessian": lambda t, F, x, w: t.func.hessian(lambda x: (x @ w).sin().sum())(x),
    "func.hessian of two": lambda t, F, x, w: t.func.hessian(lambda x, w: (x @ w).exp().sum(), (0, 1))(x, w),
    "func.hessian of a dict": lambda t, F, x, w: t.func.hessian(lambda p: (p["x"] @ p["w"]).exp().sum())(
        {"x": x[:, :2], "w": w[:2]}
    ),
    "func.hessian of outputs": lambda t, F, x, w: t.func.hessian(lambda x: (x @ w).exp())(x[:1]),
    "func.hessian of a linear": lambda t, F, x, w: t.func.hessian(lambda x: x.sum())(x),
    # vmap
    "vmap": lambda t, F, x, w: t.func.vmap(lambda x: (x @ w).softmax(-1))(x),
    "vmap along": lambda t, F, x, w: t.vmap(lambda x, w: x * w.sum(), in_dims=(1, 0), out_dims=-1)(x, w),
    "vmap of outputs": lambda t, F, x, w: t.vmap(lambda x: {"y": x, "z": [x.sum()]}, out_dims={"y": 1, "z": [0]})(x),
    "vmap of a constant": lambda t, F, x, w: t.func.vmap(lambda x: (w, w), out_dims=(0, None))(x),
    "vmap of no Tensor": lambda t, F, x, w: t.func.vmap(lambda x: (x, "text"), out_dims=(0, None))(x),
    "vmap of a dict": lambda t, F, x, w: t.vmap(lambda p: p["x"] @ p["w"], in_dims=({"x": 0, "w": None},))(
        {"x": x, "w": w}
    ),
    "vmap, keywords": lambda t, F, x, w: t.func.vmap(lambda x, w: x @ w)(x, w=w),
    "vmap in chunks": lambda t, F, x, w: t.func.vmap(lambda x: x.sin(), out_dims=1, chunk_size=2)(x),
    "vmap of vmap": lambda t, F, x, w: t.func.vmap(t.func.vmap(lambda a: a * a))(x),
    "vmap of grad": lambda t, F, x, w: t.vmap(t.func.grad(lambda w, x: (x @ w).exp().sum()), in_dims=(None, 0))(w, x),
    "vmap of jacrev": lambda t, F, x, w: t.func.vmap(t.func.jacrev(lambda x: (x @ w).exp()))(x),
    "vmap of hessian": lambda t, F, x, w: t.vmap(t.func.hessian(lambda x: (x @ w).exp().sum()))(x),
    "grad of vmap": lambda t, F, x, w: t.func.grad(lambda x: t.func.vmap(lambda x: x.exp().sum())(x).sum())(x),
    "backward of vmap": lambda t, F, x, w: leaf_gradient(
        t, x, lambda x: t.vmap(t.dot, in_dims=(0, None))(x, w[:, 0]).exp().sum()
    ),
    "vmap under no_grad": lambda t, F, x, w: under_no_grad(t, lambda: t.vmap(lambda x: x * 2)(x.requires_grad_())),
    "vmap of writes": lambda t, F, x, w: (t.vmap(lambda x: x.add_(1))(x), x),
    "vmap of dropout": lambda t, F, x, w: t.vmap(lambda x: t.nn.functional.dropout(x, 0.0), randomness="different")(x),
    # functional_call
    "functional_call": lambda t, F, x, w: t.func.functional_call(linear(t, w), {"weight": w.T.exp()}, x),
    "functional_call, grad": lambda t, F, x, w: t.func.grad(loss_of(t, w))(
        dict(linear(t, w).named_parameters()), x
    ),
    "functional_call, per sample": lambda t, F, x, w: t.vmap(
        t.func.grad(loss_of(t, w)), in_dims=(None, 0)
    )({"weight": w.T.exp()}, x),
    "functional_call, dicts": lambda t, F, x, w: t.func.functional_call(linear(t, w), ({"weight": w.T.exp()}, {}), x),
    "functional_call, unknown": lambda t, F, x, w: t.func.functional_call(linear(t, w), {"wait": w}, x),
    "functional_call, nothing": lambda t, F, x, w: t.func.functional_call(linear(t, w), {}, kwargs={"input": x}),
    "functional_call, below": lambda t, F, x, w: t.func.functional_call(
        t.nn.Sequential(linear(t, w), linear(t, w.T)), {"1.weight": w.cos()}, x
    ),
    "functional_call, tied": lambda t, F, x, w: t.func.functional_call(tied(t, w), {"0.weight": w.T.cos()}, x),
    "functional_call, untied": lambda t, F, x, w: t.func.functional_call(
        tied(t, w), {"0.weight": w.T.cos()}, x, tie_weights=False
    ),
    "functional_call, buffers": lambda t, F, x, w: buffers(t, x),
}  # fmt: skip


def with_parameter(t: Any, x: Any, w: Any) -> Any:
    return t.func.grad(lambda x: (x @ w).sin().sum())(x)


def fused(t: Any, x: Any) -> Any:
    """Operations whose backward is one kernel here."""
    F = t.nn.functional
    y = F.gelu(F.layer_norm(x, x.shape[-1:]), approximate="tanh") + F.silu(x).log_softmax(-1)
    return y * F.cross_entropy(x, t.tensor([1, 0, 3]))


def written(x: Any) -> Any:
    """Writes in place, into a whole Tensor and through a view."""
    y = x.sin()
    y.mul_(x)
    y[1:] += x[:-1] ** 2
    return y


def leaf_gradient(t: Any, x: Any, f: Any) -> Any:
    x = x.detach().requires_grad_()
    f(x).backward()
    return x.grad


def linear(t: Any, w: Any) -> Any:
    layer = t.nn.Linear(*w.shape, bias=False).double()
    layer.weight = t.nn.Parameter(w.detach().T.clone())
    return layer


def tied(t: Any, w: Any) -> Any:
    """x @ w, a bend, and the same w again."""
    first, last = linear(t, w), linear(t, w)
    last.weight = first.weight
    return t.nn.Sequential(first, t.nn.Linear(2, 4).double().requires_grad_(False).apply(_ones), last)


def _ones(module: Any) -> None:
    for parameter in module.parameters():
        parameter.fill_(1)


def buffers(t: Any, x: Any) -> Any:
    """What a module assigns to a buffer ends up in the dict."""

    class Counter(t.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", t.zeros(1))

        def forward(self, x: Any) -> Any:
            self.count = self.count + 1
            return x + self.count

    module, given = Counter(), {"count": t.ones(1)}
    return t.func.functional_call(module, given, x), given, module.count


def jvp_with(t: Any, x: Any, w: Any) -> Any:
    return t.func.jvp(lambda x: x @ w, (x,), (x,))


def loss_of(t: Any, w: Any) -> Any:
    model = linear(t, w)
    return lambda p, x: t.func.functional_call(model, p, (x,)).exp().sum()


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
    "vhp of several": lambda t, F, x: F.vhp(lambda x: x, x, x),
    "hvp of a tuple": lambda t, F, x: F.hvp(lambda x: (x.sum(),), x, x),
    "vhp, no v": lambda t, F, x: F.vhp(lambda x: x.sum(), x),
    "hvp, no v": lambda t, F, x: F.hvp(lambda x: x.sum(), x),
    "hvp, shape of v": lambda t, F, x: F.hvp(lambda x: x.sum(), x, x[0]),
    "vhp, no output": lambda t, F, x: F.vhp(lambda x: 3, x, x),
    "strict vhp, linear": lambda t, F, x: F.vhp(lambda x: x.sum(), x, x, strict=True),
    "strict vhp, unused": lambda t, F, x: F.vhp(lambda x, y: x.exp().sum(), (x, x), (x, x), strict=True),
    "strict vhp, separate": lambda t, F, x: F.vhp(lambda x, y: x.exp().sum() + y.sum(), (x, x), (x, x), strict=True),
    "strict vhp, quadratic": lambda t, F, x: F.vhp(lambda x: (x * x).sum(), x, x, True, True),
    "strict hvp, linear": lambda t, F, x: F.hvp(lambda x: x.sum(), x, x, strict=True),
    "strict hvp, detached": lambda t, F, x: F.hvp(lambda x: x.detach().sum(), x, x, strict=True),
    "strict hvp, quadratic": lambda t, F, x: F.hvp(lambda x: (x * x).sum(), x, x, True, True),
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
    "jvp, no tuple": lambda t, F, x: t.func.jvp(lambda x: x, x, x),
    "jvp, other form": lambda t, F, x: t.func.jvp(lambda x: x, (x,), (x, x)),
    "jvp, other shape": lambda t, F, x: t.func.jvp(lambda x: x, (x,), (x[0],)),
    "jvp of nothing": lambda t, F, x: t.func.jvp(lambda: x, (), ()),
    "jvp at a number": lambda t, F, x: t.func.jvp(lambda x: x, (3.0,), (3.0,)),
    "jvp at integers": lambda t, F, x: t.func.jvp(lambda x: x * 2, (x.long(),), (x.long(),)),
    "jvp of no Tensor": lambda t, F, x: t.func.jvp(lambda x: 3, (x,), (x,)),
    "jvp without outputs": lambda t, F, x: t.func.jvp(lambda x: (), (x,), (x,)),
    "jvp without aux": lambda t, F, x: t.func.jvp(lambda x: x, (x,), (x,), has_aux=True),
    "strict jvp": lambda t, F, x: t.func.jvp(lambda y: (y, x), (x,), (x,), strict=True),
    "linearize, other form": lambda t, F, x: t.func.linearize(lambda x: x.sin(), x)[1](x, x),
    "linearize, other shape": lambda t, F, x: t.func.linearize(lambda x: x.sin(), x)[1](x[0]),
    "linearize, other dtype": lambda t, F, x: t.func.linearize(lambda x: x.sin(), x)[1](x.float()),
    "jacfwd of no Tensor": lambda t, F, x: t.func.jacfwd(lambda x: 3)(x),
    "jacfwd, argnums": lambda t, F, x: t.func.jacfwd(lambda x: x, 1)(x),
    "jacfwd, random": lambda t, F, x: t.func.jacfwd(lambda x: t.nn.functional.dropout(x))(x),
    "jacfwd, randomness": lambda t, F, x: t.func.jacfwd(lambda x: x, randomness="some")(x),
    "vmap, randomness": lambda t, F, x: t.vmap(lambda x: x, randomness="some"),
    "vmap, random": lambda t, F, x: t.vmap(lambda x: x * t.rand(4))(x),
    "vmap, chunk_size": lambda t, F, x: t.vmap(lambda x: x, chunk_size=0),
    "vmap, in_dims": lambda t, F, x: t.vmap(lambda x: x, in_dims=[0])(x),
    "vmap, form of in_dims": lambda t, F, x: t.vmap(lambda x: x, in_dims=(0, 0))(x),
    "vmap, keys of in_dims": lambda t, F, x: t.vmap(lambda p: p["x"], in_dims=({"y": 0},))({"x": x}),
    "vmap, in_dim": lambda t, F, x: t.vmap(lambda x: x, in_dims=(0.5,))(x),
    "vmap, large in_dim": lambda t, F, x: t.vmap(lambda x: x, in_dims=2)(x),
    "vmap of a number": lambda t, F, x: t.vmap(lambda x: x)(x[0, 0]),
    "vmap of no Tensor": lambda t, F, x: t.vmap(lambda x, y: x)(x, 3),
    "vmap of nothing": lambda t, F, x: t.vmap(lambda: x)(),
    "vmap along nothing": lambda t, F, x: t.vmap(lambda x: x, in_dims=(None,))(x),
    "vmap of two sizes": lambda t, F, x: t.vmap(lambda x, y: x)(x, x.T),
    "vmap, out_dims": lambda t, F, x: t.vmap(lambda x: x, out_dims="a")(x),
    "vmap, form of out_dims": lambda t, F, x: t.vmap(lambda x: (x, x), out_dims=(0,))(x),
    "vmap, form of out_dims for one": lambda t, F, x: t.vmap(lambda x: x, out_dims=(0, 0))(x),
    "vmap, large out_dim": lambda t, F, x: t.vmap(lambda x: x, out_dims=5)(x),
    "vmap, no out_dim": lambda t, F, x: t.vmap(lambda x: x, out_dims=None)(x),
    "vmap, out a number": lambda t, F, x: t.vmap(lambda x: 3)(x),
    "functional_call, strict": lambda t, F, x: t.func.functional_call(t.nn.Linear(4, 2), {"wait": x}, x, strict=True),
    "functional_call, path": lambda t, F, x: t.func.functional_call(t.nn.Linear(4, 2), {"a.b": x}, x),
    "functional_call, number": lambda t, F, x: t.func.functional_call(t.nn.Linear(4, 2), {"weight": 3}, x),
    "functional_call, no dict": lambda t, F, x: t.func.functional_call(t.nn.Linear(4, 2), 3, x),
    "functional_call, no dicts": lambda t, F, x: t.func.functional_call(t.nn.Linear(4, 2), [3], x),
    "functional_call, twice": lambda t, F, x: t.func.functional_call(t.nn.Linear(4, 2), [{"bias": x}, {"bias": x}], x),
    "functional_call, tied": lambda t, F, x: t.func.functional_call(
        tied(t, x.T[:, :2]), {"0.weight": x, "2.weight": x * 2}, x
    ),
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

    for module, names in (("autograd.functional", tinytorch.autograd.functional.__all__),
                          ("func", tinytorch.func.__all__)):  # fmt: skip
        for name in names:
            ours, theirs = tinytorch, torch
            for part in (*module.split("."), name):
                ours, theirs = getattr(ours, part), getattr(theirs, part)
            found = [[(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
                     for f in (ours, theirs)]  # fmt: skip
            assert found[0] == found[1], name
