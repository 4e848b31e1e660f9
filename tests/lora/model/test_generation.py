from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch
from lora.commands.loading import load
from lora.model.generation import Sampling, generate, min_p, repetition_penalty, stream, top_k, top_p
from lora.model.llama import Llama
from lora.text.text_stream import TextStream, continue_texts
from lora.text.tokenizer import Tokenizer
from tinytorch.cli.errors import UserError

GREEDY = Sampling(greedy=True)
SETTINGS = [
    GREEDY,
    Sampling(),
    Sampling(temperature=0.7, top_k=20, top_p=0.9, min_p=0.02, repetition_penalty=1.3),
    Sampling(greedy=True, repetition_penalty=2.0),
]
LOGITS = np.log(np.array([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]], dtype=np.float32))


def generator(seed: int = 0) -> tinytorch.Generator:
    made = tinytorch.Generator()
    made.manual_seed(seed)
    return made


def prompt(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(10, 400, shape)


def tokens(steps: Iterable[np.ndarray]) -> list[list[int]]:
    return [step.tolist() for step in steps]


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_with_the_cache_as_without_to_the_token(small_llama: Llama, sampling: Sampling) -> None:
    ids = prompt(3, 7)
    made = generate(small_llama, tinytorch.tensor(ids), 20, sampling, generator=generator()).numpy()
    draws = generator()
    for _ in range(20):
        with tinytorch.no_grad():
            logits = small_llama(ids)[:, -1].numpy()
        ids = np.concatenate([ids, sampling.choose(logits, ids, np.ones_like(ids), draws)[:, None]], axis=1)
    assert made.tolist() == ids.tolist()
    assert len(np.unique(ids[:, 7:])) > 3  # it does say something


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(greedy=True, repetition_penalty=1.5)], ids=str)
def test_padding_on_the_left_changes_nothing(small_llama: Llama, sampling: Sampling) -> None:
    rows = [prompt(9), prompt(9)[:4], prompt(9)[3:8]]
    ids = np.array([[0] * (9 - len(row)) + row.tolist() for row in rows])
    mask = np.array([[0] * (9 - len(row)) + [1] * len(row) for row in rows])
    together = generate(
        small_llama, tinytorch.tensor(ids), 15, sampling, attention_mask=tinytorch.tensor(mask)
    ).numpy()[:, 9:]
    for row, made in zip(rows, together, strict=True):
        alone = generate(small_llama, tinytorch.tensor(row[None]), 15, sampling).numpy()[0, len(row) :]
        assert made.tolist() == alone.tolist()


def test_padding_on_the_right_is_refused(small_llama: Llama) -> None:
    with pytest.raises(ValueError, match="pad on the left"):
        generate(small_llama, tinytorch.tensor(prompt(1, 3)), 2, GREEDY, attention_mask=tinytorch.tensor([[1, 1, 0]]))


def test_rows_end_with_any_eos_and_are_then_padded(small_llama: Llama) -> None:
    ids = tinytorch.tensor(prompt(2, 6))
    free = generate(small_llama, ids, 12, GREEDY).numpy()[:, 6:]
    first, second = free[0, 4], free[1, 8]
    assert second not in free[0, :5] and first not in free[1, :9]
    made = generate(small_llama, ids, 12, GREEDY, eos_token_ids=[first, second], pad_token_id=399).numpy()[:, 6:]
    ends = [free[0].tolist().index(first) + 1, free[1].tolist().index(second) + 1]
    assert made.shape == (2, max(ends))
    for row, unbounded, end in zip(made, free, ends, strict=True):
        assert row[:end].tolist() == unbounded[:end].tolist()
        assert set(row[end:].tolist()) <= {399}


def test_tokens_come_as_they_are_drawn(small_llama: Llama) -> None:
    steps = stream(small_llama, tinytorch.tensor(prompt(2, 5)), 10, GREEDY)
    first = next(steps)
    assert first.shape == (2,)
    whole = generate(small_llama, tinytorch.tensor(prompt(2, 5)), 10, GREEDY).numpy()
    assert [first.tolist(), *tokens(steps)] == whole[:, 5:].T.tolist()
    assert tokens(stream(small_llama, tinytorch.tensor(prompt(2, 5)), 0, GREEDY)) == []


def test_a_cache_that_holds_the_beginning_changes_nothing(small_llama: Llama) -> None:
    ids = tinytorch.tensor(prompt(1, 12))
    expected = tokens(stream(small_llama, ids, 8, GREEDY))
    cache = small_llama.make_cache(1)
    tokens(stream(small_llama, ids[:, :7], 4, GREEDY, cache=cache))
    assert cache.length == 10  # the last token was not looked at
    cache.length = 7  # forget what was written
    assert tokens(stream(small_llama, ids, 8, GREEDY, cache=cache)) == expected


def test_the_seed_decides(small_llama: Llama) -> None:
    ids = tinytorch.tensor(prompt(1, 5))
    first, again, other = (
        generate(small_llama, ids, 20, Sampling(), generator=generator(seed)).tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


# What changes the distribution; comparisons with transformers are in test_generation_oracle.py ------


def kept(logits: np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(np.isfinite(row)).tolist() for row in logits]


def test_top_k_keeps_the_likeliest_and_their_equals() -> None:
    assert kept(top_k(LOGITS, 2)) == [[1, 3], [0, 1, 2, 3]]
    assert kept(top_k(LOGITS, 9)) == [[0, 1, 2, 3]] * 2


def test_top_p_keeps_the_fewest_that_reach_p() -> None:
    assert kept(top_p(LOGITS, 0.65)) == [[1, 3], [1, 2, 3]]
    assert kept(top_p(LOGITS, 0.75))[0] == [1, 2, 3]
    assert kept(top_p(LOGITS, 1e-9))[0] == [1]
    assert kept(top_p(LOGITS, 1.0)) == [[0, 1, 2, 3]] * 2


def test_min_p_is_relative_to_the_likeliest() -> None:
    assert kept(min_p(LOGITS, 0.6)) == [[1, 3], [0, 1, 2, 3]]
    assert kept(min_p(LOGITS, 0.0)) == [[0, 1, 2, 3]] * 2
    assert kept(min_p(LOGITS, 1.0))[0] == [1]


@pytest.mark.parametrize("shift", [-800.0, 0.0, 800.0])
@pytest.mark.filterwarnings("error")
def test_logits_of_any_size_mean_the_same(shift: float) -> None:
    """exp(800) is more than a float32 holds, exp(-800) less."""
    logits = LOGITS + np.float32(shift)
    assert kept(min_p(logits, 0.6)) == [[1, 3], [0, 1, 2, 3]]
    assert kept(top_p(logits, 0.75))[0] == [1, 2, 3]
    assert kept(top_k(logits, 2))[0] == [1, 3]
    none = np.zeros((200, 0), dtype=np.int64)
    rows = np.repeat(logits[:1], 200, axis=0)
    drawn = Sampling(top_k=3, top_p=0.9, min_p=0.6).choose(rows, none, none, generator())
    assert set(drawn.tolist()) == {1, 3}


def test_the_penalty_lowers_what_is_there_whatever_its_sign() -> None:
    logits = np.array([[2.0, -2.0, 3.0, -3.0]], dtype=np.float32)
    ids, mask = np.array([[3, 0, 1, 1]]), np.array([[0, 1, 1, 1]])
    assert repetition_penalty(logits, ids, mask, 2.0).tolist() == [[1.0, -4.0, 3.0, -3.0]]  # 3 is padding
    assert logits[0, 0] == 2.0


def test_draws_follow_the_distribution() -> None:
    rows = np.repeat(LOGITS[:1], 20_000, axis=0)
    none = np.zeros((20_000, 0), dtype=np.int64)
    for sampling, expected in [
        (Sampling(), [0.1, 0.4, 0.2, 0.3]),
        (Sampling(top_k=0, top_p=1.0, min_p=0.0), [0.1, 0.4, 0.2, 0.3]),  # what takes nothing away
        (Sampling(temperature=0.5), [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
        (Sampling(top_k=3, top_p=0.7), [0, 4 / 7, 0, 3 / 7]),  # top-p of what top-k left: 0.44, 0.33, 0.22
    ]:
        counts = np.bincount(sampling.choose(rows, none, none, generator()), minlength=4)
        np.testing.assert_allclose(counts / len(rows), expected, atol=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0: it must be positive"),
        ({"top_k": -1}, "top_k is -1: it must be at least 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"min_p": -0.1}, "min_p is -0.1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Sampling(**settings)


# Text -----------------------------------------------------------------------------------------------


def read(tokenizer: Tokenizer, text: str, stop: list[str]) -> tuple[list[str], bool]:
    """What a stream gives for the tokens of `text`, one after the other, and whether it stopped."""
    stream_ = TextStream(tokenizer, stop)
    shown = [stream_.push(id) for id in tokenizer.encode(text)]
    return [*shown, stream_.flush()], stream_.stopped


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one two three", ["two"], "one "),
        ("one two three", ["wo th"], "one t"),  # begins and ends within tokens
        ("one two three", ["twice", "two three four"], None),
        ("aab", ["ab"], "a"),
        ("abcd", ["cd", "bc"], "a"),  # the first place, not the first string
        ("naïve 😀!", ["😀"], "naïve "),
        ("nothing", [""], None),
        ("nothing", [], None),
    ],
)
def test_stop_strings(byte_level: Path, text: str, stop: list[str], expected: str | None) -> None:
    tokenizer = Tokenizer.from_pretrained(byte_level)
    shown, stopped = read(tokenizer, text, stop)
    assert "".join(shown) == (text if expected is None else expected)
    assert stopped == (expected is not None)


def test_text_is_kept_back_only_while_it_may_be_a_stop_string(byte_level: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(byte_level)
    text = TextStream(tokenizer, ["xyz!"])
    ids = [tokenizer.encode(letter, add_special_tokens=False)[0] for letter in "axyxyzz"]
    assert [text.push(id) for id in ids] == ["a", "", "", "xy", "", "", "xyzz"]


def test_texts_together_are_texts_alone(small_folder: Path) -> None:
    model, tokenizer = load(small_folder)
    prompts = ["The", "A dict is a mapping", "if x:"]
    texts = continue_texts(model, tokenizer, prompts, 20, GREEDY)
    assert [continue_texts(model, tokenizer, [prompt], 20, GREEDY)[0] for prompt in prompts] == texts
    assert all(texts)
    stop = texts[1][3:6]
    cut = continue_texts(model, tokenizer, prompts, 20, GREEDY, stop=[stop])
    assert cut == [text.split(stop)[0] for text in texts]
    assert len(cut[1]) <= 3
