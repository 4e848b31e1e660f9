"""tokenizer.model beside the package that makes such files."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from lora.text.tokenizer import Tokenizer
from tinytorch.training.corpora import load_text

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


CHAT = ["cat", "</s>cat", " cat", "  cat", "</s> cat", "▁cat", "<s>[INST] hello </s>hello", "<unk>cat a<unk> b"]


@pytest.mark.oracle("sentencepiece", "transformers")
@pytest.mark.parametrize("settings", [{"legacy": False}, {"legacy": False, "add_prefix_space": False},
                                      {"legacy": True, "add_prefix_space": False}, {"legacy": True}])  # fmt: skip
def test_spaces_are_where_transformers_has_them(settings: dict[str, bool], folder: Path, tmp_path: Path) -> None:
    """Behind a special token, and at the beginning. transformers 5 makes a BPE of the pieces."""
    import transformers
    from transformers.tokenization_utils_base import generate_merges

    sentencepiece: Any = importlib.import_module("sentencepiece")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    ids = range(pieces.get_piece_size())
    vocab = {pieces.id_to_piece(i): i for i in ids}
    merges = generate_merges(vocab, {pieces.id_to_piece(i): pieces.get_score(i) for i in ids})
    theirs = transformers.LlamaTokenizer(vocab=vocab, merges=merges, **settings)
    (tmp_path / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**tokens, **settings}))
    ours = Tokenizer.from_pretrained(tmp_path)
    for text in CHAT:
        if settings == {"legacy": True} and text.startswith((" ", "▁")):
            continue  # transformers 5 leaves out the space that sentencepiece puts before another one
        expected = theirs.encode(text, add_special_tokens=False)
        if settings != {"legacy": True} or "> " not in text:
            assert ours.encode(text, add_special_tokens=False) == expected, text
        if settings != {"legacy": True}:
            for skip in (False, True):
                assert ours.decode(expected, skip) == theirs.decode(expected, skip_special_tokens=skip), text


def test_tokens_that_were_added(folder: Path, tmp_path: Path) -> None:
    """In added_tokens.json, as older folders have them, or in added_tokens_decoder, where one may be plain text."""
    (tmp_path / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    tokens = {"bos_token": "<s>", "eos_token": "<|im_end|>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(tokens))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|im_start|>": 600, "<|im_end|>": 601}))
    ours = Tokenizer.from_pretrained(tmp_path)
    assert (ours.bos_id, ours.eos_ids, ours.vocab_size) == (1, (601,), 602)
    ids = ours.encode("<|im_start|>the<|im_end|>", add_special_tokens=False)
    assert (ids[0], ids[-1]) == (600, 601)
    assert ours.decode(ids) == "<|im_start|>the"  # only the end is a special token
    entries = {"600": {"content": "<|im_start|>", "special": True}, "601": {"content": "<|im_end|>", "special": True}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**tokens, "added_tokens_decoder": entries}))
    assert Tokenizer.from_pretrained(tmp_path).decode(ids) == "the"
