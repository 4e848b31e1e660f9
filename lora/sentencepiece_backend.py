"""tokenizer.model, read by the package `sentencepiece`: `pip install 'tinytorch[sentencepiece]'`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from programs.errors import UserError


class SentencePieceBackend:
    """As lora.tokenizer.Backend. `settings` are those of tokenizer_config.json.

    sentencepiece itself never sees a special token: the text is cut there first. The tokens that were added to the
    file's are in added_tokens_decoder.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        try:
            sentencepiece = importlib.import_module("sentencepiece")
        except ImportError:
            raise UserError(
                f"{path} needs the package sentencepiece: pip install 'tinytorch[sentencepiece]', "
                "or bring the tokenizer.json of the checkpoint"
            ) from None
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise UserError(f"{path} is no tokenizer ({' '.join(str(error).split())}): restore it") from None
        ids = range(self._pieces.get_piece_size())
        self._special = {self._pieces.id_to_piece(i): i for i in ids if self._pieces.is_control(i)}
        for id, token in settings.get("added_tokens_decoder", {}).items():
            self._special.setdefault(token["content"], int(id))
        self._texts = {id: token for token, id in self._special.items()}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})" if longest_first else "(?!)")
        self._before = [self._pieces.bos_id()] if settings.get("add_bos_token", True) else []
        self._after = [self._pieces.eos_id()] if settings.get("add_eos_token", False) else []

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        ids: list[int] = []
        for part in self._cut.split(text):
            if part in self._special:
                ids.append(self._special[part])
            elif part:
                ids.extend(self._pieces.encode(part))
        return [*self._before, *ids, *self._after] if add_special_tokens else ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        text, plain = "", []
        for id in ids:
            if id not in self._texts:
                plain.append(int(id))
            elif not skip_special_tokens:
                text += self._pieces.decode(plain) + self._texts[id]
                plain = []
        return text + str(self._pieces.decode(plain))

    def token_to_id(self, token: str) -> int | None:
        if token in self._special:
            return self._special[token]
        id = int(self._pieces.piece_to_id(token))
        return id if self._pieces.id_to_piece(id) == token else None

    def size(self) -> int:
        return max(self._pieces.get_piece_size(), 1 + max(self._texts, default=-1))
