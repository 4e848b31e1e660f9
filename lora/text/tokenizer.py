"""Text to ids and back, by the tokenizer in a checkpoint's folder.

tokenizer.json is read by the package `tokenizers`, whatever its scheme; tokenizer.model, if there is no
tokenizer.json, by `sentencepiece`. The file itself says which scheme it has, so tokenizer_class is ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import tokenizers

from lora.model.folders import check_folder, read_settings
from lora.model.generation_config import end_ids, load_generation_config, pad_ids
from lora.text.chat_template import ChatTemplate, Messages
from lora.text.sentencepiece_backend import AddedToken, SentencePieceBackend
from lora.text.template_sandbox import SOURCE
from tinytorch.cli.errors import UserError
from tinytorch.cli.reading import one_line, reading

TOKENIZERS = ("tokenizer.json", "tokenizer.model")  # the first of these in a folder is read
GROWTH = 1000  # the most by which a tokenizer's replacements may lengthen a text


class Backend(Protocol):
    """What a reader of a tokenizer's file offers."""

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
        self._rows: int | None = None

    @staticmethod
    def from_pretrained(folder: str | Path) -> Tokenizer:
        """The tokenizer of a checkpoint's folder; UserError where there is none or it cannot be read."""
        folder = Path(folder)
        settings = _settings(folder)
        generation, model = load_generation_config(folder), read_settings(folder / "config.json")
        with reading(folder / "config.json"):
            ends = [*end_ids(generation), *end_ids(model)]
            pads = [*pad_ids(generation), *pad_ids(model)]
        backend, template = _backend(folder, settings), _template(folder, settings)
        with reading(folder / "tokenizer_config.json"):
            return Tokenizer(backend, _tokens(settings), ends, next(iter(pads), None), template)

    def restrict(self, rows: int) -> None:
        """Refuse tokens without a row in an embedding of `rows` rows, and do not end or pad with them.

        A vocabulary is larger than the embedding if someone has added a token that the model never learned.
        """
        self._rows = rows
        self.eos_ids = tuple(id for id in self.eos_ids if id < rows)
        self.bos_id = None if self.bos_id is None or self.bos_id >= rows else self.bos_id
        self.pad_id = None if self.pad_id is None or self.pad_id >= rows else self.pad_id

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return self._backend.size()

    @property
    def has_chat_template(self) -> bool:
        return self._chat_template is not None

    @property
    def chat_variables(self) -> frozenset[str] | None:
        """The variables that the chat template reads, without special tokens; None if there is no template."""
        return None if self._chat_template is None else self._chat_template.variables - self.tokens.keys()

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text, including special tokens written in it; add_special_tokens adds those that frame a text.

        UserError for a token that has no row in the model's embedding (see `restrict`).
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:  # half a surrogate pair, or bytes from a command line that are not UTF-8
            what = f"{text[error.start]!a} (character {error.start + 1})"
            raise UserError(f"the text is not valid Unicode, it has {what}: cut it out, or convert to UTF-8") from None
        ids = self._backend.encode(text, add_special_tokens)
        if self._rows is not None and (highest := max(ids, default=-1)) >= self._rows:
            token = self._backend.decode([highest], skip_special_tokens=False)
            raise UserError(
                f"the token {token!r} has the id {highest}, but the model's embedding only {self._rows} rows: "
                "leave it out, or take the tokenizer that belongs to the model"
            )
        return ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD."""
        return self._backend.decode(ids, skip_special_tokens)

    def render_chat(self, messages: Messages, add_generation_prompt: bool = False, **variables: Any) -> str:
        """The messages, each {"role": ..., "content": ...}, as text in the model's own format."""
        if self._chat_template is None:
            raise UserError("the tokenizer has no chat template: use a chat model, or plain text")
        return self._chat_template.render(messages, add_generation_prompt, **variables)

    def apply_chat_template(
        self, messages: Messages, add_generation_prompt: bool = False, **variables: Any
    ) -> list[int]:
        """The ids of `render_chat`'s text, which already contains the special tokens."""
        return self.encode(self.render_chat(messages, add_generation_prompt, **variables), add_special_tokens=False)

    def _id_of(self, role: str) -> int | None:
        return self._backend.token_to_id(self.tokens[role]) if role in self.tokens else None


class IncrementalDecoder:
    """The text of ids that arrive one at a time: `push` returns new text that is certain, `flush` the rest.

    A character's bytes may span several tokens, and some decoders drop the space before the first word. So the new text
    is the difference of two decodings that begin at the same earlier token, held back while it ends in U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._ids: list[int] = []
        self._begin = 0  # where both decodings begin
        self._given = 0  # tokens whose text has been returned

    def push(self, id: int) -> str:
        self._ids.append(id)
        return self._new("\N{REPLACEMENT CHARACTER}")

    def flush(self) -> str:
        """The text held back; an incomplete character in it becomes U+FFFD."""
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
    """The backend for tokenizer.json."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading(path, "restore it"):
            try:
                self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
            except Exception as error:  # the package raises nothing narrower
                raise UserError(f"{path} is not a tokenizer ({error}): restore it") from None
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
            for part in (self._tokenizer.normalizer, self._tokenizer.decoder):
                if part is not None and (factor := _growth(json.loads(part.__getstate__()))) > GROWTH:
                    raise UserError(f"{path} makes texts {factor} times as long as they are: restore it")

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        with reading(self._path, "restore it"):  # a bad file may fail only here
            return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        with reading(self._path, "restore it"):
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def token_to_id(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def size(self) -> int:
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


def _growth(part: Any) -> int:
    """The most by which a normalizer or decoder can lengthen a text, each replacement lengthening the last's result."""
    if isinstance(part, list):
        return math.prod(map(_growth, part))
    if not isinstance(part, dict):
        return 1
    if part.get("type") == "Replace":
        replaced = part["pattern"].get("String")
        # A regular expression may match nothing, between any two characters.
        return max(1, -(-len(part["content"]) // len(replaced)) if replaced else 1 + len(part["content"]))
    return _growth(list(part.values()))


def _backend(folder: Path, settings: dict[str, Any]) -> Backend:
    path = next((folder / name for name in TOKENIZERS if (folder / name).exists()), None)
    if path is None:
        raise UserError(f"{folder} has neither {' nor '.join(TOKENIZERS)}: bring the tokenizer of the checkpoint")
    if path.suffix == ".json":
        return _TokenizersBackend(path)
    added = _added_tokens(folder, settings)
    with reading(folder / "tokenizer_config.json"):
        flags = {name: settings[name] for name in _FLAGS if settings.get(name) is not None}
        wrong = next((name for name in flags if not isinstance(flags[name], bool)), None)
        if wrong is not None:
            raise UserError(f"{wrong} is {flags[wrong]!r}: it must be true, false or null")
    return SentencePieceBackend(path, added, **flags)


_FLAGS = ("add_bos_token", "add_eos_token", "add_prefix_space", "legacy")


def _settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, plus what only special_tokens_map.json has in older folders.

    If the first lists the added tokens, a version that no longer needs the second wrote it; otherwise the second
    takes precedence, as in transformers.
    """
    check_folder(folder)
    settings, more = (read_settings(folder / name) for name in ("tokenizer_config.json", "special_tokens_map.json"))
    more = {name: value for name, value in more.items() if name.endswith("_token")}
    return more | settings if "added_tokens_decoder" in settings else settings | more


def _tokens(settings: dict[str, Any]) -> dict[str, str]:
    """The special tokens by their roles; one may also be an object with its text as `content`."""
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in settings.items()}
    return {name: text for name, text in texts.items() if name.endswith("_token") and isinstance(text, str)}


def _added_tokens(folder: Path, settings: dict[str, Any]) -> list[AddedToken]:
    """Tokens that tokenizer.model lacks: from tokenizer_config.json or, in older folders, added_tokens.json."""
    if "added_tokens_decoder" not in settings:
        path = folder / "added_tokens.json"
        special = set(_tokens(settings).values())
        listed = [(token, id, token in special) for token, id in read_settings(path).items()]
    else:
        path = folder / "tokenizer_config.json"
        entries = settings["added_tokens_decoder"]
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise UserError(f"{path}: added_tokens_decoder maps no ids to objects; restore it")
        listed = []
        for key, entry in entries.items():
            id = int(key) if key.isascii() and key.isdecimal() and len(key) < 12 else key
            listed.append((entry.get("content"), id, entry.get("special", True)))
    for content, id, _ in listed:
        good = isinstance(content, str) and content and isinstance(id, int) and not isinstance(id, bool)
        if not good or not 0 <= id < 2**31:
            raise UserError(one_line(f"{path}: the added token {content!r} has the id {id!r}; restore it"))
    return [AddedToken(content, id, bool(special)) for content, id, special in listed]


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    """The chat template: from a file of its own, or from tokenizer_config.json, which may have several."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        with reading(path, "restore it"), open(path, encoding="utf-8") as file:
            return file.read(SOURCE + 1)  # enough to show that it is too long
    template = settings.get("chat_template")
    if isinstance(template, list):
        entries = [entry for entry in template if isinstance(entry, dict)]
        template = next((entry.get("template") for entry in entries if entry.get("name") == "default"), None)
    return template if isinstance(template, str) else None
