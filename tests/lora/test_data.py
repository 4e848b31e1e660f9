from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora.data import Data, load_data, split, tokenize
from lora.tokenizer import Tokenizer
from programs.errors import UserError
from programs.trainer import IGNORED

CHAT = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
]


@pytest.fixture
def tokenizer(byte_level: Path) -> Tokenizer:
    return Tokenizer.from_pretrained(byte_level)


@pytest.fixture
def spaced(sentencepiece_style: Path) -> Tokenizer:
    return Tokenizer.from_pretrained(sentencepiece_style)


def learned(record: dict[str, Any], tokenizer: Tokenizer) -> tuple[str, str]:
    """The text of a record with its special tokens, and of that what is to be learned."""
    ids, mask = tokenize(record, tokenizer)
    assert len(ids) == len(mask)
    parts = ids, [id for id, is_learned in zip(ids, mask, strict=True) if is_learned]
    text, target = (tokenizer.decode(part, skip_special_tokens=False) for part in parts)
    return text, target


def load(path: Path, lines: list[Any], tokenizer: Tokenizer, max_tokens: int = 64) -> Data:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return load_data(path, tokenizer, max_tokens)


def test_all_of_a_text_is_learned_to_its_end(tokenizer: Tokenizer, spaced: Tokenizer) -> None:
    assert learned({"text": "a b"}, tokenizer) == ("<|begin_of_text|>a b<|end_of_text|>",) * 2
    assert tokenize({"text": "a b</s>"}, spaced)[0] == tokenize({"text": "a b"}, spaced)[0]  # one end is enough


@pytest.mark.parametrize("prompt", ["Say:", "Say: ", "Say"])
def test_of_a_prompt_and_completion_the_completion_is(tokenizer: Tokenizer, prompt: str) -> None:
    text, target = learned({"prompt": prompt, "completion": " hello you"}, tokenizer)
    assert text == f"<|begin_of_text|>{prompt} hello you<|end_of_text|>"
    assert target == " hello you<|end_of_text|>"
    ids, _ = tokenize({"prompt": prompt, "completion": " hello you"}, tokenizer)
    asked = tokenizer.encode(prompt)
    assert ids[: len(asked)] == asked  # as the model will be asked


def test_a_completion_that_would_grow_together_with_its_prompt(tokenizer: Tokenizer) -> None:
    record = {"prompt": "the met", "completion": "hod"}
    assert tokenizer.encode("the method")[:-1] != tokenizer.encode("the met")  # the last word is one token
    ids, mask = tokenize(record, tokenizer)
    assert ids[: len(tokenizer.encode("the met"))] == tokenizer.encode("the met")
    assert learned(record, tokenizer)[1] == "hod<|end_of_text|>"
    assert not mask[: len(tokenizer.encode("the met"))].any()


def test_of_a_conversation_what_the_assistant_says_is(tokenizer: Tokenizer, spaced: Tokenizer) -> None:
    text, target = learned({"messages": CHAT}, tokenizer)
    assert text == tokenizer.render_chat(CHAT)
    assert target == "two<|eot_id|>four<|eot_id|>"
    _, target = learned({"messages": CHAT}, spaced)
    assert target.replace(" ", "") == "two</s>four</s>"
    ends_with_the_user = [*CHAT, {"role": "user", "content": "five"}]
    assert learned({"messages": ends_with_the_user}, tokenizer)[1] == "two<|eot_id|>four<|eot_id|>"


def test_targets_are_the_next_tokens_or_ignored(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = load(tmp_path / "x.jsonl", [{"prompt": "ab", "completion": " cd"}, "\n", "  \n"], tokenizer)
    ids, mask = tokenize(data.records[0], tokenizer)
    (example,) = data.examples
    assert example.inputs.tolist() == ids[:-1]
    assert example.targets.tolist() == [id if m else IGNORED for id, m in zip(ids[1:], mask[1:], strict=True)]
    assert example.targets[0] == IGNORED
    assert example.targets[-1] == tokenizer.eos_ids[0]
    assert data.warnings == []


def test_long_examples_are_cut_with_a_warning(tmp_path: Path, tokenizer: Tokenizer) -> None:
    lines = [{"text": "a"}, {"text": "a b c d e f g h"}, {"prompt": "a b c d e f", "completion": "g"}]
    data = load(tmp_path / "x.jsonl", lines, tokenizer, max_tokens=5)
    assert [len(example.inputs) for example in data.examples] == [2, 4]  # of the last nothing to learn is left
    assert data.records == lines[:2]
    whole = tokenizer.encode("a b c d e f g h")
    assert data.examples[1].inputs.tolist() == whole[:4]
    assert data.examples[1].targets.tolist() == whole[1:5]
    cut, left_out = data.warnings
    assert cut.startswith("2 of 3 examples were cut to 5 tokens (the longest has ")
    assert left_out.startswith("1 examples were left out")
    with pytest.raises(UserError, match="no example with anything to learn in its first 5 tokens"):
        load(tmp_path / "x.jsonl", lines[2:], tokenizer, max_tokens=5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: it is no JSON"),
        ("[1]\n", "line 2: it is no JSON object"),
        ({"prompt": "a"}, 'line 2: it has neither "text" nor "prompt" and "completion" nor "messages"'),
        ({"text": 5}, 'line 2: "text" is int, not a string'),
        ({"prompt": "a", "completion": None}, 'line 2: "completion" is NoneType'),
        ({"messages": "hello"}, 'line 2: "messages" is not a list of objects'),
        ({"messages": CHAT[:1]}, "line 2: no message is the assistant's"),
        ({"messages": [{"role": "assistant"}]}, 'line 2: "messages" is not a list of objects with "role" and'),
    ],
)
def test_what_is_wrong_with_a_line(tmp_path: Path, tokenizer: Tokenizer, line: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path / "x.jsonl", [{"text": "a"}, line], tokenizer)


def test_what_is_wrong_with_a_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"cannot read .*nothing: No such file"):
        load_data(tmp_path / "nothing", tokenizer, 64)
    (tmp_path / "x").write_bytes(b'{"text": "\xff"}')
    with pytest.raises(UserError, match="is not UTF-8 text"):
        load_data(tmp_path / "x", tokenizer, 64)
    with pytest.raises(UserError, match="no example with anything to learn"):
        load(tmp_path / "x", [], tokenizer)


def test_no_chat_template_and_no_end(tmp_path: Path, byte_level: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((byte_level / name).read_bytes())
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del settings["chat_template"], settings["eos_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no chat template"):
        tokenize({"messages": CHAT}, tokenizer)
    with pytest.raises(UserError, match="no token that ends a text"):
        tokenize({"text": "a"}, tokenizer)


def test_the_last_tenth_validates() -> None:
    assert split(list(range(25))) == (list(range(23)), [23, 24])
    assert split([1, 2]) == ([1], [2])
    with pytest.raises(UserError, match="one example is not enough"):
        split([1])


@pytest.mark.oracle("transformers")
def test_the_assistants_words_are_those_that_transformers_marks(byte_level: Path, tokenizer: Tokenizer) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(byte_level).apply_chat_template(
        CHAT, return_assistant_tokens_mask=True, return_dict=True
    )
    ids, mask = tokenize({"messages": CHAT}, tokenizer)
    assert ids == list(theirs["input_ids"])
    assert mask.astype(int).tolist() == list(theirs["assistant_masks"])
