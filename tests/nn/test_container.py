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
