"""The tokenizer: a token is a character."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tinytorch.cli.errors import UserError
from tinytorch.files import atomic_write


class CharTokenizer:
    """Maps the characters of `vocabulary` to 0 .. V-1 in its order, and back.

    >>> tokenizer = CharTokenizer.from_text("hello")
    >>> tokenizer.vocabulary, tokenizer.encode("hole")
    ('ehlo', [1, 3, 2, 0])
    >>> tokenizer.decode([1, 0, 2])
    'hel'
    """

    def __init__(self, vocabulary: str) -> None:
        if not isinstance(vocabulary, str):
            raise UserError(f"a vocabulary is a string, not of type {type(vocabulary).__name__}")
        if len(set(vocabulary)) != len(vocabulary):
            raise UserError("a vocabulary has a character twice: give each character once")
        self.vocabulary = vocabulary
        self._ids = {character: i for i, character in enumerate(vocabulary)}

    @staticmethod
    def from_text(text: str) -> CharTokenizer:
        """The sorted unique characters of `text`."""
        return CharTokenizer("".join(sorted(set(text))))

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """Ids of the characters of `text`; UserError naming the first character outside the vocabulary."""
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            character = error.args[0]
            raise UserError(
                f"the character {character!r} (U+{ord(character):04X}, position {text.index(character)}) is not in "
                f"the vocabulary of {self.vocab_size} characters: use only characters of the training text"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """The characters of `ids`; IndexError for an id outside 0 .. V-1."""
        ids = list(ids)
        for i in ids:
            if not 0 <= i < self.vocab_size:
                raise IndexError(f"token id {i} is outside the vocabulary of {self.vocab_size} characters")
        return "".join(self.vocabulary[i] for i in ids)

    def save(self, path: str | Path) -> None:
        """Write `{"vocabulary": "..."}`."""
        with atomic_write(path) as file:
            file.write(json.dumps({"vocabulary": self.vocabulary}, ensure_ascii=False).encode())

    @staticmethod
    def load(path: str | Path) -> CharTokenizer:
        """Read what `save` wrote; UserError if the file is something else."""
        try:
            return CharTokenizer(json.loads(Path(path).read_text(encoding="utf-8"))["vocabulary"])
        except (ValueError, KeyError, TypeError, RecursionError, UserError) as error:
            raise UserError(f"{path} is not a tokenizer file ({error}): write one with CharTokenizer.save") from None
