"""Sequential, ModuleList and ModuleDict as containers."""

from __future__ import annotations

import pytest

import tinytorch
from tinytorch import nn


def _names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_children()]


def test_sequential() -> None:
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    model = nn.Sequential(a, b, c)
    x = tinytorch.ones(4, 2)
    assert (model(x).detach().numpy() == c(b(a(x))).detach().numpy()).all()
    assert len(model) == 3 and model[-1] is c and list(model) == [a, b, c]
    assert type(model[:2]) is nn.Sequential and list(model[:2]) == [a, b]
    assert list(model[1:]) == [b, c] and list(model[::-2]) == [c, a]
    model[1] = nn.Tanh()
    assert _names(model) == ["0", "1", "2"] and isinstance(model[1], nn.Tanh)
    del model[1]
    assert list(model) == [a, c] and _names(model) == ["0", "1"]
    assert not hasattr(model, "2")
    with pytest.raises(IndexError, match="index 2 is out of range for 2 modules"):
        model[2]
    named = nn.Sequential({"first": a, "second": b})
    assert named.first is a and named[1] is b


def test_module_list() -> None:
    a, b, c, d = (nn.Linear(1, 1) for _ in range(4))
    layers = nn.ModuleList([a])
    layers.append(b).extend([c])
    layers.insert(0, d)
    layers += [nn.ReLU()]
    assert list(layers)[:4] == [d, a, b, c] and _names(layers) == ["0", "1", "2", "3", "4"]
    assert layers.pop(-1) and len(layers) == 4
    assert a in layers and [name for name, _ in layers.named_parameters()][2] == "1.weight"
    assert list(layers[1:3]) == [a, b]
    with pytest.raises(TypeError, match="int is not a Module subclass"):
        layers.append(3)


def test_module_dict() -> None:
    layers = nn.ModuleDict({"a": nn.ReLU()})
    layers["b"] = nn.Linear(1, 2)
    layers.update({"c": nn.Tanh()})
    assert list(layers) == ["a", "b", "c"] == list(layers.keys()) and len(layers) == 3
    assert "b" in layers and layers.b is layers["b"]
    assert [name for name, _ in layers.items()] == list(layers)
    assert isinstance(layers.pop("a"), nn.ReLU) and list(layers) == ["b", "c"]
    del layers["c"]
    with pytest.raises(KeyError, match="nothing"):
        del layers["nothing"]
    assert [name for name, _ in layers.named_parameters()] == ["b.weight", "b.bias"]
    with pytest.raises(KeyError, match="already exists"):
        layers["forward"] = nn.ReLU()
    assert len(nn.ModuleDict()) == len(nn.ModuleDict(None)) == 0
    layers.clear()
    assert len(layers) == 0 and not hasattr(layers, "b")


def test_slices_of_sequentials_keep_names() -> None:
    """The state of a part loads into the whole; what is appended to a part takes the place of nobody."""
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(4)])
    part = model[1:3]
    assert _names(part) == ["1", "2"] and list(part.state_dict()) == ["1.weight", "1.bias", "2.weight", "2.bias"]
    added = nn.ReLU()
    part.append(added)
    assert _names(part) == ["1", "2", "3"] and list(part) == [model[1], model[2], added]
    assert _names(model[::-1]) == ["3", "2", "1", "0"]
    named = nn.Sequential({"first": model[0], "second": model[1]})
    assert _names(named[1:]) == ["second"]
    named.append(added)
    assert _names(named) == ["first", "second", "2"] and named[-1] is added
    del part[0]
    assert _names(part) == ["0", "1"] and not hasattr(part, "2")
    assert _names(nn.ModuleList(model)[1:3]) == ["0", "1"]


def test_insertion() -> None:
    for kind in (nn.Sequential, nn.ModuleList):
        for index in range(-3, 4):
            modules = [nn.Linear(1, 1) for _ in range(3)]
            made = kind(*modules) if kind is nn.Sequential else kind(modules)
            new = nn.ReLU()
            made.insert(index, new)
            modules.insert(index, new)
            assert list(made) == modules and _names(made) == ["0", "1", "2", "3"]
        for index in (-5, 5):
            with pytest.raises(IndexError, match=f"index {index} is out of range for 4 modules"):
                made.insert(index, nn.ReLU())
        with pytest.raises(TypeError, match="NoneType is not a Module subclass"):
            made.insert(0, None)
        assert len(made) == 4


def test_deletion_and_pop() -> None:
    for index in (0, 2, -1, slice(0, 2), slice(None, None, 2)):
        for kind in (nn.Sequential, nn.ModuleList):
            modules = [nn.Linear(1, 1) for _ in range(3)]
            made = kind(*modules) if kind is nn.Sequential else kind(modules)
            again = kind(*modules) if kind is nn.Sequential else kind(modules)
            expected = modules[index]
            popped = made.pop(index)
            assert list(popped) == expected if isinstance(index, slice) else popped is expected
            del modules[index], again[index]
            assert list(made) == list(again) == modules
            assert _names(made) == [str(i) for i in range(len(modules))]
            assert _names(made) == [name for name in "012" if hasattr(made, name)]
    with pytest.raises(IndexError, match="index 7 is out of range"):
        made.pop(7)


def test_sums_and_multiples() -> None:
    a, b, c = nn.Linear(1, 1), nn.ReLU(), nn.Tanh()
    first, second = nn.Sequential(a, b), nn.Sequential({"c": c})
    assert list(first + second) == [a, b, c] and _names(first + second) == ["0", "1", "2"]
    assert list(first) == [a, b] and list(second) == [c]
    assert list(first * 2) == list(2 * first) == [a, b, a, b] and list(first) == [a, b]
    same = first
    first += second
    assert first is same and list(first) == [a, b, c]
    first *= 2
    assert first is same and list(first) == [a, b, c, a, b, c]
    first *= 1
    assert len(first) == 6
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"by a positive number, got {wrong}"):
            second * wrong
    with pytest.raises(TypeError, match="by an int, not by float"):
        second * 1.5
    with pytest.raises(ValueError, match="only a Sequential can be added to a Sequential, got list"):
        second.__add__([a])
    with pytest.raises(ValueError, match="got ReLU"):
        second += b
    layers = nn.ModuleList([a])
    more = layers + (b, c)  # noqa: RUF005
    assert list(more) == [a, b, c] and type(more) is nn.ModuleList and len(layers) == 1
    assert len(nn.ModuleList()) == len(nn.ModuleList(None)) == 0


def test_a_list_says_how_often_neighbours_occur() -> None:
    layers = nn.ModuleList([nn.ReLU(), nn.Linear(1, 2), nn.Linear(1, 2), nn.Linear(2, 2)])
    assert repr(layers).splitlines() == [
        "ModuleList(",
        "  (0): ReLU()",
        "  (1-2): 2 x Linear(in_features=1, out_features=2, bias=True)",
        "  (3): Linear(in_features=2, out_features=2, bias=True)",
        ")",
    ]
