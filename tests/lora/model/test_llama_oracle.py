"""Ours beside transformers' LlamaForCausalLM: logits, loss, gradients, generation, the folders of either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch
from bench.parity import PADDINGS, ROPES, SHAPES, TOLERANCE, batch, compare, their_model
from lora import Llama

pytestmark = [
    pytest.mark.oracle("torch", "transformers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

YARN = ROPES["yarn"]
MORE_ROPES: dict[str, dict[str, Any]] = {
    "yarn, mscale": {**YARN, "mscale": 1.5, "mscale_all_dim": 0.7, "beta_fast": 8.0, "beta_slow": 2.0},
    "yarn, not truncated": {**YARN, "truncate": False, "attention_factor": 1.3},
    "yarn, one length": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0},
    "dynamic, short": {**ROPES["dynamic"], "rope_theta": 5e5, "factor": 3.3},
}


@pytest.fixture(autouse=True)
def one_thread_for_torch() -> Iterator[None]:
    """Two pools of threads that spin on the same few cores would only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def check(dtype: str, padding: str, **settings: Any) -> None:
    errors = compare(dtype, padding, **settings)
    print(f"{dtype} {padding} {settings}: {errors}")
    assert max(errors[:3]) <= TOLERANCE[dtype], errors


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rope", ROPES)
def test_logits_loss_and_gradients(rope: str, shape: str, padding: str, dtype: str) -> None:
    check(dtype, padding, rope_parameters=dict(ROPES[rope]), **SHAPES[shape])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rope", MORE_ROPES)
def test_less_common_ropes(rope: str, dtype: str) -> None:
    check(dtype, "left", rope_parameters=dict(MORE_ROPES[rope]), num_key_value_heads=2, head_dim=16)


@pytest.mark.parametrize("rope", ROPES)
def test_greedy_generation_with_padding(rope: str, tmp_path: Path) -> None:
    import torch

    theirs = their_model(tmp_path, "float32", rope_parameters=dict(ROPES[rope]), num_key_value_heads=2)
    ids, _, mask = batch("left")
    ids, mask = ids[:, -40:], mask[:, -40:]  # no more than 64 in all, where dynamic rope would turn cached keys anew
    expected = theirs.generate(
        torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask),
        max_new_tokens=20,
        do_sample=False,
        pad_token_id=0,
    )
    found = Llama.from_pretrained(tmp_path).generate(ids, 20, mask, greedy=True)
    np.testing.assert_array_equal(found.numpy(), expected.numpy()[:, : found.shape[1]])


def test_ends_of_generation_config_json(tmp_path: Path) -> None:
    import json

    import torch
    from transformers import LlamaForCausalLM

    theirs = their_model(tmp_path, "float32", eos_token_id=3)
    ids = torch.from_numpy(batch("none")[0][:1, :8])
    free = theirs.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None)[0].tolist()
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, free[11]]}))
    expected = LlamaForCausalLM.from_pretrained(tmp_path).generate(ids, max_new_tokens=8, do_sample=False)
    found = Llama.from_pretrained(tmp_path).generate(ids.numpy(), 8, greedy=True)
    assert len(expected[0]) < 16
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("tied", [False, True])
def test_what_we_save_transformers_reads(rope: str, tied: bool, tmp_path: Path) -> None:
    import torch
    from transformers import LlamaForCausalLM

    settings = {"rope_parameters": dict(ROPES[rope]), "tie_word_embeddings": tied, "eos_token_id": [3, 4]}
    theirs = their_model(tmp_path / "theirs", "float32", **settings)
    Llama.from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    again = LlamaForCausalLM.from_pretrained(tmp_path / "ours", attn_implementation="eager")
    assert again.dtype == torch.float32
    for key, value in theirs.config.to_dict().items():
        if key not in ("transformers_version", "_name_or_path"):
            assert again.config.to_dict()[key] == value, key
    ids = torch.from_numpy(batch("none")[0])
    torch.testing.assert_close(again(ids).logits, theirs(ids).logits, rtol=0, atol=0)


@pytest.mark.parametrize("stored", ["float16", "float32", "float64"])
def test_each_dtype_can_be_read_and_written(stored: str, tmp_path: Path) -> None:
    import torch
    from transformers import LlamaForCausalLM

    theirs = their_model(tmp_path / "theirs", stored, num_key_value_heads=2)
    model = Llama.from_pretrained(tmp_path / "theirs", dtype="auto")
    assert {str(p.dtype) for p in model.parameters()} == {stored}
    assert not any(p.requires_grad for p in model.parameters())
    model.save_pretrained(tmp_path / "ours")
    again = LlamaForCausalLM.from_pretrained(tmp_path / "ours", dtype="auto")
    assert again.dtype == getattr(torch, stored)
    for (name, p), (_, q) in zip(theirs.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(p, q), name
    for dtype in ("float32", "float64"):
        converted = Llama.from_pretrained(tmp_path / "theirs", dtype=dtype)
        for name, p in converted.named_parameters():
            assert p.dtype == getattr(tinytorch, dtype) and p.requires_grad
            np.testing.assert_array_equal(p.detach().numpy(), model.get_parameter(name).numpy().astype(dtype))


@pytest.mark.parametrize("theta", [None, 7e4])
def test_rope_scaling_beside_rope_parameters(theta: float | None) -> None:
    """As transformers takes it: what is in rope_scaling, and no more of rope_parameters."""
    from transformers import LlamaConfig

    from lora.model.config import LlamaConfig as OurConfig

    given: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "rope_scaling": {"type": "linear", "factor": 8.0},
    }  # fmt: skip
    given |= {} if theta is None else {"rope_theta": theta}
    ours, theirs = OurConfig.from_dict(given), LlamaConfig.from_dict(given).rope_parameters
    found = {"rope_type": ours.rope_scaling.rope_type, "factor": ours.rope_scaling.factor}
    assert {**found, "rope_theta": ours.rope_theta} == {name: theirs[name] for name in (*found, "rope_theta")}


def test_frequencies_of_the_models_there_are() -> None:
    """To the last bit or the one before: PyTorch's powers are not all the nearest float32."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    from lora.model.config import LlamaConfig as OurConfig
    from lora.model.rope import frequencies

    llama32 = {**ROPES["llama3"], "factor": 32.0, "original_max_position_embeddings": 8192}
    for head_dim, rope in [(64, llama32), (128, llama32), *((128, rope) for rope in ROPES.values())]:
        theirs = LlamaConfig(rope_parameters=dict(rope), head_dim=head_dim)
        compute = ROPE_INIT_FUNCTIONS.get(rope["rope_type"], LlamaRotaryEmbedding.compute_default_rope_parameters)
        expected, amplitude = compute(theirs, device=None) if rope["rope_type"] != "default" else compute(theirs)
        ours = OurConfig.from_dict(theirs.to_dict())
        found = frequencies(head_dim, ours.rope_theta, ours.rope_scaling, ours.max_position_embeddings, 1)
        np.testing.assert_array_almost_equal_nulp(found[0], expected.numpy(), nulp=2)
        assert found[1] == amplitude
