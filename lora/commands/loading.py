"""Loading a model and its tokenizer, which must fit each other."""

from __future__ import annotations

import warnings
from pathlib import Path

from lora.adapters.adapter_files import load_adapter
from lora.model.llama import Llama
from lora.text.tokenizer import Tokenizer


def load(
    folder: Path, tokenizer_folder: Path | None = None, adapter: Path | None = None
) -> tuple[Llama, Tokenizer]:
    """The model in a checkpoint's folder, with its weights as they are stored, and its tokenizer.

    Raises UserError if something is missing or damaged, or the adapter does not fit the model.
    """
    tokenizer = Tokenizer.from_pretrained(tokenizer_folder or folder)
    model = Llama.from_pretrained(folder, "auto")
    check_fit(tokenizer, model.config.vocab_size, folder)
    if adapter is not None:
        load_adapter(model, adapter)
    model.eval()
    return model, tokenizer


def check_fit(tokenizer: Tokenizer, vocab_size: int, folder: Path) -> None:
    """Restrict the tokenizer to an embedding of `vocab_size` rows, with a warning if it has more tokens.

    Many folders have a token that was added and never used, such as [PAD] with Llama 2: it is refused only when it
    occurs in a text.
    """
    if tokenizer.vocab_size > vocab_size:
        warnings.warn(
            f"the tokenizer of {folder} has {tokenizer.vocab_size} tokens, the model's embedding only {vocab_size} "
            "rows: texts with other tokens are refused",
            stacklevel=2,
        )
        tokenizer.restrict(vocab_size)


def bytes_read_a_token(model: Llama) -> int:
    """Bytes of weights read per token: all of them, but only one row of an embedding that is not also the head."""
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    total = sum(p.array.nbytes for p in (*model.parameters(), *model.buffers()))
    return total if head is embedding else total - embedding.array.nbytes
