"""From a file to tokens, and which of them are targets of training.

A file is JSON lines, an array of JSON, a table (.csv, .tsv), or plain text (.txt, .md). A record has one of the forms

    {"text": "..."}                                          all of it is learned
    {"prompt": "...", "completion": "..."}                   the completion is; "response" is another name for it
    {"messages": [{"role": "user", "content": "..."}, ...]}  what the assistant says is, with the model's template
    {"conversations": [{"from": "human", "value": "..."}, ...]}     the same (ShareGPT)
    {"prompt": [messages], "completion": [messages]}         the same, but nothing of the prompt
    {"instruction": "...", "input": "...", "output": "..."}  the same of two messages (Alpaca); where the tokenizer has
                                                             no template, in Alpaca's own words
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

import tinytorch
from lora.text.forms import Completion, Conversation, read_form
from lora.text.records import PLAIN, read_text, records
from lora.text.tokenizer import Tokenizer
from tinytorch.cli.errors import UserError
from tinytorch.training.batches import IGNORED

Ids = list[int]
Item = TypeVar("Item")


class Example(NamedTuple):
    """A text as a model is trained on it."""

    inputs: np.ndarray  # (T,) int64
    targets: np.ndarray  # (T,) int64: the next token, or IGNORED if it is not to be learned


class Data(NamedTuple):
    """The content of a file."""

    examples: list[Example]
    records: list[dict[str, Any]]  # the record that each example was made from
    warnings: list[str]
    chat: bool  # whether any of them went through the chat template


def load_data(path: Path, tokenizer: Tokenizer, max_tokens: int) -> Data:
    """The examples of a file, each truncated to max_tokens ids; UserError names the place where something is wrong."""
    if path.suffix.lower() in PLAIN:
        return _plain(path, tokenizer, max_tokens)
    examples, kept, lengths, empty, chat, alpaca = [], [], [], 0, False, 0
    for where, record in records(path):
        try:
            form = read_form(record, tokenizer.chat_variables)
            ids, learned = tokenize_form(form, tokenizer)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        chat |= isinstance(form, Conversation)
        alpaca += isinstance(form, Completion) and form.alpaca
        lengths.append(len(ids))
        targets = np.where(learned, ids, IGNORED)[1:max_tokens]
        if (targets != IGNORED).any():
            examples.append(Example(np.array(ids[: max_tokens - 1])[: len(targets)], targets))
            kept.append(record)
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
    if alpaca:
        warnings.append(
            "the tokenizer has no chat template, so instructions are learned in Alpaca's words: ask in them too "
            "(### Instruction: ... ### Response:)"
        )
    if not examples:
        raise UserError(f"{path} has no example with anything to learn in its first {max_tokens} tokens: give others")
    return Data(examples, kept, warnings, chat)


def _plain(path: Path, tokenizer: Tokenizer, max_tokens: int) -> Data:
    """A plain text, in pieces of max_tokens ids; each token but the first is a target once."""
    try:
        ids = np.array(_ended(tokenizer.encode(read_text(path)), tokenizer))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    starts = range(0, len(ids) - 1, max_tokens - 1)
    pieces = [ids[start : start + max_tokens] for start in starts]
    if not pieces:
        raise UserError(f"{path} is empty: give a file with text in it")
    return Data(
        [Example(piece[:-1], piece[1:]) for piece in pieces],
        [{"text": tokenizer.decode(piece.tolist())} for piece in pieces],
        [],
        False,
    )


def tokenize(record: dict[str, Any], tokenizer: Tokenizer) -> tuple[Ids, np.ndarray]:
    """The ids (T,) of a record, and a mask (T,) of those to be learned."""
    return tokenize_form(read_form(record, tokenizer.chat_variables), tokenizer)


def tokenize_form(form: Conversation | Completion, tokenizer: Tokenizer) -> tuple[Ids, np.ndarray]:
    """`tokenize` for a record that has been parsed already."""
    if isinstance(form, Conversation):
        return _conversation(form, tokenizer)
    prompt = tokenizer.encode(form.prompt) if form.prompt else []
    ids = _ended(_joined(prompt, form.prompt, form.completion, tokenizer), tokenizer)
    return ids, np.arange(len(ids)) >= len(prompt)


def split(items: list[Item], seed: int) -> tuple[list[Item], list[Item]]:
    """Nine tenths to train on and the rest, at least one, to validate on: drawn by the seed, in the file's order."""
    if len(items) < 2:
        raise UserError("one example is not enough: training takes one and validation another (--val-data)")
    order = tinytorch.randperm(len(items), generator=tinytorch.Generator().manual_seed(seed)).tolist()
    held_out = set(order[: max(1, len(items) // 10)])
    rest = [item for i, item in enumerate(items) if i not in held_out]
    return rest, [item for i, item in enumerate(items) if i in held_out]


def _joined(prompt: Ids, prompt_text: str, completion: str, tokenizer: Tokenizer) -> Ids:
    """The ids of both texts. They begin with exactly the prompt's ids, since those are what a model is prompted with.

    If a token would cross the boundary, as when a prompt ends in a space, the completion is encoded alone.
    """
    together = tokenizer.encode(prompt_text + completion)
    if together[: len(prompt)] == prompt:
        return together
    return prompt + tokenizer.encode(completion, add_special_tokens=False)


def _ended(ids: Ids, tokenizer: Tokenizer) -> Ids:
    """The ids with the token that ends a text appended, unless it is there already."""
    if not tokenizer.eos_ids:
        raise UserError("the tokenizer has no token that ends a text: name it in tokenizer_config.json (eos_token)")
    return ids if ids and ids[-1] in tokenizer.eos_ids else [*ids, tokenizer.eos_ids[0]]


def _conversation(form: Conversation, tokenizer: Tokenizer) -> tuple[Ids, np.ndarray]:
    """What is learned is what the template adds when an assistant's message follows the generation prompt."""
    ids = tokenizer.apply_chat_template(form.messages, **form.variables)
    learned = np.zeros(len(ids), np.bool_)
    for i in range(form.first, len(form.messages)):
        if form.messages[i]["role"] == "assistant":
            learned[_answer(form, i, ids, tokenizer)] = True
    return ids, learned


def _answer(form: Conversation, i: int, ids: Ids, tokenizer: Tokenizer) -> slice:
    """The range in the whole conversation's ids of assistant message i and the token that ends it."""

    def rendered(messages: list[dict[str, Any]], ask: bool = False) -> Ids:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=ask, **form.variables)

    messages = form.messages
    try:
        before = rendered(messages[:i], ask=True)
        after = ids if i == len(messages) - 1 else rendered(messages[: i + 1])
        if ids[: len(before)] == before and ids[: len(after)] == after:
            return slice(len(before), len(after))
    except UserError:  # an empty conversation, say, or one without a user's message yet
        pass
    # A template may refuse a part of a conversation that it accepts as a whole, or render it differently, without a
    # default system message, say, or with thoughts that it drops later. Then the answer is whatever changes with the
    # answer, and the token that ends it.
    content = str(messages[i].get("content")).strip()
    letter = next(letter for letter in "Zx9" if letter not in (content[:1], content[-1:]))
    other = rendered([*messages[:i], {"role": "assistant", "content": letter}, *messages[i + 1 :]])
    begin, end = _common(ids, other), len(ids) - _common(ids[::-1], other[::-1])
    return slice(begin, end + (end < len(ids) and ids[end] in tokenizer.eos_ids))


def _common(a: Ids, b: Ids) -> int:
    """The length of the common prefix of two sequences."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
