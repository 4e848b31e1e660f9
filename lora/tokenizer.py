"""Text to ids and back, as the folder of a checkpoint says.

tokenizer.json is read by the package `tokenizers`, whatever its scheme; tokenizer.model, where there is no other, by
`sentencepiece`. Which scheme it is stands in the file itself, so tokenizer_class is not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import tokenizers

from lora.chat_template import ChatTemplate, Messages
from lora.folders import check_folder
from lora.sentencepiece_backend import SentencePieceBackend
from programs.errors import UserError

TOKENIZERS = ("tokenizer.json", "tokenizer.model")  # the first that a folder has is read


class Backend(Protocol):
    """What reads a tokenizer's file."""

    def encode(self, text: str, add_special_tokens: bool) -> list[int]: ...
    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str: ...
    def token_to_id(self, token: str) -> int | None: ...
    def size(self) -> int: ...


class Tokenizer:
    """Text to ids and back. `bos_id` and `pad_id` may be None; `eos_ids` are all the tokens that end a text."""

    def __init__(
        self,
        backend: Backend,
        tokens: Mapping[str, str],
        eos_ids: Sequence[int] = (),
        pad_id: int | None = None,
        chat_template: str | None = None,
    ) -> None:
        self._backend = backend
        self.tokens = dict(tokens)  # special tokens by role: {"bos_token": "<s>", ...}
        self.bos_id = self._id_of("bos_token")
        own_eos = self._id_of("eos_token")
        self.eos_ids = tuple(dict.fromkeys([*([] if own_eos is None else [own_eos]), *eos_ids]))
        self.pad_id = self._id_of("pad_token") if "pad_token" in self.tokens else pad_id
        self._chat_template = None if chat_template is None else ChatTemplate(chat_template, self.tokens)

    @staticmethod
    def from_pretrained(folder: str | Path) -> Tokenizer:
        """The tokenizer of a checkpoint's folder; UserError where there is none or it cannot be read."""
        folder = Path(folder)
        settings = read_settings(folder / "tokenizer_config.json")
        tokens = {name: text for name, text in _contents(settings).items() if name.endswith("_token")}
        generation, model = read_settings(folder / "generation_config.json"), read_settings(folder / "config.json")
        eos_ids = [id for values in (generation, model) for id in _list(values.get("eos_token_id"))]
        pad_ids = [id for values in (generation, model) for id in _list(values.get("pad_token_id"))]
        return Tokenizer(
            _backend(folder, settings), tokens, eos_ids, next(iter(pad_ids), None), _template(folder, settings)
        )

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return self._backend.size()

    @property
    def has_chat_template(self) -> bool:
        return self._chat_template is not None

    @property
    def chat_variables(self) -> frozenset[str] | None:
        """What the chat template reads, special tokens left out; None where there is no template."""
        return None if self._chat_template is None else self._chat_template.variables - self.tokens.keys()

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text, special tokens in it included; with add_special_tokens also those that frame a text."""
        try:
            text.encode()
        except UnicodeEncodeError as error:  # half a surrogate pair, or bytes that are no UTF-8 from a command line
            what = f"{text[error.start]!a} (character {error.start + 1})"
            raise UserError(f"the text is no valid Unicode, it has {what}: cut it out, or convert to UTF-8") from None
        return self._backend.encode(text, add_special_tokens)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD."""
        return self._backend.decode(ids, skip_special_tokens)

    def render_chat(self, messages: Messages, add_generation_prompt: bool = False, **variables: Any) -> str:
        """The messages, each {"role": ..., "content": ...}, as the text that the model knows."""
        if self._chat_template is None:
            raise UserError("the tokenizer has no chat template: use a chat model, or plain text")
        return self._chat_template.render(messages, add_generation_prompt, **variables)

    def apply_chat_template(
        self, messages: Messages, add_generation_prompt: bool = False, **variables: Any
    ) -> list[int]:
        """The ids of `render_chat`, which holds the special tokens already."""
        return self.encode(self.render_chat(messages, add_generation_prompt, **variables), add_special_tokens=False)

    def _id_of(self, role: str) -> int | None:
        return self._backend.token_to_id(self.tokens[role]) if role in self.tokens else None


class IncrementalDecoder:
    """The text of ids that come one at a time: `push` gives what is new and certain, `flush` the rest.

    A character's bytes may come in several tokens, and some decoders drop the space before the first word. So the new
    text is the difference of two decodings that begin at the same earlier token, kept back while it ends in U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._ids: list[int] = []
        self._begin = 0  # where both decodings begin
        self._given = 0  # tokens whose text has been given

    def push(self, id: int) -> str:
        self._ids.append(id)
        return self._new("\N{REPLACEMENT CHARACTER}")

    def flush(self) -> str:
        """What was kept back; its incomplete character is then U+FFFD."""
        return self._new(None)

    def _new(self, unfinished: str | None) -> str:
        before = self._tokenizer.decode(self._ids[self._begin : self._given], self._skip)
        now = self._tokenizer.decode(self._ids[self._begin :], self._skip)
        if len(now) <= len(before) or (unfinished is not None and now.endswith(unfinished)):
            return ""
        self._begin, self._given = self._given, len(self._ids)
        return now[len(before) :]


# The files ------------------------------------------------------------------------------------------


class _TokenizersBackend:
    """tokenizer.json."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the package has no narrower one
            raise UserError(f"{path} is no tokenizer ({' '.join(str(error).split())}): restore it") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def token_to_id(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def size(self) -> int:
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


def _backend(folder: Path, settings: dict[str, Any]) -> Backend:
    check_folder(folder)
    path = next((folder / name for name in TOKENIZERS if (folder / name).exists()), None)
    if path is None:
        raise UserError(f"{folder} has neither {' nor '.join(TOKENIZERS)}: bring the tokenizer of the checkpoint")
    return _TokenizersBackend(path) if path.suffix == ".json" else SentencePieceBackend(path, settings)


def read_settings(path: Path) -> dict[str, Any]:
    """An object of JSON; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}): restore it") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no JSON object: restore it")
    return values


def _contents(settings: dict[str, Any]) -> dict[str, str]:
    """The strings among the settings; a token may also be an object that has its text as `content`."""
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in settings.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _list(value: Any) -> list[int]:
    """None, an id or a list of ids as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    """The chat template: a file of its own, or in tokenizer_config.json, there perhaps one of several."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):
        template = {entry.get("name"): entry.get("template") for entry in template}.get("default")
    return template if isinstance(template, str) else None
