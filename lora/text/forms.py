"""The forms that a record may have, and the three that they reduce to: a conversation, a prompt with its completion,
and a text."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from tinytorch.cli.errors import UserError

Record = Mapping[str, Any]
Message = dict[str, Any]

FORMS = (
    '{"messages": [{"role", "content"}, ...]}',
    '{"conversations": [{"from", "value"}, ...]}',
    '{"prompt", "completion"}',
    '{"prompt", "response"}',
    '{"instruction", "input", "output"}',
    '{"text"}',
)

# Other files' names for our keys; used only in error messages, since their exact meaning differs.
SIMILAR = {
    "messages": ("dialog", "dialogue", "dialogs", "chat", "turns", "message", "conversation", "items"),
    "prompt": ("question", "query", "instruction", "input", "context", "problem", "source", "user", "human"),
    "instruction": (),
    "input": ("context",),
    "output": ("response", "answer", "completion"),
    "completion": ("answer", "answers", "output", "response", "chosen", "target", "label", "solution", "assistant"),
    "text": ("content", "body", "document", "sentence", "passage", "article", "markdown"),
}

# ShareGPT's names for the speakers, and the template's.
SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
    "system": "system", "tool": "tool", "observation": "tool",
}  # fmt: skip

# Keys that change what the model is shown: never ignored silently.
SHOWN = ("tools", "documents", "functions", "history", "chat_template_kwargs")

SHOWN_KEYS = 12  # how many keys of a refused record an error lists

# The prompts of Stanford's Alpaca, for a model whose tokenizer has no template.
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)


class Conversation(NamedTuple):
    """Messages for the chat template; the assistant's messages from index `first` on are learned."""

    messages: list[Message]
    first: int
    variables: dict[str, Any]  # other variables of the template: tools, documents, ...


class Completion(NamedTuple):
    """A text of which the part after the prompt is learned; without a prompt, all of it."""

    prompt: str
    completion: str
    alpaca: bool = False  # the prompt is in Alpaca's own words


def read_form(record: Record, template: Collection[str] | None) -> Conversation | Completion:
    """Parse a record; UserError if it has none of the forms.

    `template` holds the variables that the tokenizer's chat template reads; None if there is no template.
    """
    found = _conversation(record, has_template=template is not None)
    if found is None:
        completion = _completion(record)
        _refuse((*SHOWN, "system"), record, (), "which only a chat template could show: give messages")
        return completion
    messages, first = found
    if not any(message["role"] == "assistant" for message in messages[first:]):
        raise UserError("no message is the assistant's, so there is nothing to learn")
    variables = _variables(record, template or ())
    return Conversation(messages, first, variables)


def _conversation(record: Record, has_template: bool) -> tuple[list[Message], int] | None:
    if "messages" in record:
        messages, first = _messages(record, "messages"), 0
    elif "conversations" in record:
        messages, first = _sharegpt(record), 0
    elif isinstance(record.get("prompt"), list) and "completion" in record:
        prompt = _messages(record, "prompt")
        messages, first = [*prompt, *_messages(record, "completion")], len(prompt)
    elif "instruction" in record and "output" in record and has_template:
        asked = "\n\n".join(text for text in _alpaca(record) if text)
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": _text(record, "output")}]
        first = 0
    else:
        return None
    if record.get("system"):
        messages, first = [{"role": "system", "content": _text(record, "system")}, *messages], first + 1
    return messages, first


def _completion(record: Record) -> Completion:
    for answer in ("completion", "response"):
        if "prompt" in record and answer in record:
            return Completion(_text(record, "prompt"), _text(record, answer))
    if "instruction" in record and "output" in record:
        instruction, given = _alpaca(record)
        form = ALPACA_WITH_INPUT if given else ALPACA
        return Completion(form.format(instruction=instruction, input=given), _text(record, "output"), alpaca=True)
    if "text" in record:
        return Completion("", _text(record, "text"))
    raise UserError(_nearest(record))


def _alpaca(record: Record) -> tuple[str, str]:
    return _text(record, "instruction"), _text(record, "input") if record.get("input") else ""


def _text(record: Record, name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise UserError(f'"{name}" is {type(value).__name__}, not a string')
    return value


def _messages(record: Record, name: str) -> list[Message]:
    said, value = ({"role", "content"}, {"role", "tool_calls"}), record[name]
    if not isinstance(value, list) or not all(isinstance(m, dict) and any(k <= m.keys() for k in said) for m in value):
        raise UserError(f'"{name}" is not a list of objects with "role" and "content"')
    return list(value)


def _sharegpt(record: Record) -> list[Message]:
    turns = record["conversations"]
    if isinstance(turns, list) and any(isinstance(turn, dict) and "role" in turn for turn in turns):
        return _messages(record, "conversations")
    if not isinstance(turns, list) or not all(isinstance(t, dict) and {"from", "value"} <= t.keys() for t in turns):
        raise UserError('"conversations" is not a list of objects with "from" and "value"')
    messages = []
    for turn in turns:
        speaker = _text(turn, "from")
        if speaker not in SPEAKERS:
            raise UserError(f'"from" is {json.dumps(speaker[:40])}: it must be one of {", ".join(SPEAKERS)}')
        messages.append({"role": SPEAKERS[speaker], "content": _text(turn, "value")})
    return messages


def _variables(record: Record, template: Collection[str]) -> dict[str, Any]:
    """The template's variables besides the messages: all keys of the record that it reads."""
    own = {"messages", "prompt", "completion", "system", "add_generation_prompt"}
    variables = {name: value for name, value in record.items() if name in template and name not in own}
    reason = "which the chat template does not read: leave it out, or bring a template that does"
    _refuse([name for name in SHOWN if name != "chat_template_kwargs"], record, variables, reason)
    for name in ("tools", "documents"):
        if isinstance(variables.get(name), str):  # tables and some data sets store them as JSON
            try:
                variables[name] = json.loads(variables[name] or "null")
            except ValueError as error:
                raise UserError(f'"{name}" is a string that is not JSON ({error})') from None
    more = record.get("chat_template_kwargs") or {}
    if not isinstance(more, dict):
        raise UserError(f'"chat_template_kwargs" is {type(more).__name__}, not an object')
    _refuse(more, more, template, reason)
    return {**variables, **more}


def _refuse(names: Iterable[str], record: Record, read: Collection[str], reason: str) -> None:
    for name in names:
        if record.get(name) not in (None, "", [], {}) and name not in read:
            raise UserError(f"it has {json.dumps(name[:40])}, {reason}")


def _nearest(record: Record) -> str:
    """What is wrong with a record that has none of the forms: its keys, and how to rename them to one of ours."""
    keys = ", ".join(json.dumps(key[:40]) for key in list(record)[:SHOWN_KEYS]) or "none"
    keys += ", ..." if len(record) > SHOWN_KEYS else ""
    renamed = {}  # our name: the record's most similar key
    for ours, others in SIMILAR.items():
        if (key := next((key for key in (ours, *others) if key in record), None)) is not None:
            renamed[ours] = key
    for form in (("messages",), ("instruction", "input", "output"), ("prompt", "completion"), ("text",)):
        if all(name in renamed or name == "input" for name in form):
            wrong = [f'"{renamed[name]}" to "{name}"' for name in form if renamed.get(name, name) != name]
            return f"its keys are {keys}; the nearest form is {_braced(form)}: rename {' and '.join(wrong)}"
    for name, other in (("prompt", "completion"), ("completion", "prompt")):
        if name in renamed:
            return f'its keys are {keys}; the nearest form is {_braced((name, other))}: "{other}" is missing'
    return f"its keys are {keys}; give one of {' '.join(FORMS)}"


def _braced(names: tuple[str, ...]) -> str:
    return "{" + ", ".join(f'"{name}"' for name in names) + "}"
