"""A model and its tokenizer, which must fit each other."""

from __future__ import annotations

import warnings
from pathlib import Path

from lora.adapters.adapter_files import load_adapter
from lora.model.llama import Llama
from lora.text.tokenizer import Tokenizer


def load(
    folder: Path, tokenizer_folder: Path | None = None, adapter: Path | None = None
) -> tuple[Llama, Tokenizer]:
    """The model of a checkpoint's folder, to compute with its weights as they are stored, and its tokenizer.

    Raises UserError where something is missing or damaged, or the adapter is not the model's.
    """
    tokenizer = Tokenizer.from_pretrained(tokenizer_folder or folder)
    model = Llama.from_pretrained(folder, "auto")
    check_fit(tokenizer, model.config.vocab_size, folder)
    if adapter is not None:
        load_adapter(model, adapter)
    model.eval()
    return model, tokenizer


def check_fit(tokenizer: Tokenizer, vocab_size: int, folder: Path) -> None:
    """Hold the tokenizer to an embedding of `vocab_size` rows, with a warning where it has more tokens.

    Many a folder has a token that was added and never used, such as [PAD] beside Llama 2: it is refused where a text
    has it, not before.
    """
    if tokenizer.vocab_size > vocab_size:
        warnings.warn(
            f"the tokenizer of {folder} has {tokenizer.vocab_size} tokens, the model's embedding only {vocab_size} "
            "rows: texts with other tokens are refused",
            stacklevel=2,
        )
        tokenizer.restrict(vocab_size)


def bytes_read_a_token(model: Llama) -> int:
    """Bytes of weights that computing one token reads: all, but of an embedding that is not the head too only a row."""
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    total = sum(p.array.nbytes for p in (*model.parameters(), *model.buffers()))
    return total if head is embedding else total - embedding.array.nbytes
