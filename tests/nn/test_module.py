"""Module: registration, listing, state, modes, hooks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import nn
from tinytorch.nn import functional as F


class Net(nn.Module):
    """A bit of everything: a shared weight, buffers, a list, a missing submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(tinytorch.tensor([2.0]))
        self.embed = nn.Embedding(5, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("mask", tinytorch.ones(3))
        self.register_buffer("cache", tinytorch.zeros(2), persistent=False)
        self.register_module("absent", None)

    def forward(self, tokens: Any) -> Any:
        x = self.embed(tokens) * self.scale
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.head(x)


NAMES = ["scale", "embed.weight", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "head.weight"]


def test_listing_counts_what_is_shared_once() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES[:-1]
    assert [name for name, _ in net.named_parameters(remove_duplicate=False)] == NAMES
    assert [name for name, _ in net.named_parameters("net", recurse=False)] == ["net.scale"]
    assert len(list(net.parameters())) == 6
    assert [name for name, _ in net.named_buffers()] == ["mask", "cache"]
    assert [name for name, _ in net.named_children()] == ["embed", "layers", "head"]
    assert [name for name, _ in net.named_modules()] == ["", "embed", "layers", "layers.0", "layers.1", "head"]
    assert next(iter(net.modules())) is net
    same = nn.ReLU()
    twice = nn.Sequential(same, same)
    assert [name for name, _ in twice.named_modules()] == ["", "0"]
    assert [name for name, _ in twice.named_modules(remove_duplicate=False)] == ["", "0", "1"]
    assert len(list(twice.children())) == 1


def test_attributes_are_plain_and_registries_follow() -> None:
    layer = nn.Linear(2, 3)
    assert layer.__dict__["weight"] is layer._parameters["weight"]
    new = nn.Parameter(tinytorch.zeros(3, 2))
    layer.weight = new
    assert layer.weight is new and dict(layer.named_parameters())["weight"] is new
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    del layer.weight
    assert not hasattr(layer, "weight") and not list(layer.parameters())
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'weight'"):
        _ = layer.weight
    layer.register_buffer("x", tinytorch.ones(1))
    layer.x = nn.Parameter(tinytorch.ones(1))
    assert not list(layer.buffers()) and layer.get_parameter("x") is layer.x
    del layer.x
    layer.register_buffer("x", tinytorch.ones(1))
    layer.x = nn.ReLU()
    assert not list(layer.buffers()) and [name for name, _ in layer.named_children()] == ["x"]
    assert "x" in dir(layer) and "0" not in dir(nn.Sequential(layer))


def test_wrong_assignments_are_refused() -> None:
    net = Net()
    with pytest.raises(TypeError, match=r"cannot assign 'Tensor' as parameter 'scale' \(Parameter or None expected\)"):
        net.scale = tinytorch.ones(1)
    with pytest.raises(TypeError, match=r"cannot assign 'ReLU' as parameter 'scale' \(Parameter or None expected\)"):
        net.scale = nn.ReLU()
    with pytest.raises(TypeError, match="cannot assign 'int' as buffer 'mask'"):
        net.mask = 3
    with pytest.raises(TypeError, match="cannot assign 'str' as module 'head'"):
        net.head = "head"
    with pytest.raises(TypeError, match="cannot assign 'Tensor' to parameter 'w'"):
        net.register_parameter("w", tinytorch.ones(1))
    with pytest.raises(TypeError, match="cannot assign 'list' to buffer 'b'"):
        net.register_buffer("b", [1])
    with pytest.raises(TypeError, match="int is not a Module subclass"):
        net.add_module("m", 3)
    with pytest.raises(KeyError, match="'mask' already exists"):
        net.register_parameter("mask", nn.Parameter(tinytorch.ones(1)))
    with pytest.raises(KeyError, match="must not contain a dot"):
        net.register_parameter("a.b", None)
    with pytest.raises(KeyError, match="must not be empty"):
        net.register_module("", nn.ReLU())
    net.mask = tinytorch.zeros(3)
    assert net.get_buffer("mask") is net.mask

    class Early(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.ReLU()

    with pytest.raises(AttributeError, match="cannot assign module before Module"):
        Early()
    with pytest.raises(NotImplementedError, match=r'\[Module\] is missing the required "forward"'):
        nn.Module()(1)


def test_paths() -> None:
    net = Net()
    assert net.get_submodule("layers.1") is net.layers[1]
    assert net.get_submodule("") is net
    assert net.get_parameter("layers.0.bias") is net.layers[0].bias
    with pytest.raises(AttributeError, match="ModuleList has no attribute `2`"):
        net.get_submodule("layers.2.x")
    with pytest.raises(AttributeError, match="`scale` is not an nn"):
        net.get_submodule("scale")
    with pytest.raises(AttributeError, match="`mask` is not a parameter"):
        net.get_parameter("mask")
    with pytest.raises(AttributeError, match="Net has no attribute `nothing`"):
        net.get_buffer("nothing")


def test_state_dict_shares_storage_and_round_trips() -> None:
    net, other = Net(), Net()
    state = net.state_dict()
    assert list(state) == ["scale", "mask", *NAMES[1:]]
    assert not any(tensor.requires_grad for tensor in state.values())
    assert np.shares_memory(state["layers.0.bias"].numpy(), net.layers[0].bias.detach().numpy())
    assert next(iter(net.state_dict(prefix="net."))) == "net.scale"
    assert repr(other.load_state_dict(state)) == "<All keys matched successfully>"
    tokens = tinytorch.tensor([[0, 3, 4]])
    np.testing.assert_array_equal(other(tokens).detach().numpy(), net(tokens).detach().numpy())
    arrays = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    other.load_state_dict(arrays)
    assert other.scale.dtype == np.float32
    assert other.head.weight is other.embed.weight


def test_load_state_dict_lists_every_error_and_loads_nothing() -> None:
    net = Net()
    before = {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}
    state: dict[str, Any] = {name: np.full_like(array, 7) for name, array in before.items()}
    del state["scale"], state["layers.1.bias"]
    state |= {"extra": np.zeros(1), "more.extra": np.zeros(1), "mask": np.zeros(4), "layers.0.bias": 3}
    state["head.weight"] = np.zeros((4, 5))
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    message = str(caught.value)
    assert message.startswith("Error(s) in loading state_dict for Net:\n\t")
    assert 'Missing key(s) in state_dict: "scale", "layers.1.bias".' in message
    assert 'Unexpected key(s) in state_dict: "extra", "more.extra".' in message
    assert "size mismatch for mask: copying a param with shape (4,) from checkpoint" in message
    assert "size mismatch for head.weight" in message and "is (5, 4)." in message
    assert "layers.0.bias: expected a Tensor or ndarray, got int" in message
    with pytest.raises(RuntimeError, match="size mismatch") as caught:
        net.load_state_dict(state, strict=False)
    assert "Missing" not in str(caught.value)
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])
    with pytest.raises(TypeError, match="dict-like"):
        net.load_state_dict([1])

    result = net.load_state_dict({"scale": np.array([5.0]), "extra": np.zeros(1)}, strict=False)
    assert result.unexpected_keys == ["extra"] and "scale" not in result.missing_keys and len(result.missing_keys) == 7
    assert net.scale.item() == 5.0


def test_modes_and_apply() -> None:
    net = Net()
    assert net.eval() is net and not any(module.training for module in net.modules())
    assert all(module.training for module in net.train().modules())
    with pytest.raises(ValueError, match="boolean"):
        net.train("yes")
    order: list[Any] = []
    net.apply(order.append)
    assert order[-1] is net and order[0] is net.embed and len(order) == 6
    net.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_gradients_are_dropped_or_zeroed() -> None:
    net = Net()
    net(tinytorch.tensor([0, 1])).square().mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    net.zero_grad(set_to_none=False)
    assert not any(parameter.grad.numpy().any() for parameter in net.parameters())
    net.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_conversion_keeps_identity_and_integers() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    parameters = list(net.parameters())
    net(tinytorch.ones(4, 2)).square().mean().backward()
    assert net.double() is net
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert {p.dtype for p in parameters} == {np.dtype("float64")} == {p.grad.dtype for p in parameters}
    assert all(p.requires_grad and p.is_leaf for p in parameters)
    assert net[1].running_mean.dtype == np.float64 and net[1].num_batches_tracked.dtype == np.int64
    assert net[1].running_mean is net[1]._buffers["running_mean"]
    assert net(tinytorch.ones(4, 2, dtype=tinytorch.float64)).dtype == np.float64
    assert net.to(tinytorch.float32)[0].weight.dtype == np.float32
    assert net.to("cpu").to(device="cpu", dtype=tinytorch.float64)[0].weight.dtype == np.float64
    assert net.to("cpu")[0].weight.dtype == np.float64
    assert net.to(tinytorch.zeros(1))[0].weight.dtype == np.float32
    with pytest.raises(TypeError, match="only accepts floating point"):
        net.to(tinytorch.int64)


def test_tied_weights_stay_tied_through_conversion_and_copies() -> None:
    net = Net().double()
    assert net.head.weight is net.embed.weight and net.head.weight.dtype == np.float64
    twin = copy.deepcopy(net)
    assert twin.head.weight is twin.embed.weight and twin.head.weight is not net.head.weight
    assert twin.head.weight is twin.head._parameters["weight"]
    with tinytorch.no_grad():
        twin.scale.fill_(9.0)
    assert net.scale.item() == 2.0


def test_forward_hooks() -> None:
    layer = nn.Linear(2, 2)
    x = tinytorch.ones(1, 2)
    plain = layer(x).detach().numpy()
    calls: list[Any] = []
    pre = layer.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    post = layer.register_forward_hook(lambda module, args, output: calls.append((args[0], output)))
    doubled = layer(x).detach().numpy()
    np.testing.assert_allclose(doubled - layer.bias.detach().numpy(), 2 * (plain - layer.bias.detach().numpy()), 1e-5)
    np.testing.assert_array_equal(calls[0][0].numpy(), [[2.0, 2.0]])
    pre.remove()
    add = layer.register_forward_hook(lambda module, args, output: output + 100)
    np.testing.assert_allclose(layer(x).detach().numpy(), plain + 100, 1e-6)
    add.remove()
    assert len(calls) == 2
    post.remove(), post.remove()
    assert not layer._hooks
    np.testing.assert_array_equal(layer(x).detach().numpy(), plain)


def test_hooks_with_keyword_arguments() -> None:
    class Scale(nn.Module):
        def forward(self, x: Any, *, factor: float) -> Any:
            return x * factor

    module = Scale()
    seen: list[Any] = []
    module.register_forward_pre_hook(lambda m, args, kwargs: (args, {"factor": 3.0}), with_kwargs=True)
    module.register_forward_hook(lambda m, args, kwargs, output: seen.append(kwargs), with_kwargs=True)
    assert module(tinytorch.ones(1), factor=2.0).item() == 3.0
    assert seen == [{"factor": 3.0}]


def test_backward_hook_without_gradient_for_the_input() -> None:
    """A first layer: the input needs no gradient, the hook still sees grad_output, once."""
    layer = nn.Linear(2, 2)
    seen: list[Any] = []
    handle = layer.register_full_backward_hook(lambda module, grads_in, grads_out: seen.append((grads_in, grads_out)))
    cotangent = tinytorch.tensor([[1.5, -2.0]])
    layer(tinytorch.ones(1, 2)).backward(cotangent)
    ((grads_in, grads_out),) = seen
    assert grads_in == (None,)
    np.testing.assert_array_equal(grads_out[0].numpy(), cotangent.numpy())
    np.testing.assert_array_equal(layer.bias.grad.numpy(), [1.5, -2.0])
    with tinytorch.no_grad():
        layer(tinytorch.ones(1, 2))
    handle.remove()
    layer(tinytorch.ones(1, 2)).backward(cotangent)
    assert len(seen) == 1


def test_backward_hook_must_return_a_gradient_per_input() -> None:
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda module, grads_in, grads_out: (None, None))
    with pytest.raises(RuntimeError, match="returned 2 gradients for 1 inputs"):
        layer(tinytorch.ones(1, 2, requires_grad=True)).backward(tinytorch.ones(1, 2))


def test_parameter() -> None:
    data = tinytorch.tensor([1.0, 2.0])
    parameter = nn.Parameter(data)
    assert isinstance(parameter, tinytorch.Tensor) and parameter.requires_grad and parameter.is_leaf
    assert np.shares_memory(parameter.detach().numpy(), data.numpy())
    assert repr(parameter) == "Parameter containing:\ntensor([1., 2.], requires_grad=True)"
    assert repr(nn.Parameter(data, requires_grad=False)) == "Parameter containing:\ntensor([1., 2.])"
    assert type(parameter * 2) is tinytorch.Tensor and type(parameter.detach()) is tinytorch.Tensor
    assert type(copy.deepcopy(parameter)) is nn.Parameter


def test_extra_repr_over_several_lines() -> None:
    class Two(nn.Module):
        def extra_repr(self) -> str:
            return "a=1\nb=2"

    assert repr(Two()) == "Two(\n  a=1\n  b=2\n)"


def _named(iterator: Any) -> list[str]:
    return [name for name, _ in iterator]


@pytest.mark.parametrize("kind", ["parameters", "buffers"])
def test_none_and_tied_members_hide_nobody(kind: str) -> None:
    """What comes after them in the list is listed."""
    module = nn.Module()
    tied = nn.Parameter(tinytorch.ones(1)) if kind == "parameters" else tinytorch.ones(1)
    other = nn.Parameter(tinytorch.ones(2)) if kind == "parameters" else tinytorch.ones(2)
    register = module.register_parameter if kind == "parameters" else module.register_buffer
    register("nothing", None)
    register("a", tied)
    register("b", tied)
    register("c", other)
    listing = getattr(module, f"named_{kind}")
    assert _named(listing()) == _named(listing(recurse=False)) == ["a", "c"]
    assert _named(listing(remove_duplicate=False)) == ["a", "b", "c"]
    assert list(getattr(module, kind)()) == [tied, other]
    assert list(module.state_dict()) == ["a", "b", "c"]


def test_what_recurse_leaves_out() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    net.own = nn.Parameter(tinytorch.ones(1))
    net.register_buffer("table", tinytorch.ones(1))
    for recurse in (True, False):
        assert len(list(net.parameters(recurse))) == len(list(net.parameters(recurse=recurse))) == (5 if recurse else 1)
        assert len(list(net.buffers(recurse))) == len(list(net.buffers(recurse=recurse))) == (4 if recurse else 1)
        assert len(_named(net.named_parameters(recurse=recurse))) == (5 if recurse else 1)
        assert len(_named(net.named_buffers("x", recurse))) == (4 if recurse else 1)
    assert list(net.parameters(recurse=False)) == [net.own] and list(net.buffers(recurse=False)) == [net.table]


def test_shared_modules_are_listed_as_often_as_asked() -> None:
    shared = nn.Linear(1, 1)
    net = nn.Sequential(shared, nn.Sequential(shared, nn.ReLU()))
    assert len(list(net.modules())) == 4 and len(list(net.modules(remove_duplicate=False))) == 5
    assert _named(net.named_modules(prefix="net")) == ["net", "net.0", "net.1", "net.1.1"]
    assert _named(net.named_parameters(remove_duplicate=False)) == ["0.weight", "0.bias", "1.0.weight", "1.0.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.0.weight", "1.0.bias"]
    assert [module is shared for module in net[1].children()] == [True, False]
    count: list[Any] = []
    net.apply(count.append)
    assert sum(module is shared for module in count) == 2  # once for each that holds it


@pytest.mark.parametrize("persistent", [True, False])
def test_loading_between_forward_and_backward_is_noticed(persistent: bool) -> None:
    """Values that backward needs were written over: wrong gradients otherwise."""
    layer = nn.Linear(2, 2, bias=False)
    x = tinytorch.ones(1, 2, requires_grad=True)
    versions = [p._version for p in layer.parameters()]
    y = layer(x)
    layer.load_state_dict({"weight": np.zeros((2, 2), np.float32)})
    assert [p._version for p in layer.parameters()] == [version + 1 for version in versions]
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward(tinytorch.ones(1, 2))
    net = Net()
    before = net.mask._version, net.cache._version
    net.load_state_dict(net.state_dict())
    assert (net.mask._version, net.cache._version) == (before[0] + 1, before[1])


def test_state_dict_of_the_members_themselves() -> None:
    net = Net()
    state = net.state_dict(keep_vars=True, prefix="x.")
    assert state["x.scale"] is net.scale and state["x.mask"] is net.mask and "x.cache" not in state
    given = {"before": tinytorch.zeros(1)}
    assert net.state_dict(destination=given) is given and list(given)[:3] == ["before", "scale", "mask"]
    with pytest.raises(TypeError, match="positional"):
        net.state_dict("x.")  # in PyTorch this would be the destination
    assert net.state_dict(prefix="")["scale"] is not net.scale


def test_loading_by_assignment() -> None:
    """Values take the places of parameters and buffers, as they are; whether a gradient is wanted stays."""
    net, half = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), tinytorch.ones(3, 2, dtype=tinytorch.float16)
    net[0].bias.requires_grad_(False)
    mean, bias = tinytorch.full((3,), 7.0), nn.Parameter(tinytorch.zeros(3))
    array = np.full(3, 5.0)
    state: dict[str, Any] = {"0.weight": half, "0.bias": bias, "1.running_mean": mean, "1.weight": array}
    old = net[0].weight
    keys = net.load_state_dict(state, strict=False, assign=True)
    assert keys.missing_keys == ["1.bias", "1.running_var"]  # PyTorch does not miss num_batches_tracked either
    weight = net[0].weight
    assert type(weight) is nn.Parameter and weight is not old and weight.dtype == np.float16 and weight.requires_grad
    assert np.shares_memory(weight.detach().numpy(), half.numpy())
    assert net[0].bias is bias and not bias.requires_grad
    assert net[1].running_mean is mean and net[1]._buffers["running_mean"] is mean
    assert net[1].weight.dtype == np.float64 and np.shares_memory(net[1].weight.detach().numpy(), array)
    assert net[1].weight.requires_grad
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.bias"):
        net.load_state_dict({"0.bias": np.zeros(4), "0.weight": np.zeros((3, 2))}, strict=False, assign=True)
    assert net[0].weight is weight


def test_what_may_be_missing_from_a_checkpoint() -> None:
    layer = nn.BatchNorm1d(2)
    layer.num_batches_tracked.fill_(5)
    state = {key: value for key, value in layer.state_dict().items() if key != "num_batches_tracked"}
    assert layer.load_state_dict(state).missing_keys == [] and layer.num_batches_tracked.item() == 5
    del state["running_var"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "running_var"\.'):
        layer.load_state_dict(state)
    layer.load_state_dict({**layer.state_dict(), "num_batches_tracked": np.array(8)})
    assert layer.num_batches_tracked.item() == 8


def test_methods_of_submodules_are_asked() -> None:
    """A submodule that overrides train or state_dict is switched and saved in its own way, however deep it lies."""

    class Frozen(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> Any:
            return super().train(False)

    class Summary(nn.Linear):
        def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
            state = {} if destination is None else destination
            state[f"{prefix}sum"] = self.weight.detach().sum()
            return state

    net = nn.Sequential(nn.Sequential(Frozen(2), Summary(2, 2)), nn.ReLU())
    net.train()
    assert net.training and net[1].training and net[0].training and not net[0][0].training
    assert list(net.state_dict(prefix="m."))[-1] == "m.0.1.sum" and len(net.state_dict()) == 6


def test_a_shared_module_is_loaded_by_any_of_its_names() -> None:
    shared = nn.Linear(1, 1)
    net = nn.Sequential(shared, nn.Sequential(shared, nn.ReLU()))
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.0.weight", "1.0.bias"]
    net.load_state_dict(net.state_dict())
    second = {"1.0.weight": tinytorch.full((1, 1), 3.0), "1.0.bias": tinytorch.full((1,), 4.0)}
    assert sorted(net.load_state_dict(second, strict=False).missing_keys) == ["0.bias", "0.weight"]
    assert (shared.weight.item(), shared.bias.item()) == (3.0, 4.0)


def test_modes_reach_what_is_shared_and_nothing_else() -> None:
    net = Net()
    net.layers.eval()
    assert net.training and not net.layers.training and not net.layers[1].training and net.head.training
    net.train(False)
    assert not any(module.training for module in net.modules())
    assert net.eval() is net and net.train() is net
    for value in (1, None, 0):
        with pytest.raises(ValueError, match="expected to be boolean"):
            net.train(value)


@pytest.mark.parametrize(
    ("convert", "dtype"),
    [
        (lambda m: m.half(), tinytorch.float16),
        (lambda m: m.bfloat16(), tinytorch.bfloat16),
        (lambda m: m.float(), tinytorch.float32),
        (lambda m: m.double(), tinytorch.float64),
    ],
    ids=["half", "bfloat16", "float", "double"],
)
def test_conversions(convert: Any, dtype: Any) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    net(tinytorch.ones(2, 2)).square().mean().backward()
    parameters, grads = list(net.parameters()), [p.grad for p in net.parameters()]
    assert convert(net) is net
    assert [p.dtype for p in net.parameters()] == [dtype] * 4 and net[1].running_var.dtype == dtype
    assert net[1].num_batches_tracked.dtype == np.int64
    assert all(p is q for p, q in zip(net.parameters(), parameters, strict=True))
    assert all(p.grad is g and g.dtype == dtype for p, g in zip(net.parameters(), grads, strict=True))


def test_conversion_to_the_same_dtype_leaves_memory_alone() -> None:
    """So that compiled functions and optimizers go on with what they know."""
    net = nn.Linear(2, 2)
    arrays = [p.array for p in net.parameters()]
    net.float().to("cpu").cpu().to(tinytorch.float32)
    assert all(p.array is array for p, array in zip(net.parameters(), arrays, strict=True))


def test_requires_grad_() -> None:
    net = Net()
    assert net.requires_grad_(False) is net and not any(p.requires_grad for p in net.parameters())
    net.layers[0].requires_grad_()
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["layers.0.weight", "layers.0.bias"]


def test_hooks_that_go_first() -> None:
    layer = nn.Linear(1, 1)
    order: list[str] = []
    layer.register_forward_pre_hook(lambda m, args: order.append("pre 1"))
    layer.register_forward_hook(lambda m, args, output: order.append("post 1"))
    layer.register_full_backward_hook(lambda m, grads_in, grads_out: order.append("back 1"))
    layer.register_forward_pre_hook(lambda m, args: order.append("pre 0"), prepend=True)
    layer.register_forward_hook(lambda m, args, output: order.append("post 0"), prepend=True)
    layer.register_full_backward_hook(lambda m, grads_in, grads_out: order.append("back 0"), prepend=True)
    layer.register_forward_pre_hook(lambda m, args: order.append("pre 2"))
    layer(tinytorch.ones(1, 1)).sum().backward()
    assert order == ["pre 0", "pre 1", "pre 2", "post 0", "post 1", "back 0", "back 1"]


def test_pre_hook_with_keyword_arguments_must_return_both() -> None:
    layer = nn.Linear(1, 1)
    layer.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    with pytest.raises(RuntimeError, match=r"None or a tuple of \(new_args, new_kwargs\), but got tuple from a hook"):
        layer(tinytorch.ones(1, 1))


def test_buffers_that_are_not_saved() -> None:
    """Whether a buffer is saved belongs to its name, until another kind of member or registration takes it."""
    module = nn.Module()
    module.register_buffer("a", tinytorch.ones(1), persistent=False)
    module.register_buffer("b", None)
    assert list(module.state_dict()) == []
    module.a = tinytorch.zeros(2)
    assert list(module.state_dict()) == [] and _named(module.named_buffers()) == ["a"]
    module.b = tinytorch.zeros(2)
    assert list(module.state_dict()) == ["b"]
    module.register_buffer("a", tinytorch.ones(1))
    assert list(module.state_dict()) == ["a", "b"]
    module.register_buffer("a", tinytorch.ones(1), persistent=False)
    del module.a
    module.register_buffer("a", tinytorch.ones(1))
    assert list(module.state_dict()) == ["b", "a"]
    module.register_buffer("a", tinytorch.ones(1), persistent=False)
    module.a = nn.Parameter(tinytorch.ones(1))
    assert list(module.state_dict()) == ["a", "b"]
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "c"\.'):
        module.load_state_dict({"a": np.ones(1), "b": np.ones(2), "c": np.ones(1)})


def test_backward_hook_of_a_module_with_several_outputs() -> None:
    class Two(nn.Module):
        def forward(self, x: Any, y: Any, factor: float) -> Any:
            return x * factor, y * 2, factor

    module = Two()
    seen: list[Any] = []

    def hook(module: Any, grads_in: Any, grads_out: Any) -> Any:
        seen.append((grads_in, grads_out))
        return tuple(None if grad is None else grad * 10 for grad in grads_in)

    module.register_full_backward_hook(hook)
    x, y = tinytorch.ones(2, requires_grad=True), tinytorch.ones(2)
    first, second, factor = module(x, y, 3.0)
    assert factor == 3.0 and not second.requires_grad
    (first * tinytorch.tensor([1.0, -1.0])).sum().backward()
    ((grads_in, grads_out),) = seen
    assert len(grads_in) == 3 and grads_in[1:] == (None, None) and grads_out[1:] == (None, None)
    np.testing.assert_array_equal(grads_in[0].numpy(), [3.0, -3.0])
    np.testing.assert_array_equal(grads_out[0].numpy(), [1.0, -1.0])
    np.testing.assert_array_equal(x.grad.numpy(), [30.0, -30.0])


def test_backward_hooks_do_not_hide_changes_in_place() -> None:
    """What a module with a hook is given and gives shares memory, and versions, with what the caller holds."""
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda module, grads_in, grads_out: None)
    x = tinytorch.ones(1, 2, requires_grad=True) * 1.0
    y = layer(x)
    x.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.sum().backward()


@pytest.mark.parametrize("result", [[(), {}], ((),), 3], ids=str)
def test_what_a_pre_hook_may_not_return(result: Any) -> None:
    layer = nn.Linear(1, 1)
    layer.register_forward_pre_hook(lambda m, args, kwargs: result, with_kwargs=True)
    with pytest.raises(RuntimeError, match="forward pre-hook must return None or a tuple"):
        layer(tinytorch.ones(1, 1))


def test_what_hooks_return() -> None:
    """A pre-hook's single value stands for the only argument; a backward hook's for the only gradient."""
    layer = nn.Identity()
    layer.register_forward_pre_hook(lambda m, args: args[0] * 2)
    layer.register_forward_hook(lambda m, args, output: None)
    layer.register_full_backward_hook(lambda m, grads_in, grads_out: grads_in[0] * 5)
    x = tinytorch.ones(2, requires_grad=True)
    y = layer(x)
    np.testing.assert_array_equal(y.detach().numpy(), [2.0, 2.0])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [10.0, 10.0])
