from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

import tinytorch
from lora.commands.loading import load
from lora.commands.rule import complete
from lora.model.generation import generate, stream
from lora.model.llama import Llama
from lora.text.text_stream import TextStream
from lora.text.tokenizer import Tokenizer
from tinytorch.generation.sampling import Sampling

GREEDY = Sampling(greedy=True)
SETTINGS = [
    GREEDY,
    Sampling(),
    Sampling(temperature=0.7, top_k=20, top_p=0.9, min_p=0.02, repetition_penalty=1.3),
    Sampling(greedy=True, repetition_penalty=2.0),
]


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
    texts = complete(model, tokenizer, prompts, 20)
    assert [complete(model, tokenizer, [prompt], 20)[0] for prompt in prompts] == texts
    assert all(texts)
