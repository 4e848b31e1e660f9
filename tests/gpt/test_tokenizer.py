from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.tokenizer import CharTokenizer
from tinytorch.cli.errors import UserError


def test_the_vocabulary_is_the_sorted_unique_characters() -> None:
    tokenizer = CharTokenizer.from_text("banana\n")
    assert tokenizer.vocabulary == "\nabn"
    assert tokenizer.vocab_size == 4
    assert tokenizer.encode("nab") == [3, 1, 2]


@given(st.text())
def test_decode_undoes_encode(text: str) -> None:
    tokenizer = CharTokenizer.from_text(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_character_outside_the_vocabulary_is_named() -> None:
    with pytest.raises(UserError, match=r"'é' \(U\+00E9, position 2\) is not in the vocabulary of 2 characters"):
        CharTokenizer.from_text("ab").encode("abé")


@pytest.mark.parametrize("token", [-1, 2])
def test_an_id_outside_the_vocabulary_is_refused(token: int) -> None:
    with pytest.raises(IndexError, match=f"{token} is outside the vocabulary of 2"):
        CharTokenizer.from_text("ab").decode([0, token])


def test_a_vocabulary_with_a_repeated_character_is_refused() -> None:
    with pytest.raises(UserError, match="twice"):
        CharTokenizer("aba")


def test_save_and_load(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.from_text('ab"\\\né☃😀')
    tokenizer.save(tmp_path / "tokenizer.json")
    assert CharTokenizer.load(tmp_path / "tokenizer.json").vocabulary == tokenizer.vocabulary


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"vocabulary": 3}'])
def test_load_refuses_other_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match="is not a tokenizer file"):
        CharTokenizer.load(tmp_path / "tokenizer.json")
