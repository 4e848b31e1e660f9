from __future__ import annotations

import copy
import gc
import math
import weakref

import numpy as np
import pytest

import tinytorch
from gpt.config import GPTConfig
from gpt.model import GPT
from tinytorch.cli.errors import UserError
from tinytorch.generation.sampling import Sampling

TINY = GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=16)


def names(bias: bool) -> set[str]:
    weights = ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"]
    kinds = ["weight", "bias"] if bias else ["weight"]
    blocks = {f"transformer.h.{i}.{name}.{kind}" for i in range(2) for name in weights for kind in kinds}
    ends = {f"transformer.ln_f.{kind}" for kind in kinds}
    return blocks | ends | {"transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight"}


@pytest.mark.parametrize("bias", [False, True])
def test_parameter_names_are_nanogpts(bias: bool) -> None:
    assert set(GPT(GPTConfig(n_layer=2, bias=bias)).state_dict()) == names(bias)


def test_the_tied_head_is_the_token_embedding() -> None:
    tied, untied = GPT(TINY), GPT(GPTConfig(**{**vars(TINY), "tied_head": False}))
    assert tied.lm_head.weight is tied.transformer["wte"].weight
    assert untied.num_parameters() - tied.num_parameters() == 11 * 16


def test_residual_projections_start_smaller() -> None:
    tinytorch.manual_seed(0)
    for name, parameter in GPT(GPTConfig(bias=True)).named_parameters():
        values = parameter.detach().numpy()
        if name.endswith("c_proj.weight"):
            assert values.std() == pytest.approx(0.02 / math.sqrt(8), rel=0.05), name
        elif values.ndim == 2:
            assert values.std() == pytest.approx(0.02, rel=0.05), name
        elif name.endswith("bias"):
            assert not values.any(), name


def test_too_long_a_context_is_refused() -> None:
    with pytest.raises(ValueError, match="9 tokens do not fit in a context of 8"):
        GPT(TINY)(tinytorch.zeros(1, 9, dtype=tinytorch.int64))


def test_dropout_acts_in_training_only() -> None:
    model = GPT(GPTConfig(**{**vars(TINY), "dropout": 0.5}))
    idx = tinytorch.tensor([[1, 2, 3]])
    assert not np.array_equal(model(idx)[0].detach().numpy(), model(idx)[0].detach().numpy())
    model.eval()
    assert np.array_equal(model(idx)[0].detach().numpy(), model(idx)[0].detach().numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_head": 3}, r"n_embd \(16\) is not a multiple of n_head \(3\)"),
        ({"dropout": 1.0}, "dropout"),
        ({"n_layer": 0}, "n_layer is 0"),
    ],
)
def test_impossible_shapes_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GPTConfig(**{**vars(TINY), **change})


def test_what_was_seen_need_not_be_computed_again() -> None:
    """With keys and values kept, logits are those of the whole sequence, also past the context's end."""
    tinytorch.manual_seed(0)
    model = GPT(TINY).double().eval()
    idx = tinytorch.randint(0, 11, (3, 13))
    writer = model.writer(3)
    lengths = (2, 3, 4, 6, 7, 8, 9, 10, 13)  # one, two or more new tokens at a time
    with tinytorch.no_grad():
        for T in lengths:
            expected = model.logits(idx[:, :T][:, -8:])[:, -1]
            np.testing.assert_allclose(writer.next_logits(idx[:, :T].numpy()).numpy(), expected.numpy(), rtol=1e-12)


def written(model: GPT, text: list[int], count: int) -> list[int]:
    """Greedily, by the whole context for each token."""
    text = list(text)
    with tinytorch.no_grad():
        for _ in range(count):
            text.append(int(model.logits(tinytorch.tensor([text[-8:]]))[0, -1].argmax().item()))
    return text


def test_texts_that_are_written_at_the_same_time_do_not_mix() -> None:
    tinytorch.manual_seed(2)
    model = GPT(TINY).double().eval()
    texts = [[1, 2], [3, 4, 5], [6]]
    streams = [model.stream(tinytorch.tensor([text]), 10, Sampling(greedy=True)) for text in texts]
    drawn: list[list[int]] = [list(text) for text in texts]
    for tokens in zip(*streams, strict=True):
        for text, token in zip(drawn, tokens, strict=True):
            text.append(int(token.item()))
    assert drawn == [written(model, text, 10) for text in texts]


def test_what_is_compiled_for_writing_sees_new_weights_and_dies_with_the_model() -> None:
    tinytorch.manual_seed(3)
    model = GPT(TINY).eval()
    for seed in range(3):
        tinytorch.manual_seed(seed)
        model.load_state_dict(GPT(TINY).state_dict())
        assert model.generate(tinytorch.tensor([[1]]), 9, greedy=True).tolist() == [written(model, [1], 9)]
    twin = copy.deepcopy(model)
    with tinytorch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert twin.generate(tinytorch.tensor([[1]]), 9, greedy=True).tolist() == [written(twin, [1], 9)]
    model.double()
    assert model.generate(tinytorch.tensor([[1]]), 3, greedy=True).tolist() == [[1, 0, 0, 0]]
    alive = weakref.ref(model)
    del model, p
    gc.collect()
    assert alive() is None


def test_a_text_left_unfinished_leaves_its_writer_for_the_next() -> None:
    tinytorch.manual_seed(4)
    model = GPT(TINY).double().eval()
    stream = model.stream(tinytorch.tensor([[1, 2]]), 10, Sampling(greedy=True))
    next(stream), next(stream)
    stream.close()
    assert model.generate(tinytorch.tensor([[5]]), 9, greedy=True).tolist() == [written(model, [5], 9)]


def test_generation_is_that_of_the_uncached_model() -> None:
    tinytorch.manual_seed(1)
    model = GPT(TINY).double().eval()
    idx = tinytorch.randint(0, 11, (2, 3))
    generated = model.generate(idx, 20, greedy=True)
    for T in range(3, 23):
        with tinytorch.no_grad():
            expected = model.logits(generated[:, max(0, T - 8) : T])[:, -1].argmax(-1)
        assert generated[:, T].tolist() == expected.tolist()
