"""Reads tokenizer.model with the package `sentencepiece`: `pip install 'tinytorch[sentencepiece]'`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tinytorch.cli.errors import UserError
from tinytorch.cli.reading import one_line, reading

SPACE = "▁"
# Concatenated protocol buffers are merged: here comes normalizer_spec (3) with add_dummy_prefix (3) false.
_NO_PREFIX = b"\x1a\x02\x18\x00"


class AddedToken(NamedTuple):
    """A token added to those in the file."""

    content: str
    id: int
    is_special: bool  # left out when special tokens are skipped


class SentencePieceBackend:
    """A `tokenizer.Backend`; the settings are those of tokenizer_config.json, with the defaults of transformers 4.

    sentencepiece itself never sees a special token: the text is split at those first. It puts a space before each part.
    With `legacy` false only a text that begins with a word gets one, and with `add_prefix_space` false no part does.
    """

    def __init__(
        self,
        path: Path,
        added: Sequence[AddedToken],
        add_bos_token: bool = True,
        add_eos_token: bool = False,
        add_prefix_space: bool = True,
        legacy: bool = True,
    ) -> None:
        try:
            sentencepiece = importlib.import_module("sentencepiece")
        except ImportError:
            raise UserError(
                f"{path} needs the package sentencepiece: pip install 'tinytorch[sentencepiece]', "
                "or bring the tokenizer.json of the checkpoint"
            ) from None
        self._path = path
        self._legacy = legacy and add_prefix_space
        self._prefix = add_prefix_space
        with reading(path, "restore it"):
            content = path.read_bytes()
            if not content:  # the package accepts it, expecting a model to be loaded later
                raise UserError(f"{path} is empty: restore it")
            content += b"" if self._legacy else _NO_PREFIX
            try:
                self._pieces = sentencepiece.SentencePieceProcessor(model_proto=content)
            except (OSError, RuntimeError) as error:
                raise UserError(one_line(f"{path} is not a tokenizer ({error}): restore it")) from None
            ids = range(self._pieces.get_piece_size())
            own = [i for i in ids if self._pieces.is_control(i) or self._pieces.is_unknown(i)]
            self._tokens = {self._pieces.id_to_piece(i): i for i in own}
            self._before = [self._pieces.bos_id()] if add_bos_token and self._pieces.bos_id() >= 0 else []
            self._after = [self._pieces.eos_id()] if add_eos_token and self._pieces.eos_id() >= 0 else []
        for token in added:
            self._tokens.setdefault(token.content, token.id)
        plain = {token.content for token in added if not token.is_special}
        self._texts = {id: token for token, id in self._tokens.items()}
        self._special = {id for id, token in self._texts.items() if token not in plain}
        longest_first = sorted(self._tokens, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})" if longest_first else "(?!)")

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        ids: list[int] = []
        with reading(self._path, "restore it"):
            for i, part in enumerate(self._cut.split(text)):
                if part in self._tokens:
                    ids.append(self._tokens[part])
                elif part:
                    first = i == 0 and self._prefix and not self._legacy and not part.startswith((" ", SPACE))
                    ids.extend(self._pieces.encode(SPACE + part if first else part))
        return [*self._before, *ids, *self._after] if add_special_tokens else ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        text, plain = "", []
        with reading(self._path, "restore it"):
            for id in ids:
                if id not in self._texts:
                    plain.append(int(id))
                elif not (skip_special_tokens and id in self._special):
                    text += self._pieces.decode(plain) + self._texts[id]
                    plain = []
            text += self._pieces.decode(plain)
        return text.removeprefix(" ") if self._prefix and not self._legacy else text

    def token_to_id(self, token: str) -> int | None:
        if token in self._tokens:
            return self._tokens[token]
        id = int(self._pieces.piece_to_id(token))
        return id if self._pieces.id_to_piece(id) == token else None

    def size(self) -> int:
        return max(self._pieces.get_piece_size(), 1 + max(self._texts, default=-1))
