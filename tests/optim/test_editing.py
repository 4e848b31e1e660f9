"""State, groups and parameters that are edited between steps: the next step goes on from what is there."""

from __future__ import annotations

import copy
import pickle
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import nn, optim

BETAS = (0.5, 0.75)
LR = 0.1


class ByHand:
    """Adam without decay, for one parameter, in NumPy."""

    def __init__(self, value: Any) -> None:
        self.p = np.array(value, np.float64)
        self.restart()

    def restart(self) -> None:
        self.m, self.v, self.t = np.zeros_like(self.p), np.zeros_like(self.p), 0

    def step(self, gradient: Any, lr: float = LR) -> None:
        self.t += 1
        self.m = BETAS[0] * self.m + (1 - BETAS[0]) * gradient
        self.v = BETAS[1] * self.v + (1 - BETAS[1]) * gradient**2
        m, v = self.m / (1 - BETAS[0] ** self.t), self.v / (1 - BETAS[1] ** self.t)
        self.p = self.p - lr * m / (np.sqrt(v) + 1e-8)


def _adam(params: Any, **options: Any) -> optim.Adam:
    return optim.Adam(params, lr=LR, betas=BETAS, **options)


def _zeros(*shape: int) -> Any:
    return tinytorch.zeros(*shape, dtype=tinytorch.float64)


def _assign_moment(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p]["exp_avg"] = _zeros(2, 3)
    hand.m = np.zeros((2, 3))


def _assign_square(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p]["exp_avg_sq"] = _zeros(2, 3) + 5.0
    hand.v = np.full((2, 3), 5.0)


def _write_moment(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p]["exp_avg"].zero_()
    hand.m = np.zeros((2, 3))


def _data_of_moment(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p]["exp_avg"].data = _zeros(2, 3) + 1.0
    hand.m = np.ones((2, 3))


def _transposed_moment(optimizer: Any, p: Any, hand: ByHand) -> None:
    values = np.arange(6.0).reshape(3, 2)
    optimizer.state[p]["exp_avg"] = tinytorch.tensor(values).transpose(0, 1)
    hand.m = values.T.copy()


def _moment_of_32_bits(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p]["exp_avg"] = tinytorch.ones(2, 3)
    hand.m = np.ones((2, 3))


def _empty(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p] = {}
    hand.restart()


def _delete(optimizer: Any, p: Any, hand: ByHand) -> None:
    del optimizer.state[p]
    hand.restart()


def _clear(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state.clear()
    hand.restart()


def _clear_entries(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p].clear()
    hand.restart()


def _new_state(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state = defaultdict(dict)
    hand.restart()


def _plain_state(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state = {}
    hand.restart()


def _same_entries_in_another_dictionary(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p] = dict(optimizer.state[p])


def _assign_count(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p]["step"] = tinytorch.tensor(10.0)
    hand.t = 10


def _assign_equal_count(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p]["step"] = tinytorch.tensor(float(hand.t))


def _assign_number_as_count(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p]["step"] = 7
    hand.t = 7


def _fill_count(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p]["step"].fill_(1)
    hand.t = 1


def _add_to_count(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.state[p]["step"] += 4
    hand.t += 4


def _data_of_parameter(optimizer: Any, p: Any, hand: ByHand) -> None:
    p.data = _zeros(2, 3) + 3.0
    hand.p = np.full((2, 3), 3.0)


def _transposed_parameter(optimizer: Any, p: Any, hand: ByHand) -> None:
    p.data = tinytorch.tensor(p.detach().numpy().T.copy()).transpose(0, 1)
    assert not p.is_contiguous()


def _freeze(optimizer: Any, p: Any, hand: ByHand) -> None:
    p.requires_grad_(False)


def _load(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def _group_in_another_dictionary(optimizer: Any, p: Any, hand: ByHand) -> None:
    optimizer.param_groups[0] = dict(optimizer.param_groups[0])


EDITS: list[Callable[[Any, Any, ByHand], None]] = [
    _assign_moment, _assign_square, _write_moment, _data_of_moment, _transposed_moment, _moment_of_32_bits,
    _empty, _delete, _clear, _clear_entries, _new_state, _plain_state, _same_entries_in_another_dictionary,
    _assign_count, _assign_equal_count, _assign_number_as_count, _fill_count, _add_to_count,
    _data_of_parameter, _transposed_parameter, _freeze, _load, _group_in_another_dictionary,
]  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__[1:])
def test_adam_goes_on_from_what_is_there(edit: Any, compiled: bool) -> None:
    """Between steps, also of a compiled function, beside a parameter that nobody touches."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 2, 3))
    p, other = (nn.Parameter(tinytorch.tensor(value)) for value in values)
    hand, untouched = ByHand(values[0]), ByHand(values[1])
    optimizer = _adam([p, other])

    def learn(x: Any, y: Any) -> None:
        optimizer.zero_grad()
        ((p * x).sum() + (other * y).sum()).backward()
        optimizer.step()

    learn = tinytorch.compile(learn) if compiled else learn
    restarts = edit in (_clear, _new_state, _plain_state)
    for step in range(6):
        if step in (2, 4):
            edit(optimizer, p, hand)
            if restarts:
                untouched.restart()
        x, y = rng.normal(size=(2, 2, 3))
        if edit is _freeze and step >= 2:
            p.requires_grad_(step < 4)
            p.grad = tinytorch.tensor(x)
            if step < 4:  # what has a gradient is moved, frozen or not
                optimizer.step()
                hand.step(x), untouched.step(np.asarray(other.grad.numpy()))
            continue
        learn(tinytorch.tensor(x), tinytorch.tensor(y))
        hand.step(x), untouched.step(y)
        np.testing.assert_allclose(p.detach().numpy(), hand.p, 1e-9, 1e-11)
        np.testing.assert_allclose(other.detach().numpy(), untouched.p, 1e-9, 1e-11)
        entries = optimizer.state_dict()["state"][0]
        np.testing.assert_allclose(entries["exp_avg"].numpy(), hand.m, 1e-9, 1e-11)
        np.testing.assert_allclose(entries["exp_avg_sq"].numpy(), hand.v, 1e-9, 1e-11)
        assert entries["step"].item() == hand.t and entries["step"].dtype == np.float32


def test_the_tensors_in_the_state_stay_the_same() -> None:
    """Who holds one sees what steps do to it, also after the state of another parameter was replaced."""
    p, q = nn.Parameter(_zeros(2)), nn.Parameter(_zeros(2))
    optimizer = _adam([p, q])
    p.grad = q.grad = _zeros(2) + 1.0
    optimizer.step()
    mine = tinytorch.full((2,), 3.0, dtype=tinytorch.float64)
    optimizer.state[p]["exp_avg"] = mine
    held, saved = dict(optimizer.state[p]), optimizer.state_dict()["state"][0]
    optimizer.state[q] = {}
    for _ in range(3):
        optimizer.step()
    assert held == optimizer.state[p] and mine is optimizer.state[p]["exp_avg"]
    np.testing.assert_allclose(mine.numpy(), 3.0 / 8 + (1 - 1 / 8))
    assert saved["step"].item() == 4 and optimizer.state[q]["step"].item() == 3


@pytest.mark.parametrize("name", ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"])
def test_state_that_lacks_an_entry(name: str) -> None:
    """As in PyTorch a KeyError: guessing what belongs there would hide a mistake. Nothing has moved."""
    p = nn.Parameter(_zeros(2))
    optimizer = _adam([p], amsgrad=name == "max_exp_avg_sq")
    p.grad = _zeros(2) + 1.0
    optimizer.step()
    before = p.detach().numpy().copy()
    del optimizer.state[p][name]
    for _ in range(2):
        with pytest.raises(KeyError, match=rf"a parameter of shape \(2,\) has no '{name}', only .* = \{{\}}"):
            optimizer.step()
    np.testing.assert_array_equal(p.detach().numpy(), before)
    optimizer.state[p] = {}
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 1


def test_amsgrad_that_is_switched_on_asks_for_its_state() -> None:
    p = nn.Parameter(_zeros(2))
    optimizer = _adam([p])
    p.grad = _zeros(2) + 1.0
    optimizer.step()
    optimizer.param_groups[0]["amsgrad"] = True
    with pytest.raises(KeyError, match="has no 'max_exp_avg_sq'"):
        optimizer.step()
    optimizer.state[p]["max_exp_avg_sq"] = _zeros(2)
    optimizer.step()
    np.testing.assert_array_equal(
        optimizer.state[p]["max_exp_avg_sq"].numpy(), optimizer.state[p]["exp_avg_sq"].numpy()
    )
    replaced = optimizer.state[p]["max_exp_avg_sq"] = _zeros(2) + 100.0
    before = p.detach().numpy().copy()
    optimizer.step()
    assert (replaced.numpy() == 100).all() and (np.abs(p.detach().numpy() - before) < 0.05 * LR + 0.01).all()


@pytest.mark.parametrize(
    ("make", "name"),
    [(_adam, "exp_avg"), (_adam, "exp_avg_sq"), (lambda p: optim.SGD(p, lr=LR, momentum=0.9), "momentum_buffer")],
    ids=["exp_avg", "exp_avg_sq", "momentum_buffer"],
)
def test_state_that_does_not_fit(make: Any, name: str) -> None:
    p = nn.Parameter(_zeros(2, 2))
    optimizer = make([p])
    p.grad = _zeros(2, 2) + 1.0
    optimizer.step()
    for shape in ((4,), (2,), (1, 2), (3, 3)):
        optimizer.state[p][name] = _zeros(*shape)
        message = rf"{name} of a parameter has shape \({shape[0]},.*, the parameter \(2, 2\)"
        with pytest.raises(RuntimeError, match=message):
            optimizer.step()
    array = np.ones((2, 2))
    array.flags.writeable = False
    optimizer.state[p][name] = tinytorch.from_numpy(array)
    with pytest.raises(RuntimeError, match=rf"{name} of parameter 0.* cannot be written: its memory is read-only"):
        optimizer.step()


def test_momentum_buffers() -> None:
    p = nn.Parameter(_zeros(2))
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)

    def moved() -> Any:
        before = p.item() if p.numel() == 1 else p.detach().numpy().copy()
        p.grad = _zeros(2) + 1.0
        optimizer.step()
        return (before - p.detach().numpy()).tolist()

    assert moved() == [1.0, 1.0] and moved() == [1.5, 1.5]
    optimizer.state[p]["momentum_buffer"] = _zeros(2)
    assert moved() == [1.0, 1.0]
    optimizer.state[p]["momentum_buffer"].fill_(8.0)
    assert moved() == [5.0, 5.0]
    optimizer.state[p]["momentum_buffer"] = None
    assert moved() == [1.0, 1.0]
    optimizer.state[p]["momentum_buffer"] = tinytorch.full((2,), 2.0)
    assert moved() == [2.0, 2.0] and optimizer.state[p]["momentum_buffer"].dtype == np.float64
    optimizer.state[p]["momentum_buffer"] = None
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state[p] == {"momentum_buffer": None} and moved() == [1.0, 1.0]
    del optimizer.state[p]["momentum_buffer"]
    assert moved() == [1.0, 1.0]
    optimizer.state[p] = {}
    assert moved() == [1.0, 1.0] and moved() == [1.5, 1.5]
    assert set(optimizer.state_dict()["state"][0]) == {"momentum_buffer"}


@pytest.mark.parametrize("make", [_adam, lambda p: optim.SGD(p, lr=LR, momentum=0.9)], ids=["adam", "sgd"])
def test_parameters_that_join_move_and_leave(make: Any) -> None:
    """Each parameter moves as it would alone, whatever list of whichever group it is in."""
    rng = np.random.default_rng(1)
    names = ["a", "b", "c", "d"]
    values = dict(zip(names, rng.normal(size=(4, 3)), strict=True))
    p = {name: nn.Parameter(tinytorch.tensor(values[name])) for name in names}
    twin = {name: nn.Parameter(tinytorch.tensor(values[name])) for name in names}
    optimizer = make([{"params": [p["a"], p["b"]]}, {"params": [p["c"]], "lr": 0.3}])
    alone = {name: make([twin[name]]) for name in names}

    def step(**rates: float) -> None:
        for name in names:
            gradient = rng.normal(size=3)
            p[name].grad, twin[name].grad = tinytorch.tensor(gradient), tinytorch.tensor(gradient)
            if name in rates:
                alone[name].param_groups[0]["lr"] = rates[name]
                alone[name].step()
        optimizer.step()
        for name in names:
            np.testing.assert_array_equal(p[name].detach().numpy(), twin[name].detach().numpy(), err_msg=name)

    step(a=LR, b=LR, c=0.3)
    first, second = optimizer.param_groups
    second["params"].insert(0, first["params"].pop())  # the order of all parameters is as it was
    step(a=LR, b=0.3, c=0.3)
    first["params"][0] = p["d"]
    step(d=LR, b=0.3, c=0.3)
    assert list(optimizer.state_dict()["state"]) == [1, 2, 0]  # a's state is in no group
    first["params"].append(p["a"])
    step(d=LR, a=LR, b=0.3, c=0.3)
    optimizer.param_groups[1] = {**second, "lr": 0.05}
    step(d=LR, a=LR, b=0.05, c=0.05)
    optimizer.param_groups.reverse()
    step(d=LR, a=LR, b=0.05, c=0.05)
    optimizer.param_groups = [{**first, "params": [p["c"], p["d"]], "lr": 0.2}]
    step(c=0.2, d=0.2)


def test_memory_in_another_order_is_looked_at_in_every_step() -> None:
    """The kernel works on a copy in C order; what is written into the memory itself counts all the same."""
    start = np.arange(6.0).reshape(2, 3)
    p, hand = nn.Parameter(tinytorch.tensor(start.T.copy()).transpose(0, 1)), ByHand(start)
    optimizer = _adam([p])
    for step in range(4):
        p.grad = _zeros(2, 3) + step
        optimizer.step()
        hand.step(np.full((2, 3), float(step)))
        np.testing.assert_allclose(p.detach().numpy(), hand.p, 1e-12)
        with tinytorch.no_grad():
            p.mul_(2)
        hand.p = hand.p * 2
        if step == 2:
            optimizer.state[p]["exp_avg"].zero_(), optimizer.state[p]["exp_avg_sq"].add_(1)
            hand.m, hand.v = np.zeros((2, 3)), hand.v + 1


def test_a_parameter_put_twice_into_a_list() -> None:
    p, q = nn.Parameter(_zeros(2)), nn.Parameter(_zeros(2))
    p.grad = q.grad = _zeros(2) + 1.0
    optimizer = _adam([p, q])
    optimizer.step()
    optimizer.param_groups[0]["params"][1] = p
    before = p.detach().numpy().copy()
    for _ in range(2):
        with pytest.raises(ValueError, match="appear twice: list each of them once"):
            optimizer.step()
    np.testing.assert_array_equal([p.detach().numpy(), q.detach().numpy()], [before, before])


@pytest.mark.parametrize("dtype", [tinytorch.float32, tinytorch.float64, tinytorch.bfloat16])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_step_counts_that_part_ways(dtype: Any, amsgrad: bool) -> None:
    """Parameters of a group that began together, one of whose counts is written to, no longer share coefficients."""
    p, q, r = (nn.Parameter(tinytorch.zeros(1, dtype=dtype)) for _ in range(3))
    for parameter in (p, q, r):
        parameter.grad = tinytorch.ones(1, dtype=dtype)
    optimizer = _adam([p, q, r], amsgrad=amsgrad)
    optimizer.step()
    optimizer.state[q]["step"].fill_(100)
    optimizer.step()
    assert p.item() == r.item() != q.item()
    assert [optimizer.state[parameter]["step"].item() for parameter in (p, q, r)] == [2, 101, 2]
    optimizer.step()
    assert [optimizer.state[parameter]["step"].item() for parameter in (p, q, r)] == [3, 102, 3]


@pytest.mark.parametrize(
    ("make", "name"),
    [(_adam, "exp_avg"), (lambda p: optim.SGD(p, lr=LR, momentum=0.9), "momentum_buffer")],
    ids=["adam", "sgd"],
)
def test_state_assigned_inside_of_a_compiled_function(make: Any, name: str) -> None:
    """What exists while tracing only cannot last as state: an error, where silently wrong numbers would come later."""
    p = nn.Parameter(tinytorch.zeros(2))
    optimizer = make([p])
    p.grad = tinytorch.ones(2)
    optimizer.step()

    @tinytorch.compile
    def learn(x: Any) -> None:
        optimizer.zero_grad()
        (p * x).sum().backward()
        optimizer.state[p][name] = x * 2
        optimizer.step()

    with pytest.raises(TypeError, match=rf"{name}, shape .* assigned inside of a compiled function: write into"):
        learn(tinytorch.ones(2))


def test_state_written_inside_of_a_compiled_function() -> None:
    p, q = nn.Parameter(tinytorch.zeros(2)), nn.Parameter(tinytorch.zeros(2))
    first, second = _adam([p]), _adam([q])
    for optimizer in (first, second):
        optimizer.param_groups[0]["params"][0].grad = tinytorch.ones(2)
        optimizer.step()

    def learn(parameter: Any, optimizer: Any) -> Any:
        def function(x: Any) -> None:
            optimizer.zero_grad()
            (parameter * x).sum().backward()
            optimizer.state[parameter]["exp_avg"].zero_()
            optimizer.step()

        return function

    plain, compiled = learn(p, first), tinytorch.compile(learn(q, second))
    for k in range(4):
        x = tinytorch.tensor([1.0 + k, -2.0])
        plain(x), compiled(x)
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


@pytest.mark.parametrize("way", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"])
@pytest.mark.parametrize("make", [_adam, lambda p: optim.SGD(p, lr=LR, momentum=0.9)], ids=["adam", "sgd"])
def test_copies_go_their_own_way(make: Any, way: Any) -> None:
    """A model and its optimizer copied together train together, and leave the originals alone."""
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())

    def learn(model: Any, optimizer: Any) -> None:
        optimizer.zero_grad()
        model(tinytorch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    for _ in range(2):
        learn(model, optimizer)
    other, other_optimizer = way((model, optimizer))
    assert other_optimizer.param_groups[0]["params"][0] is other.weight
    before = model.weight.detach().numpy().copy()
    learn(other, other_optimizer)
    np.testing.assert_array_equal(model.weight.detach().numpy(), before)
    learn(model, optimizer)
    np.testing.assert_array_equal(model.weight.detach().numpy(), other.weight.detach().numpy())
    assert type(other_optimizer) is type(optimizer) and repr(other_optimizer) == repr(optimizer)


def test_loading_part_of_a_state() -> None:
    """What is saved goes on, the rest begins."""
    p, q = nn.Parameter(_zeros(2)), nn.Parameter(_zeros(2))
    optimizer = _adam([p, q])
    p.grad = q.grad = _zeros(2) + 1.0
    for _ in range(3):
        optimizer.step()
    saved = optimizer.state_dict()
    del saved["state"][0]
    optimizer.load_state_dict({**saved, "state": {**saved["state"], "shared": {"seen": 3}}})
    assert p not in optimizer.state and optimizer.state["shared"] == {"seen": 3}
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 1 and optimizer.state[q]["step"].item() == 4
    assert optimizer.state_dict()["state"]["shared"] == {"seen": 3}


def test_loading_keeps_counts_and_casts_the_rest() -> None:
    """Also inside of dictionaries and lists, and of shapes that another optimizer's state may have."""

    class Other(optim.Optimizer):
        pass

    p = nn.Parameter(tinytorch.zeros(2, 3))
    optimizer = Other([p], {})
    wide = _zeros(3) + 0.1
    entries = {
        "step": tinytorch.tensor(np.array(3.0)),
        "rows": wide,
        "count": 5,
        "nested": {"step": wide, "x": [wide, (wide,)]},
        "scale": np.array(0.5),
    }
    optimizer.load_state_dict({"state": {0: entries}, "param_groups": [{"params": [0]}]})
    loaded = optimizer.state[p]
    assert loaded["step"].dtype == np.float64 and loaded["nested"]["step"].dtype == np.float64
    assert loaded["rows"].dtype == loaded["nested"]["x"][0].dtype == loaded["nested"]["x"][1][0].dtype == np.float32
    assert loaded["scale"].dtype == np.float32 and loaded["scale"].item() == 0.5 and loaded["count"] == 5
    assert type(loaded["nested"]["x"][1]) is tuple
    wide.fill_(7.0)
    assert loaded["rows"].numpy().max() < 1 and loaded["nested"]["step"].numpy().max() < 1


def test_adams_state_goes_on_in_adamw() -> None:
    p, q = nn.Parameter(_zeros(2) + 1.0), nn.Parameter(_zeros(2) + 1.0)
    adam, adamw = optim.Adam([p], lr=LR), optim.AdamW([q], lr=LR)
    p.grad = q.grad = _zeros(2) + 1.0
    adam.step()
    adamw.load_state_dict(adam.state_dict())
    assert adamw.param_groups[0]["decoupled_weight_decay"] is True
    adamw.param_groups[0]["weight_decay"] = 0.5
    adamw.step()
    np.testing.assert_allclose(q.detach().numpy(), 1 - 0.5 * LR - LR, 1e-6)
    adam.load_state_dict(adamw.state_dict())
    assert adam.param_groups[0]["decoupled_weight_decay"] is True  # what was saved
    assert adam.state[p]["step"].item() == 2


def test_names() -> None:
    model = nn.Linear(2, 1)
    optimizer = optim.AdamW(model.named_parameters(), lr=LR)
    (group,) = optimizer.param_groups
    assert group["param_names"] == ["weight", "bias"] and group["params"] == [model.weight, model.bias]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    optimizer.add_param_group({"params": [("more", tinytorch.ones(1))]})
    assert optimizer.param_groups[1]["param_names"] == ["more"]
    groups = [{"params": [("w", model.weight)], "lr": 1.0}, {"params": [("b", model.bias)]}]
    assert [group["param_names"] for group in optim.SGD(groups).param_groups] == [["w"], ["b"]]
    plain = optim.AdamW(model.parameters())
    named = optim.AdamW(model.named_parameters())
    named.load_state_dict(plain.state_dict())
    assert named.param_groups[0]["param_names"] == ["weight", "bias"]  # nothing else is known
    saved = named.state_dict()
    saved["param_groups"][0]["param_names"] = ["x", "y"]
    plain.load_state_dict(saved), named.load_state_dict(saved)
    assert plain.param_groups[0]["param_names"] == named.param_groups[0]["param_names"] == ["x", "y"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_state_edited_in_one_of_several_batches(place: int) -> None:
    """Parameters of other dtypes and kinds of step are gathered apart: each batch is looked at."""
    params = [nn.Parameter(tinytorch.zeros(2, dtype=dtype)) for dtype in (tinytorch.float32, tinytorch.float64)]
    params.append(nn.Parameter(tinytorch.zeros(2)))
    optimizer = _adam([{"params": params[:2]}, {"params": params[2:], "amsgrad": True}])
    for p in params:
        p.grad = tinytorch.ones(2, dtype=p.dtype)
    for _ in range(2):
        optimizer.step()
    optimizer.state[params[place]] = {}
    optimizer.step()
    assert [optimizer.state[p]["step"].item() for p in params] == [1 if i == place else 3 for i in range(3)]


def test_replaced_groups_among_others() -> None:
    params = [nn.Parameter(_zeros(1)) for _ in range(3)]
    optimizer = _adam([{"params": [p]} for p in params])
    for p in params:
        p.grad = _zeros(1) + 1.0
    optimizer.step()
    for i in range(3):
        before = [p.item() for p in params]
        optimizer.param_groups[i] = {**optimizer.param_groups[i], "lr": 0.0}
        optimizer.step()
        moved = [p.item() != b for p, b in zip(params, before, strict=True)]
        assert moved == [j > i for j in range(3)]
