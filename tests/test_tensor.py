"""Tensors: what they are, conversions, operators with NumPy, views, version counters and in-place operations."""

from __future__ import annotations

import copy
import math
import operator
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch import Tensor, nn

ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


def nonleaf(*values: float) -> tuple[Tensor, Tensor]:
    """A leaf, and a result of it with the same values."""
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    return x, x * 1


# ---------------------------------------------------------------------- attributes


def test_attributes() -> None:
    x = torch.zeros(2, 3, 4)
    assert x.shape == (2, 3, 4) == x.size() and x.size(-1) == 4 and x.shape.numel() == 24
    assert repr(x.shape) == "torch.Size([2, 3, 4])"
    assert (x.ndim, x.dim(), x.numel(), x.nelement()) == (3, 3, 24, 24)
    assert x.stride() == (12, 4, 1) and x.mT.stride() == (12, 1, 4) and x.is_contiguous() and not x.mT.is_contiguous()
    assert (x.itemsize, x.element_size(), x.nbytes) == (4, 4, 96)
    assert x.is_floating_point() and not x.long().is_floating_point() and torch.is_tensor(x)
    with pytest.raises(IndexError, match="range"):
        x.size(3)


def test_device() -> None:
    x = torch.ones(2, device="cpu")
    assert x.device == "cpu" and x.device.type == "cpu" and repr(x.device) == "device(type='cpu')"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert (
        x.to(device) is x and x.to("cpu") is x and x.cpu() is x and x.to(x.device, torch.float64).dtype == torch.float64
    )
    assert str(torch.device("cpu:0")) == "cpu" and torch.device("cpu") == x.device
    for refused in ("cuda", "cuda:0", "mps", "meta"):
        for use in (
            lambda d=refused: x.to(d),
            lambda d=refused: torch.ones(2, device=d),
            lambda d=refused: torch.device(d),
        ):
            with pytest.raises(RuntimeError, match=f"device '{refused}' is not available"):
                use()


def test_leaves_and_histories() -> None:
    x, y = nonleaf(1.0, 2.0)
    assert x.is_leaf and x.grad_fn is None and not y.is_leaf and y.requires_grad
    assert torch.ones(2).is_leaf and y.detach().is_leaf and not y.detach().requires_grad
    z = y * 2 + 1
    assert z.grad_fn.name() == "AddBackward0" and repr(z.grad_fn) == "<AddBackward0>"
    (product, number), (constant, _) = z.grad_fn.next_functions
    assert product.name() == "MulBackward0" and number == 0 and constant is None
    leaf = y.grad_fn.next_functions[0][0]
    assert leaf.variable is x and leaf.name() == "AccumulateGrad" and leaf.next_functions == ()


@pytest.mark.oracle
def test_names_of_nodes_are_pytorchs() -> None:
    import torch as theirs

    def names(t: Any) -> list[str]:
        x = t.ones(2, 2, requires_grad=True)
        made = [x + x, x - x, x * x, x / x, -x, x**2, x.sum(), x.mean(), x.exp(), x.log(), x.sqrt(), x.tanh()]
        made += [
            x.sigmoid(),
            x.relu(),
            x.abs(),
            x.clone(),
            x.softmax(0),
            x.log_softmax(0),
            t.cat([x, x]),
            x.permute(1, 0),
        ]
        return [m.grad_fn.name() for m in made]

    assert names(torch) == names(theirs)


# ---------------------------------------------------------------------- conversions


def test_numpy_shares_memory_both_ways() -> None:
    array = np.zeros(3)
    x = torch.from_numpy(array)
    array[0] = 1
    x[1] = 2
    assert x.tolist() == array.tolist() == [1.0, 2.0, 0.0]
    x.numpy()[2] = 3
    np.asarray(x)[0] = 4
    torch.as_tensor(array)[1] = 5
    assert array.tolist() == [4.0, 5.0, 3.0]
    for copied in (torch.tensor(array), torch.as_tensor(array, dtype=torch.float32), Tensor(np.array(array))):
        copied[0] = 9
    np.array(x)[0] = 9
    assert array[0] == 4.0 and np.asarray(x, dtype=np.float32).dtype == np.float32


def test_what_requires_grad_does_not_become_an_array_silently() -> None:
    x = torch.ones(2, requires_grad=True)
    for convert in (lambda: x.numpy(), lambda: np.asarray(x), lambda: np.exp(x)):  # type: ignore[call-overload]
        with pytest.raises(RuntimeError, match=r"detach\(\)"):
            convert()
    assert x.detach().numpy().tolist() == x.numpy(force=True).tolist() == [1.0, 1.0]
    assert x.tolist() == [1.0, 1.0] and float(x.sum()) == 2.0


def test_functions_of_numpy_return_tensors() -> None:
    for made in (np.exp(torch.ones(2)), np.add(np.ones(2, np.float32), torch.zeros(2))):  # type: ignore[call-overload]
        assert isinstance(made, Tensor) and made.dtype == torch.float32


LEFT = (
    np.array([1.5, 2.5, -3.5], np.float32),
    np.array([3, 2, 1]),
    np.array(2.5),
    np.float32(2.5),
    np.float64(2.5),
    np.int64(3),
    np.bool_(True),
    2.5,
    3,
    True,
)


@pytest.mark.parametrize("left", LEFT, ids=lambda v: f"{type(v).__name__} {v}")
@pytest.mark.parametrize("name", ARITHMETIC + COMPARISONS)
def test_numbers_and_arrays_on_either_side_of_every_operator(name: str, left: Any) -> None:
    op = getattr(operator, name)
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    array = np.asarray(left, np.float32)
    if name == "sub" and isinstance(left, (bool, np.bool_)):
        for refused in (lambda: op(left, x), lambda: op(x, left)):
            with pytest.raises(RuntimeError, match="with a bool tensor is not supported"):
                refused()
        return
    for result, expected in (
        (op(left, x), op(array, x.detach().numpy())),
        (op(x, left), op(x.detach().numpy(), array)),
    ):
        assert isinstance(result, Tensor)
        assert result.dtype == (torch.bool if name in COMPARISONS else torch.float32)
        np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-6)
        assert result.requires_grad == (name not in COMPARISONS)


def test_other_operators_with_arrays() -> None:
    x, array = torch.ones(3, 2), np.ones((2, 3), np.float32)
    assert isinstance(array @ x, Tensor) and isinstance(x @ array, Tensor)
    mask = np.array([True, False])
    for op in (operator.and_, operator.or_, operator.xor):
        assert op(mask, torch.tensor([True, True])).tolist() == op(mask, np.array([True, True])).tolist()
    array += torch.ones(2, 3)  # type: ignore[arg-type]
    assert np.asarray(array).tolist() == [[2.0] * 3] * 2
    assert (+x).tolist() == x.tolist() and (~torch.tensor([True, False])).tolist() == [False, True]


@pytest.mark.parametrize("other", ["a", None, [1, 2], object()])
def test_operators_refuse_what_is_not_a_number(other: Any) -> None:
    x = torch.ones(2)
    for op in (operator.add, operator.mul, operator.truediv, operator.lt):
        with pytest.raises(TypeError):
            op(x, other)
        with pytest.raises(TypeError):
            op(other, x)
    assert (x == None) is False and (x != None) is True  # noqa: E711


def test_python_numbers() -> None:
    assert [type(torch.tensor(v).item()) for v in (1, 1.5, True)] == [int, float, bool]
    assert torch.tensor([[2.5]], dtype=torch.bfloat16).item() == 2.5
    assert torch.ones(2, 2, dtype=torch.bfloat16).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert torch.zeros(0, 2).tolist() == [] and torch.tensor(3).tolist() == 3
    assert float(torch.tensor([2])) == 2.0 and int(torch.tensor([[3.7]])) == 3
    assert [10, 20, 30][torch.tensor(1)] == 20 and list(range(torch.tensor([2]))) == [0, 1]
    assert bool(torch.tensor([[2]])) and not torch.tensor(0.0)
    for convert in (float, int):
        with pytest.raises(ValueError, match="only one element"):
            convert(torch.ones(2))
    with pytest.raises(RuntimeError, match="2 elements"):
        torch.ones(2).item()
    for ambiguous in (torch.ones(2), torch.ones(0)):
        with pytest.raises(RuntimeError, match="ambiguous"):
            bool(ambiguous)
    with pytest.raises(TypeError, match="index"):
        operator.index(torch.tensor(1.0))


def test_formats() -> None:
    loss = torch.tensor(1.5, requires_grad=True)
    assert f"{loss:.3f} {loss} {torch.tensor(3):3d} {torch.tensor(2.0):.2e}" == "1.500 1.5   3 2.00e+00"
    assert f"{torch.ones(1)}" == "tensor([1.])"
    with pytest.raises(TypeError):
        f"{torch.ones(2):.2f}"


def test_iteration_length_membership() -> None:
    x, y = nonleaf(1.0, 2.0, 3.0)
    assert len(y) == 3 and [v.item() for v in y] == [1.0, 2.0, 3.0] and 2.0 in y and 5 not in y
    a, _, c = y
    (a * 2 + c * 3).backward()
    assert x.grad is not None and x.grad.tolist() == [2.0, 0.0, 3.0]
    for use in (len, iter):
        with pytest.raises(TypeError, match="0-d"):
            use(torch.tensor(1.0))
    assert max(torch.tensor(1.0), torch.tensor(2.0)).item() == 2.0 and sum([torch.ones(1)] * 3).item() == 3.0
    assert len({x, y, x}) == 2


def test_conversions_of_dtype() -> None:
    x = torch.tensor([1.7, -1.7])
    methods = dict(
        float="float32", double="float64", half="float16", bfloat16="bfloat16", long="int64", int="int32", bool="bool"
    )
    for method, name in methods.items():
        assert str(getattr(x, method)().dtype) == name
    assert x.long().tolist() == [1, -1] and x.float() is x and x.to(torch.float32) is x
    assert x.to(torch.float32, copy=True) is not x and x.type(torch.float64).dtype == x.double().dtype
    assert (
        x.type() == "torch.float32"
        and x.type_as(x.long()).dtype == torch.int64
        and x.to(x.double()).dtype == torch.float64
    )
    assert x.to("cpu", dtype=torch.float16).dtype == torch.float16


def test_deepcopy() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (x * x).sum().backward()
    y = copy.deepcopy(x)
    assert y.requires_grad and y.grad is not None and x.grad is not None
    assert not np.shares_memory(y.array, x.array) and not np.shares_memory(y.grad.array, x.grad.array)
    assert y.tolist() == x.tolist() and y.grad.tolist() == x.grad.tolist()
    tied = copy.deepcopy([x, x])
    assert tied[0] is tied[1]
    with pytest.raises(RuntimeError, match="leaf"):
        copy.deepcopy(x * 2)


def test_deepcopy_of_a_parameter_leaves_its_gradient() -> None:
    p = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T)
    (p * p).sum().backward()
    q, same = copy.deepcopy([p, p])
    assert type(q) is nn.Parameter and q is same and q.requires_grad and q.grad is None and p.grad is not None
    assert q.tolist() == p.tolist() and q.stride() == p.stride() and not np.shares_memory(q.array, p.array)
    assert not copy.deepcopy(nn.Parameter(torch.ones(1), requires_grad=False)).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_copies_of_views_share_memory_as_the_views_do(dtype: Any) -> None:
    def family(base: Tensor) -> list[Tensor]:
        return [base[:, 1:], base, base.T, base[0, 0], base.detach(), base.reshape(6)[::2], base[:0]]

    originals = family(torch.ones(2, 3, dtype=dtype))
    for order in (list(range(7)), list(range(6, -1, -1))):  # whichever of them is met first
        copies = dict(zip(order, copy.deepcopy([originals[i] for i in order]), strict=True))
        for i in order:
            assert copies[i].tolist() == originals[i].tolist() and copies[i].stride() == originals[i].stride()
            assert not np.shares_memory(copies[i].array, originals[i].array)
        copies[0].fill_(0)
        assert copies[1].long().tolist() == [[1, 0, 0], [1, 0, 0]]
        assert [copies[i].tolist() for i in range(7)] == [view.tolist() for view in family(copies[1])]
    assert originals[1].long().tolist() == [[1, 1, 1], [1, 1, 1]]


def test_a_copy_of_an_expanded_tensor_cannot_be_written_either() -> None:
    copied = copy.deepcopy(torch.ones(2, 1).expand(2, 3))
    assert copied.stride() == (1, 0) and copied.tolist() == [[1.0] * 3] * 2
    with pytest.raises(RuntimeError, match="expanded"):
        copied.add_(1)


def test_a_copy_of_read_only_memory_can_be_written() -> None:
    copied = copy.deepcopy(torch.from_numpy(np.frombuffer(bytes(8), np.int32)))
    assert copied.add_(1).tolist() == [1, 1]


def test_copies_keep_the_users_attributes() -> None:
    x = torch.ones(2, requires_grad=True)
    x.mark = [1]  # type: ignore[attr-defined]
    x.register_hook(print)
    (x * x).sum().backward()
    deep, shallow, pickled = copy.deepcopy(x), copy.copy(x), pickle.loads(pickle.dumps(x))
    assert deep.mark == shallow.mark == pickled.mark == [1]
    assert shallow.mark is x.mark and deep.mark is not x.mark  # type: ignore[attr-defined]
    for copied in (deep, shallow, pickled):
        assert copied.requires_grad and copied.is_leaf and copied.hooks is None and copied.tolist() == [1.0, 1.0]
    assert deep.grad is not None and shallow.grad is pickled.grad is None


def test_a_shallow_copy_shares_memory_and_is_another_leaf() -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    y = copy.copy(x)
    gx, _ = torch.autograd.grad((x * y).sum(), [x, y], create_graph=True)
    (h,) = torch.autograd.grad(gx.sum(), y, retain_graph=True)
    assert h.tolist() == [1.0, 1.0] and torch.autograd.grad(gx.sum(), x, allow_unused=True) == (None,)
    y.data.fill_(7)
    assert x.tolist() == [7.0, 7.0] and x._version == 0
    assert copy.copy(x * 1).is_leaf


# ---------------------------------------------------------------------- detach, data, views


def test_detach_and_data_share_memory_without_history() -> None:
    x, y = nonleaf(1.0, 2.0)
    for constant in (y.detach(), y.data):
        constant[0] = 5
        assert y.tolist()[0] == 5.0 and not constant.requires_grad
    leaf = nn.Parameter(torch.ones(2))
    leaf.data -= 0.5
    assert leaf.tolist() == [0.5, 0.5] and leaf.requires_grad
    leaf.data = torch.zeros(3)
    assert leaf.shape == (3,) and leaf.is_leaf
    y.detach_()
    assert y.is_leaf and not y.requires_grad and x.requires_grad
    with pytest.raises(RuntimeError, match="detach a view"):
        nonleaf(1.0, 2.0)[1][:1].detach_()


def test_data_has_a_version_of_its_own_and_detach_shares_one() -> None:
    x = torch.ones(3, requires_grad=True)
    a, b, d = x.data, x.data, x.detach()
    a[1:].mul_(2)
    assert (x._version, a._version, b._version, d._version) == (0, 1, 0, 0) and x.tolist() == [1.0, 2.0, 2.0]
    d.mul_(2)
    assert (x._version, a._version, b._version, d._version, x.detach()._version) == (1, 1, 0, 1, 1)
    assert x.data._version == 0


@pytest.mark.parametrize(
    "change",
    (
        lambda w: w.data.clamp_(max=0.5),
        lambda w: w.data[:1].mul_(0.5),
        lambda w: w.data.view(1, 1).fill_(0.5),
        lambda w: setattr(w, "data", w.data.mul_(0.5)),
        lambda w: setattr(w, "data", w.data * 0.5),
        lambda w: setattr(w, "data", torch.tensor([0.5])),
    ),
)
def test_what_is_done_through_data_is_not_noticed(change: Any) -> None:
    """What backward reads of a leaf is what it holds by then, as in PyTorch."""
    w = torch.ones(1, requires_grad=True)
    y = (w * w * w).sum()
    change(w)
    (g,) = torch.autograd.grad(y, w, create_graph=True)
    # Of (w w) w the product was saved as it was: 1, plus w (w + w).
    assert g.tolist() == [1 + 0.5 * (0.5 + 0.5)]
    assert w.tolist() == [0.5] and w.is_leaf and w.requires_grad and w._version == 0


def test_data_given_to_others_than_leaves_or_with_another_shape_is_noticed() -> None:
    x, y = nonleaf(1.0, 2.0)
    z = (y * y).sum()
    y.data = torch.tensor([3.0, 4.0], dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"input of MulBackward0.*given other data"):
        z.backward()
    for other in (torch.zeros(3, dtype=torch.float64), torch.zeros(2), torch.zeros(1, 2, dtype=torch.float64)):
        x, _ = nonleaf(1.0, 2.0)
        z = (x * x).sum()
        x.data = other
        with pytest.raises(RuntimeError, match="given other data"):
            z.backward()


def test_data_given_to_a_leaf_that_was_changed_before_or_after_is_noticed() -> None:
    for first, second in ((True, False), (False, True)):
        w = torch.ones(2, requires_grad=True)
        y = (w * w).sum()
        with torch.no_grad():
            if first:
                w.add_(1)
            w.data = torch.zeros(2)
            if second:
                w.add_(1)
        with pytest.raises(RuntimeError, match="version"):
            y.backward()


def test_data_is_a_tensor_and_of_a_floating_dtype_where_gradients_are_wanted() -> None:
    for make in (lambda: torch.ones(2, requires_grad=True), lambda: torch.ones(2, requires_grad=True) * 2):
        w = make()
        for dtype in (torch.int64, torch.uint8, torch.bool):
            with pytest.raises(RuntimeError, match=f"floating dtype, these are {dtype}"):
                w.data = torch.ones(2, dtype=dtype)
        w.data = torch.ones(2, dtype=torch.float16)
        assert w.dtype == torch.float16 and w.requires_grad
    x = torch.ones(2)
    x.data = torch.tensor([1, 2])
    assert x.dtype == torch.int64
    for refused in ([1.0, 2.0], 3.0, np.ones(2), None):
        with pytest.raises(TypeError, match="data must be a Tensor"):
            x.data = refused  # type: ignore[assignment]


VIEWS = (
    lambda x: x[0],
    lambda x: x[1, 2],
    lambda x: x[:, ::2],
    lambda x: x[None, ..., 1],
    lambda x: x.T,
    lambda x: x.mT,
    lambda x: x.t(),
    lambda x: x.view(-1),
    lambda x: x.view(3, 4),
    lambda x: x.reshape(12),
    lambda x: x.flatten(),
    lambda x: x.unflatten(1, (1, 3)),
    lambda x: x.squeeze(),
    lambda x: x.unsqueeze(0),
    lambda x: x.permute(1, 0),
    lambda x: x.transpose(0, 1),
    lambda x: x.movedim(0, 1),
    lambda x: x.split(2)[1],
    lambda x: x.chunk(2, 1)[0],
    lambda x: x.unbind(1)[2],
    lambda x: x.select(0, 3),
    lambda x: x.narrow(1, 1, 2),
    lambda x: x.view_as(x),
    lambda x: x.detach(),
    lambda x: x.contiguous(),
    lambda x: next(iter(x)),
)


@pytest.mark.parametrize("view", VIEWS)
def test_views_write_through_and_count_versions_together(view: Any) -> None:
    x = torch.zeros(4, 3)
    v = view(x)
    v.fill_(5)
    assert x.sum().item() == 5 * v.numel() and x._version == v._version == 1
    v[...] = 2
    x.add_(1)
    assert x._version == v._version == 3 and (v == 3).all()


@pytest.mark.parametrize(
    "copy_",
    (lambda x: x[[0]], lambda x: x[x == 0], lambda x: x.clone(), lambda x: x.T.reshape(-1), lambda x: x.flip(0)),
)
def test_copies_do_not(copy_: Any) -> None:
    x = torch.zeros(4, 3)
    copy_(x).fill_(5)
    assert x.sum().item() == 0 and x._version == 0


# ---------------------------------------------------------------------- in-place operations


def test_in_place_operations_record_their_history() -> None:
    x, y = nonleaf(1.0, 2.0)
    same = y
    y += 1
    y *= x
    y -= x * 3
    y /= 2
    assert y is same and y._version == 4
    y.sum().backward()  # ((x + 1) x - 3 x) / 2
    assert x.grad is not None and x.grad.tolist() == [(2 * v - 2) / 2 for v in (1.0, 2.0)]


def test_assignment_records_both_sides() -> None:
    x, y = nonleaf(1.0, 2.0, 3.0)
    w = torch.tensor([5.0], dtype=torch.float64, requires_grad=True)
    y[1:] = w * 2
    y[0] = 7
    (y * torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 0.0, 0.0]
    assert w.grad is not None and w.grad.tolist() == [220.0]
    buffer = torch.zeros(2, dtype=torch.float64)
    buffer[0] = w[0]
    assert buffer.requires_grad and buffer.grad_fn is not None


def test_whole_overwrites_cut_the_gradient() -> None:
    for overwrite in (lambda y: y.zero_(), lambda y: y.fill_(3), lambda y: y.copy_(torch.ones(2))):
        x, y = nonleaf(1.0, 2.0)
        overwrite(y)
        (y + x).sum().backward()
        assert x.grad is not None and x.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "change",
    (
        lambda x: x.add_(1),
        lambda x: x.__setitem__(0, 1.0),
        lambda x: x.fill_(1),
        lambda x: x[:1].fill_(0),
        lambda x: x.view(-1).mul_(2),
        lambda x: x.normal_(),
    ),
)
def test_leaves_that_require_grad_are_changed_under_no_grad_only(change: Any) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="in-place operation"):
        change(x)
    assert x.tolist() == [1.0, 2.0] and x._version == 0
    with torch.no_grad():
        change(x)
    assert x._version == 1 and x.is_leaf and x.requires_grad


SAVES = (
    (lambda x, w: x * w, "MulBackward0"),
    (lambda x, w: x / w, "DivBackward0"),
    (lambda x, w: x**w, "PowBackward0"),
    (lambda x, w: x.reshape(1, 2) @ w.reshape(2, 1), "MatmulBackward0"),
    (lambda x, w: x.log() + w, "LogBackward0"),
    (lambda x, w: nn.functional.gelu(x) + w, "GeluBackward0"),
    (lambda x, w: nn.functional.layer_norm(x, (2,), w), "LayerNormBackward0"),
    (lambda x, w: nn.functional.linear(x, w.reshape(1, 2)), "LinearBackward0"),
    (lambda x, w: nn.functional.cross_entropy((x * 1).reshape(1, 2) + x, torch.tensor([0])), None),
)


@pytest.mark.parametrize(("use", "name"), SAVES)
@pytest.mark.parametrize(
    "change",
    (
        lambda x: x.add_(1),
        lambda x: x.__setitem__(0, 5.0),
        lambda x: x.detach().mul_(2),
        lambda x: x.detach()[1:].zero_(),
    ),
)
def test_changed_inputs_are_found_by_backward(use: Any, name: str | None, change: Any) -> None:
    root, x = nonleaf(1.0, 2.0)
    w = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
    y = use(x, w)
    if name is None:  # what was saved is a result of the changed tensor, not the tensor: still right
        (before,) = torch.autograd.grad(y.sum(), root, retain_graph=True)
        change(x)
        (after,) = torch.autograd.grad(y.sum(), root)
        assert after.tolist() == before.tolist()
        first = 1 / (1 + math.exp(2))  # softmax of 2 x = [2, 4]; the loss is -ln of its first
        np.testing.assert_allclose(after.numpy(), [2 * (first - 1), 2 * (1 - first)], rtol=1e-12)
        return
    change(x)
    with pytest.raises(RuntimeError, match=rf"input of {name}, float64 \(.*modified.*version 1, expected version 0"):
        y.sum().backward()


@pytest.mark.parametrize("f", ["exp", "tanh", "sigmoid", "relu", "sqrt", "softmax", "prod", "logsumexp", "std"])
def test_changed_outputs_are_found_by_backward(f: str) -> None:
    x, _ = nonleaf(1.0, 2.0)
    y = x.softmax(0) if f == "softmax" else x.logsumexp(0) if f == "logsumexp" else getattr(x, f)()
    y.mul_(2)
    with pytest.raises(RuntimeError, match=r"output 0 of \w+Backward0.*version 1, expected version 0"):
        y.sum().backward()


def test_changes_of_what_was_not_saved_are_fine() -> None:
    x, y = nonleaf(1.0, 2.0)
    z = y + 1
    y.mul_(3)
    (z * torch.tensor([5.0, 7.0], dtype=torch.float64)).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [5.0, 7.0]


def test_writes_through_views_without_histories() -> None:
    buffer = torch.zeros(2, 2)
    buffer[0] += 3
    buffer[:, 1] *= 2
    assert buffer.tolist() == [[3.0, 6.0], [0.0, 0.0]] and buffer._version == 4 and not buffer.requires_grad


def test_writes_through_views_of_reversed_arrays() -> None:
    """Strides below 0, which PyTorch does not have."""
    base, x = torch.from_numpy(np.arange(6.0)[::-1]), torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    base[1:3] = x
    base[::2].mul_(x[0])  # 5 a, 1 b, ...
    base[4:] += x
    assert base.tolist() == [5.0, 1.0, 2.0, 2.0, 2.0, 2.0]
    # Of (5 a)^2 + a^2 + (a b)^2 + 2^2 + (a + a)^2 + b^2 at a = 1, b = 2.
    assert torch.autograd.grad((base * base).sum(), x)[0].tolist() == [50.0 + 2 + 8 + 8, 4.0 + 4]
    base = torch.from_numpy(np.arange(6.0).reshape(2, 3)[:, ::-1])
    base[0, 1:] = x
    base.t()[1:].mul_(x[1])  # [2, a b, b b], [5, 4 b, 3 b]
    assert base.tolist() == [[2.0, 2.0, 4.0], [5.0, 8.0, 6.0]]
    assert torch.autograd.grad(base.sum(), x)[0].tolist() == [2.0, 1.0 + 4 + 7]


def test_a_write_into_a_view_copies_no_base() -> None:
    """`x[i] += y` writes what it must, once, into the memory that is there."""
    x, y = torch.ones(3, dtype=torch.float64, requires_grad=True), torch.zeros(1000, 3, dtype=torch.float64)
    memory = y.data_ptr()
    y[5] += x
    assert y.data_ptr() == memory and y._version == 1 and y.grad_fn.name() == "CopySlices"
    tracemalloc.start()
    y[6] = x * 2
    assert tracemalloc.get_traced_memory()[1] < 8000
    tracemalloc.stop()


@pytest.mark.parametrize("refused", ["split", "unbind", "no_grad", "function"])
def test_views_that_cannot_be_written_are_refused_before_anything_has_changed(refused: str) -> None:
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    base = x * 1
    if refused == "no_grad":
        with torch.no_grad():
            view = base[:1]
    else:
        view = {"split": lambda: base.split(1)[0], "unbind": lambda: base.unbind()[0], "function": lambda: Same.apply(
            base
        )}[refused]()  # fmt: skip
    for write in (lambda: view.mul_(2), lambda: view.copy_(x.sum()), lambda: view.__setitem__(..., 3.0)):
        with pytest.raises(RuntimeError, match="modified inplace"):
            write()
    assert base.tolist() == [1.0, 1.0] and base._version == 0
    base.mul_(2)  # the base may be written, then what looks at the view is refused, again and again
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"modified in place since.*take the view again"):
            view * 2
    with torch.no_grad():
        assert (view * 1).sum() >= 2


class Same(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g


@pytest.mark.parametrize(
    "write",
    (
        lambda v: v.mul_(2),
        lambda v: v.zero_(),
        lambda v: v.copy_(torch.ones(1)),
        lambda v: v.normal_(),
        lambda v: v.__setitem__(0, 7.0),
        lambda v: v.__setitem__(..., torch.ones(1, dtype=torch.float64)),
        lambda v: v[:1].view(1).add_(1),
    ),
)
def test_a_view_from_under_no_grad_is_not_written_with_recording_on(write: Any) -> None:
    _, base = nonleaf(1.0, 2.0)
    with torch.no_grad():
        view, inner = base[:1], base.view(2)
    for v in (view, inner[:1]):
        with pytest.raises(RuntimeError, match=r"created in no_grad mode.*modified inplace with grad mode enabled"):
            write(v)
    assert base.tolist() == [1.0, 2.0] and base._version == 0
    with torch.no_grad():
        write(view)
    assert base._version >= 1


def test_views_of_a_leaf_are_written_under_no_grad_only() -> None:
    leaf = torch.zeros(2)
    before = leaf[:1]
    leaf.requires_grad_()
    with torch.no_grad():
        under = leaf[:1]
    for view in (before, under, leaf[:1], leaf.T[:1]):
        for write in (lambda v: v.add_(1), lambda v: v.__setitem__(0, 1.0), lambda v: v.fill_(torch.ones(()))):
            with pytest.raises(RuntimeError, match="a view of a leaf Tensor that requires grad"):
                write(view)
    leaf.detach()[:1].add_(1)
    leaf.data[:1].add_(1)
    with torch.no_grad():
        before.add_(1)
    assert leaf.tolist() == [3.0, 0.0]


WHOLE = (
    lambda a, b, v: a @ v,
    lambda a, b, v: v @ b,
    lambda a, b, v: v @ v,
    lambda a, b, v: a.mv(v),
    lambda a, b, v: v.dot(v),
    lambda a, b, v: torch.stack([a, a]) @ b,
    lambda a, b, v: torch.einsum("ij,jk->ki", a, b),
    lambda a, b, v: torch.einsum("ij,j->i", a, v),
    lambda a, b, v: nn.functional.cross_entropy(a, torch.tensor([0, 1]), reduction="none"),
    lambda a, b, v: nn.functional.cross_entropy(a.T[None], torch.tensor([[0, 1]]), reduction="none"),
    lambda a, b, v: nn.functional.nll_loss(a, torch.tensor([0, 1]), reduction="sum"),
    lambda a, b, v: nn.functional.nll_loss(a, torch.tensor([0, 1]), reduction="none"),
    lambda a, b, v: a.repeat(1, 1),
    lambda a, b, v: v[None].repeat(2, 1),
    lambda a, b, v: v.repeat(1),
    lambda a, b, v: v.tile(1),
    lambda a, b, v: a.repeat_interleave(1, 0),
    lambda a, b, v: v[:1].repeat_interleave(3),
    lambda a, b, v: v.repeat(0),
)


@pytest.mark.parametrize("call", WHOLE)
def test_what_has_memory_of_its_own_may_be_written_though_it_took_several_steps(call: Any) -> None:
    a = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64, requires_grad=True)
    b = (a.detach().T + 1).requires_grad_()
    v = torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = call(a, b, v)
    before = [t.tolist() for t in (a, b, v)]
    expected = (y.detach() * 3 + 1).tolist()
    grads = torch.autograd.grad((y * 3).sum(), [a, b, v], retain_graph=True, materialize_grads=True)
    y.mul_(3)
    y += 1
    assert y.tolist() == expected and [t.tolist() for t in (a, b, v)] == before
    again = torch.autograd.grad(y.sum(), [a, b, v], materialize_grads=True)
    for g, h in zip(grads, again, strict=True):
        np.testing.assert_allclose(g.numpy(), h.numpy())
    with torch.no_grad():
        for t in (a, b, v):
            t.add_(100)
    assert y.tolist() == expected


def test_attention_of_fewer_or_more_than_four_dimensions_is_no_view() -> None:
    q = torch.ones(2, 3, requires_grad=True)
    for x in (q, q[None], q[None, None], q[None, None, None]):
        y = nn.functional.scaled_dot_product_attention(x, x, x)
        y.mul_(2)
        assert y.tolist() == (x * 2).tolist()


def test_what_is_expanded_to_its_own_size_may_be_written() -> None:
    x = torch.ones(1, 3)
    for y in (x.expand(1, 3), x.expand(1, 1, 1, 3), torch.broadcast_to(x, (1, 3)), x.mT.expand(-1, -1)):
        y.add_(1)
    assert x.tolist() == [[5.0] * 3]
    with pytest.raises(RuntimeError, match="expanded"):
        x.expand(2, 3).add_(1)


def test_the_bits_of_a_tensor_are_a_view_of_it() -> None:
    _, y = nonleaf(1.0, 2.0)
    z = (y * y).sum()
    y.view(torch.int64).add_(1)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        z.backward()


def test_flatten_gives_the_tensor_itself_where_there_is_nothing_to_flatten() -> None:
    _, x = nonleaf(1.0, 2.0)
    assert x.flatten() is x and nn.Flatten()(x[None]).shape == (1, 2)
    x.flatten().mul_(2)
    assert torch.ones(()).flatten().shape == (1,)


def test_whole_overwrites_leave_a_gradient_of_zeros() -> None:
    for overwrite in (
        lambda y: y.zero_(),
        lambda y: y.copy_(torch.ones(2)),
        lambda y: y.normal_(),
        lambda y: y.uniform_(),
        lambda y: y.bernoulli_(),
    ):
        x, y = nonleaf(1.0, 2.0)
        overwrite(y)
        assert y.requires_grad
        y.sum().backward()
        assert x.grad is not None and x.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("other", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_in_place_operations_keep_the_dtype_of_gradients_too(dtype: Any, other: Any) -> None:
    x = torch.tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    w = torch.tensor([3.0, 4.0], dtype=other, requires_grad=True)
    y, seen = x * 1, []
    y *= w
    y.retain_grad()
    y.register_hook(lambda g: seen.append(g.dtype))
    y[0] = w[0] * 2
    (g,) = torch.autograd.grad(y.sum(), y, retain_graph=True)
    y.sum().backward()
    assert y.dtype == g.dtype == y.grad.dtype == x.grad.dtype == dtype and seen == [dtype]  # type: ignore[union-attr]
    assert x.grad.tolist() == [0.0, 4.0] and w.grad.tolist() == [2.0, 2.0]  # type: ignore[union-attr]
    assert w.grad.dtype == other  # type: ignore[union-attr]


@pytest.mark.parametrize("by", ["optimizer", "module"])
def test_zero_grad_fills_the_gradient_that_is_there(by: str) -> None:
    module = nn.Linear(2, 1, bias=False)
    owner: Any = torch.optim.SGD(module.parameters(), lr=0.1) if by == "optimizer" else module
    w = module.weight
    bucket = torch.ones(4, 2)
    for prepare in (
        lambda: (w * w).sum().backward(),
        lambda: (w * w).sum().backward(create_graph=True),
        lambda: setattr(w, "grad", torch.ones(1, 2, requires_grad=True)),
        lambda: setattr(w, "grad", bucket[2:3]),
    ):
        w.grad = None
        prepare()
        gradient: Any = w.grad
        version = gradient._version
        owner.zero_grad(set_to_none=False)
        assert w.grad is gradient and gradient.tolist() == [[0.0, 0.0]] and gradient._version == version + 1
        assert gradient.is_leaf and not gradient.requires_grad
        (w * 3).sum().backward()
        assert w.grad is gradient and gradient.tolist() == [[3.0, 3.0]]
    assert bucket.tolist() == [[1.0, 1.0], [1.0, 1.0], [3.0, 3.0], [1.0, 1.0]]
    owner.zero_grad()
    assert w.grad is None
    owner.zero_grad(set_to_none=False)
    assert w.grad is None


def test_a_leaf_that_has_become_a_result_takes_no_gradient() -> None:
    x, w = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    y = x * 2
    x.requires_grad_(False)
    x.mul_(w)
    with pytest.raises(RuntimeError, match="has a history of its own now"):
        y.sum().backward()
    with pytest.warns(UserWarning, match="not a leaf"):
        assert x.grad is None


@pytest.mark.parametrize(
    ("change", "message"),
    (
        (lambda: torch.ones(1).add_(torch.ones(3)), "shape"),
        (lambda: torch.ones(2, 3).__setitem__(0, torch.ones(4)), r"\(4,\)"),
        (lambda: torch.tensor([1]).add_(1.5), "can't be cast"),
        (lambda: torch.tensor([1]).div_(2), "can't be cast"),
        (lambda: torch.ones(1).expand(3).add_(1), "expanded"),
        (lambda: torch.ones(1).expand(3).__setitem__(0, 1.0), "expanded"),
    ),
)
def test_in_place_errors(change: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        change()


@pytest.mark.parametrize(
    "use",
    (
        lambda w, i, m: w[i],
        lambda w, i, m: w[i, i],
        lambda w, i, m: w[:, m],
        lambda w, i, m: w.gather(0, i.reshape(1, 2)),
        lambda w, i, m: w.index_select(0, i),
        lambda w, i, m: nn.functional.embedding(i, w),
        lambda w, i, m: nn.functional.cross_entropy(w, i),
        lambda w, i, m: torch.where(m, w, 0.0),
        lambda w, i, m: w.masked_fill(m, 0.0),
        lambda w, i, m: w.clone().index_put((i,), w * 2),
        lambda w, i, m: w.scatter_add(0, i.reshape(1, 2), w * 2),
    ),
)
def test_indices_and_masks_changed_after_the_forward(use: Any) -> None:
    """A Tensor's change is noticed; an array has no version, so it was copied."""
    results = []
    for wrap, change in ((torch.tensor, False), (torch.tensor, True), (np.array, False), (np.array, True)):
        w = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        i, m = wrap([0, 0]), wrap([True, False])
        try:
            y = use(w, i, m)
        except (TypeError, AttributeError):  # as PyTorch, which takes arrays as indices in brackets alone
            assert wrap is np.array
            continue
        if change:
            i[0] = 1
            m[...] = True
        if change and wrap is torch.tensor and y.grad_fn.name() != "DivBackward0":  # nll_loss saves what it made of i
            with pytest.raises(RuntimeError, match=r"(int64|bool) \(.*modified by an in-place operation"):
                y.sum().backward()
            continue
        (y * torch.arange(1.0, y.numel() + 1).reshape(y.shape)).sum().backward()
        assert w.grad is not None
        results.append(w.grad.tolist())
    assert all([result == results[0] for result in results])


def test_random_fills_are_in_place() -> None:
    x = torch.empty(1000)
    array = x.array
    assert x.normal_(5, 0.1) is x and x.array is array and abs(x.mean().item() - 5) < 0.1
    assert x.uniform_(2, 3).min().item() >= 2 and x.max().item() <= 3
    assert set(x.bernoulli_(0.3).tolist()) == {0.0, 1.0} and x._version == 3
