"""Adapters on a model: first values, what is trained, switching, sums; PEFT's numbers: test_attached_oracle.py."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

import tinytorch
import tinytorch.nn as nn
from lora import Llama, LoraConfig, add_adapter, add_weighted_adapter, merge
from lora.adapters.attached import lora_layers
from lora.adapters.layers import LoraLinear
from tests.lora.model.test_llama import IDS, make
from tinytorch import optim
from tinytorch.cli.errors import UserError

ALL = {"target_modules": ["q_proj", "down_proj", "embed_tokens", "lm_head"]}


def logits(model: Llama) -> np.ndarray:
    return model(IDS).detach().numpy()


def randomize(model: Llama, name: str = "default") -> Llama:
    for layer in lora_layers(model).values():
        if name in layer.adapters:
            for parameter in layer.adapters[name].parameters():
                parameter.data = parameter.data + 0.1 * tinytorch.randn(*parameter.shape, dtype=parameter.dtype)
    return model


def adapted(**settings: Any) -> Llama:
    return randomize(add_adapter(make(), LoraConfig(**{**ALL, **settings})))


def trained(model: Llama) -> list[str]:
    return [name for name, p in model.named_parameters() if p.requires_grad]


def of(name: str, *layers: str) -> list[str]:
    """The names of what is trained of an adapter of these layers, in a model's order."""
    places = {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "down_proj": "mlp"}
    paths = [f"model.layers.{i}.{places[layer]}.{layer}" for i in range(2) for layer in layers]
    return [f"{path}.adapters.{name}.lora_{x}" for path in paths for x in "AB"]


def digests(model: Llama) -> dict[str, str]:
    """Of all weights of the base."""
    state = model.state_dict()
    return {name: hashlib.sha256(state[name].numpy()).hexdigest() for name in state if ".adapters." not in name}


def test_a_beginning_of_other_programs_is_refused_before_anything_changes() -> None:
    model = make()
    with pytest.raises(UserError, match="'orthogonal': such adapters can be loaded, but a new one must begin with"):
        add_adapter(model, LoraConfig(init_lora_weights="orthogonal"))
    assert not lora_layers(model) and len(trained(model)) == len(list(model.parameters()))


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("how", [True, "gaussian"])
def test_a_new_adapter_changes_nothing(how: bool | str, dora: bool) -> None:
    expected = logits(make())
    model = add_adapter(make(), LoraConfig(**ALL, init_lora_weights=how, use_dora=dora))
    np.testing.assert_array_equal(logits(model), expected)


def test_first_values() -> None:
    tinytorch.manual_seed(0)
    settings = {"r": 8, "target_modules": ["down_proj", "embed_tokens"]}
    model = make(intermediate_size=400, hidden_size=100, head_dim=10)
    for how in (True, False, "gaussian"):
        add_adapter(model, LoraConfig(**settings, init_lora_weights=how), str(how))
    layer, embedding = model.model.layers[0].mlp.down_proj, model.model.embed_tokens
    for how in ("True", "False"):  # uniform in +-1/sqrt(400)
        a = layer.adapters[how].lora_A.detach().numpy()
        assert 0.049 < np.abs(a).max() <= 0.05
        assert abs(a.std() - 0.05 / 3**0.5) < 1e-3
    assert abs(layer.adapters["gaussian"].lora_A.detach().numpy().std() - 1 / 8) < 5e-3
    assert 0.3 < np.abs(layer.adapters["False"].lora_B.detach().numpy()).max() <= 8**-0.5
    assert not layer.adapters["True"].lora_B.detach().numpy().any()
    assert not embedding.adapters["True"].lora_A.detach().numpy().any()
    assert abs(embedding.adapters["True"].lora_B.detach().numpy().std() - 1) < 0.1
    assert embedding.adapters["False"].lora_A.detach().numpy().any()


def test_the_same_seed_draws_the_same_adapter() -> None:
    def state() -> dict[str, Any]:
        return add_adapter(make(), LoraConfig(**ALL)).state_dict()

    first, second = state(), state()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor.numpy(), second[name].numpy())


def test_magnitudes_begin_as_the_lengths_of_the_weight() -> None:
    model = add_adapter(make(), LoraConfig(**ALL, use_dora=True))
    layer, embedding = model.model.layers[1].mlp.down_proj, model.model.embed_tokens
    for found, dim in ((layer, 1), (embedding, 0)):
        expected = np.linalg.norm(found.weight.detach().numpy(), axis=dim)
        magnitude = found.adapters["default"].lora_magnitude_vector.detach().numpy()
        np.testing.assert_allclose(magnitude, expected, rtol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("dora", [False, True])
def test_training_leaves_the_base_as_it_is(dora: bool, dropout: float) -> None:
    """To the bit; without gradients and without state of the optimizer for it."""
    model = add_adapter(make(attention_bias=True), LoraConfig(**ALL, use_dora=dora, lora_dropout=dropout))
    before, first = digests(model), {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    optimizer = optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        loss = model.loss(IDS, IDS)
        loss.backward()
        optimizer.step()
    assert digests(model) == before
    assert loss.item() < model.eval().loss(IDS, IDS).item() + 1  # it is a number
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad == (".adapters." in name), name
        assert np.array_equal(parameter.detach().numpy(), first[name]) != parameter.requires_grad, name
    assert len(optimizer.state) == len(trained(model))


def test_a_frozen_layer_keeps_no_input() -> None:
    """x is kept for A alone, beside B's small input; where no adapter is active, nothing is."""
    layer = LoraLinear(nn.Linear(64, 32).requires_grad_(False))
    layer.add("one", 4, 2.0, 0.0, False, tinytorch.float32)
    x = tinytorch.randn(5, 64, requires_grad=True)

    def saved() -> list[int]:
        """The sizes of what is kept beside parameters."""
        own = {p.array.shape for p in layer.parameters()}
        return sorted(a.size for a in layer(x).grad_fn.saved if a is not None and a.shape not in own)

    assert saved() == []
    layer.active = "one"
    assert saved() == [5 * 4, 5 * 64]
    layer.adapters["one"].requires_grad_(False)
    assert saved() == []


def test_names_of_the_base_stay() -> None:
    model = adapted()
    names = [name for name, _ in make().named_parameters()]
    assert [name for name, _ in model.named_parameters() if ".adapters." not in name] == names
    assert [name for name in model.state_dict() if ".adapters." not in name] == list(make().state_dict())
    assert "model.layers.0.mlp.down_proj.adapters.default.lora_A" in model.state_dict()
    make().load_state_dict(model.state_dict(), strict=False)
    again = add_adapter(make(), LoraConfig(**ALL))
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(logits(again), logits(model))
    own = {id(parameter) for parameter in model.parameters()}
    assert all(id(tensor) in own for tensor in model.state_dict(keep_vars=True).values())
    assert not any(id(tensor) in own for tensor in model.state_dict().values())


def test_double_precision() -> None:
    wide = add_adapter(make().double(), LoraConfig(**ALL, use_dora=True))
    assert {str(p.dtype) for p in wide.parameters()} == {"float64"}
    model = adapted(use_dora=True)
    before = logits(model)
    np.testing.assert_allclose(logits(model.double()), before, atol=1e-5)


def test_several_adapters() -> None:
    model = adapted(r=2)
    first, own = logits(model), trained(model)
    assert len(own) == 2 * 6 and set(of("default", "q_proj", "down_proj")) < set(own)
    add_adapter(model, LoraConfig(target_modules=["q_proj", "k_proj"]), "other")
    assert trained(model) == of("other", "q_proj", "k_proj")
    other = logits(randomize(model, "other"))
    assert np.abs(other - first).max() > 0.01
    model.set_adapter("default")
    assert trained(model) == own
    np.testing.assert_array_equal(logits(model), first)
    model.set_adapter("other")
    np.testing.assert_array_equal(logits(model), other)
    with pytest.raises(UserError, match=r"there is no adapter named 'third': there are \['default', 'other'\]"):
        model.set_adapter("third")


def test_disabled_it_is_the_base() -> None:
    expected = logits(make())
    model = adapted()
    before = logits(model)
    with pytest.raises(ZeroDivisionError), model.disable_adapter():
        with model.disable_adapter():
            np.testing.assert_array_equal(logits(model), expected)
        np.testing.assert_array_equal(logits(model), expected)
        merge(model)
        np.testing.assert_array_equal(logits(model), expected)
        raise ZeroDivisionError
    np.testing.assert_allclose(logits(model), before, atol=1e-5)


def test_dropout_is_for_training_only() -> None:
    model = adapted(lora_dropout=0.5)
    assert not np.array_equal(logits(model), logits(model))
    model.eval()
    np.testing.assert_array_equal(logits(model), logits(adapted().eval()))
    add_adapter(model, LoraConfig(lora_dropout=0.5), "other")
    assert not any(module.training for module in model.modules())


def test_biases() -> None:
    model = add_adapter(make(attention_bias=True, mlp_bias=True), LoraConfig(bias="lora_only"))
    own = {f"model.layers.{i}.self_attn.{x}_proj.bias" for i in range(2) for x in "qv"}
    assert {name for name in trained(model) if ".adapters." not in name} == own
    add_adapter(model, LoraConfig(bias="all"), "all")
    assert len([name for name in trained(model) if ".adapters." not in name]) == 2 * 7
    add_adapter(model, LoraConfig(), "none")
    assert trained(model) == of("none", "q_proj", "v_proj")
    add_adapter(model, LoraConfig(bias="all", inference_mode=True), "frozen")
    assert trained(model) == []


def test_an_adapter_that_is_not_to_be_trained() -> None:
    model = add_adapter(make(), LoraConfig(inference_mode=True))
    assert trained(model) == []
    model.set_adapter("default")
    assert trained(model) == []


def test_names_of_adapters() -> None:
    model = adapted()
    before = list(model.state_dict())
    for name, message in (("default", "already an"), ("a.b", "without dots"), ("", "without"), ("items", "a word")):
        with pytest.raises(UserError, match=message):
            add_adapter(model, LoraConfig(), name)
    assert list(model.state_dict()) == before


def test_a_model_that_no_adapter_fits_stays_as_it_was() -> None:
    model = make()
    with pytest.raises(UserError, match="leave no layer"):
        add_adapter(model, LoraConfig(target_modules=["c_attn"]))
    assert len(trained(model)) == len(list(model.parameters()))
    assert model.peft_config == {}


def test_a_concatenated_sum_is_exact() -> None:
    """Of adapters of different ranks and layers: what it adds to a weight is the sum of what they add."""
    model = adapted(r=2, lora_alpha=3)
    add_adapter(model, LoraConfig(r=3, target_modules=["q_proj", "v_proj"], use_rslora=True), "other")
    randomize(model, "other")
    add_weighted_adapter(model, ["default", "other"], [0.5, -2.0], "sum", "cat")
    assert trained(model) == [name for name in trained(model) if ".adapters.other." in name] != []
    for layer in lora_layers(model).values():
        parts = {name: (a.lora_B @ a.lora_A).detach().numpy() * a.scaling for name, a in layer.adapters.items()}
        expected = 0.5 * parts.get("default", 0) - 2.0 * parts.get("other", 0)
        np.testing.assert_allclose(parts["sum"], expected, atol=1e-6)


def test_a_linear_sum_of_one_is_itself() -> None:
    model = adapted(r=2, lora_alpha=3)
    before = logits(model)
    add_weighted_adapter(model, ["default"], [1.0], "same")
    model.set_adapter("same")
    np.testing.assert_allclose(logits(model), before, atol=1e-5)
    assert trained(model) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["default"], [1.0], "sum", "svd"), "combination_type is 'svd': it must be linear or cat"),
        ((["default"], [1.0, 2.0], "sum"), "1 adapters and 2 weights"),
        (([], [], "sum"), "0 adapters and 0 weights"),
        ((["default", "none"], [1.0, 1.0], "sum"), "no adapter named 'none'"),
        ((["default"], [1.0], "other"), "already an adapter named 'other'"),
        ((["default", "other"], [1.0, 1.0], "sum"), r"ranks \[8, 2\]: linear needs adapters of equal rank"),
        ((["dora"], [1.0], "sum"), "adapters with DoRA cannot be added up"),
    ],
)
def test_sums_that_cannot_be(arguments: tuple[Any, ...], message: str) -> None:
    model = adapted()
    add_adapter(model, LoraConfig(r=2), "other")
    add_adapter(model, LoraConfig(use_dora=True), "dora")
    with pytest.raises(UserError, match=message):
        add_weighted_adapter(model, *arguments)
    assert sorted(model.peft_config) == ["default", "dora", "other"]
