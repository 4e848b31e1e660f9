"""tokenizer.model beside the package that makes such files."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from lora.tokenizer import Tokenizer
from programs.corpora import load_text

pytestmark = pytest.mark.oracle("sentencepiece")

TEXTS = ["Hello world.", "  two spaces, a\ttab\nand a line", "naïve café, 漢字 and 🙂", "", "x" * 50]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer in Llama 2's scheme: BPE, bytes for what it does not know, no normalisation."""
    sentencepiece: Any = importlib.import_module("sentencepiece")
    folder = tmp_path_factory.mktemp("sentencepiece")
    text = folder / "text"
    text.write_text(load_text("pydoc")[:50_000], encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), model_type="bpe", vocab_size=600, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    return folder


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_texts_are_the_package_s(text: str, folder: Path) -> None:
    sentencepiece: Any = importlib.import_module("sentencepiece")
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    ours = Tokenizer.from_pretrained(folder)
    ids = ours.encode(text, add_special_tokens=False)
    assert ids == theirs.encode(text)
    assert ours.decode(ids) == theirs.decode(ids) == text
    assert ours.encode(text) == [theirs.bos_id(), *ids]
    assert ours.vocab_size == theirs.get_piece_size()


def test_special_tokens_in_a_text_are_one_id(folder: Path) -> None:
    ours = Tokenizer.from_pretrained(folder)
    assert ours.encode("</s>", add_special_tokens=False) == list(ours.eos_ids)
