"""From lines of JSON to tokens, and which of them are to be learned.

A line is an object in one of three forms:

    {"text": "..."}                                          all of it is learned
    {"prompt": "...", "completion": "..."}                   the completion is
    {"messages": [{"role": "user", "content": "..."}, ...]}  what the assistant says is, with the model's template
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lora.tokenizer import Tokenizer
from programs.errors import UserError
from programs.trainer import IGNORED

Ids = list[int]


class Example(NamedTuple):
    """A text as a model is trained on it."""

    inputs: np.ndarray  # (T,) int64
    targets: np.ndarray  # (T,) int64: the token after each, IGNORED where it is not to be learned


class Data(NamedTuple):
    """What a file gives."""

    examples: list[Example]
    records: list[dict[str, Any]]  # the line of each example
    warnings: list[str]


def load_data(path: Path, tokenizer: Tokenizer, max_tokens: int) -> Data:
    """The examples of a file, each cut to max_tokens ids; UserError names the line where something is wrong."""
    examples, records, lengths, empty = [], [], [], 0
    for number, record in _records(path):
        try:
            ids, learned = tokenize(record, tokenizer)
        except UserError as error:
            raise UserError(f"{path}, line {number}: {error}") from None
        lengths.append(len(ids))
        targets = np.where(learned, ids, IGNORED)[1:max_tokens]
        if (targets != IGNORED).any():
            examples.append(Example(np.array(ids[: max_tokens - 1])[: len(targets)], targets))
            records.append(record)
        else:
            empty += 1
    warnings = []
    cut = sum(length > max_tokens for length in lengths)
    if cut:
        warnings.append(
            f"{cut} of {len(lengths)} examples were cut to {max_tokens} tokens (the longest has {max(lengths)}): "
            "raise --max-tokens if the model's context allows"
        )
    if empty:
        warnings.append(f"{empty} examples were left out: nothing to learn is left in their first {max_tokens} tokens")
    if not examples:
        raise UserError(f"{path} has no example with anything to learn in its first {max_tokens} tokens: give others")
    return Data(examples, records, warnings)


def tokenize(record: dict[str, Any], tokenizer: Tokenizer) -> tuple[Ids, np.ndarray]:
    """The ids (T,) of a record in any of the three forms, and which of them are to be learned (T,)."""
    if "messages" in record:
        return _conversation(_messages(record["messages"]), tokenizer)
    if "prompt" in record and "completion" in record:
        prompt = tokenizer.encode(_text(record, "prompt"))
        ids = _ended(_joined(prompt, record["prompt"], _text(record, "completion"), tokenizer), tokenizer)
        return ids, np.arange(len(ids)) >= len(prompt)
    if "text" in record:
        ids = _ended(tokenizer.encode(_text(record, "text")), tokenizer)
        return ids, np.ones(len(ids), np.bool_)
    raise UserError('it has neither "text" nor "prompt" and "completion" nor "messages"')


def split(items: list[Any]) -> tuple[list[Any], list[Any]]:
    """The first nine tenths to train on, the rest, at least one, to validate."""
    if len(items) < 2:
        raise UserError("one example is not enough: training takes one and validation another")
    n = len(items) - max(1, len(items) // 10)
    return items[:n], items[n:]


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line's number, from 1, and object; empty lines are passed over."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): convert it first") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: it is no JSON ({error})") from None
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number}: it is no JSON object")
        yield number, record


def _text(record: dict[str, Any], name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise UserError(f'"{name}" is {type(value).__name__}, not a string')
    return value


def _messages(value: Any) -> list[dict[str, Any]]:
    said = ({"role", "content"}, {"role", "tool_calls"})
    if not isinstance(value, list) or not all(isinstance(m, dict) and any(k <= m.keys() for k in said) for m in value):
        raise UserError('"messages" is not a list of objects with "role" and "content"')
    if not any(message["role"] == "assistant" for message in value):
        raise UserError("no message is the assistant's, so there is nothing to learn")
    return list(value)


def _joined(prompt: Ids, prompt_text: str, completion: str, tokenizer: Tokenizer) -> Ids:
    """The ids of both texts, beginning with those of the prompt, since a model is asked with these and no others.

    Where tokens would reach across the border, as in a prompt that ends in a space, the completion is encoded alone.
    """
    together = tokenizer.encode(prompt_text + completion)
    if together[: len(prompt)] == prompt:
        return together
    return prompt + tokenizer.encode(completion, add_special_tokens=False)


def _ended(ids: Ids, tokenizer: Tokenizer) -> Ids:
    """With the token that ends a text, once."""
    if not tokenizer.eos_ids:
        raise UserError("the tokenizer has no token that ends a text: name it in tokenizer_config.json (eos_token)")
    return ids if ids and ids[-1] in tokenizer.eos_ids else [*ids, tokenizer.eos_ids[0]]


def _conversation(messages: list[dict[str, Any]], tokenizer: Tokenizer) -> tuple[Ids, np.ndarray]:
    """Learned is what the template adds when the assistant's message follows the words that ask for it."""
    ids = tokenizer.apply_chat_template(messages)
    learned = np.zeros(len(ids), np.bool_)
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            before = tokenizer.apply_chat_template(messages[:i], add_generation_prompt=True)
            after = ids if i == len(messages) - 1 else tokenizer.apply_chat_template(messages[: i + 1])
            learned[_common(before, ids) : _common(after, ids)] = True
    return ids, learned


def _common(a: Ids, b: Ids) -> int:
    """How many ids two sequences begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
