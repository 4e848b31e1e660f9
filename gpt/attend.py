"""Show where a trained model looks: pictures of its attention over a text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpt.attention.page import page
from gpt.attention.picture import picture
from gpt.attention.weights import embedding, look, nearest
from gpt.run import load_model
from tinytorch.cli.errors import UserError, printable
from tinytorch.files import atomic_write


@dataclass(frozen=True)
class AttendConfig:
    """Show where a trained model looks as it goes through a text.

    Writes to the folder OUT/attend:
    - attention.png: a map for each head of each layer, of which character looks at which
    - attention.html: a page to open in a browser; point at a character to see where each head looks from there, what
      its loss is, and which characters are nearest to it in the embedding
    """

    prompt: str
    """The text, no longer than the model's context. It may use only characters of the training text."""

    out: Path = Path("runs/nano-cpu")
    """Folder of the training run whose model to use."""

    checkpoint: Literal["best", "last"] = "best"
    """The model with the lowest validation loss, or the last one."""

    to: Path | None = None
    """Folder to write to, in place of OUT/attend."""

    def __post_init__(self) -> None:
        if not self.prompt:
            raise UserError("the prompt is empty: give a text to look at, such as --prompt 'The class '")


def attend(config: AttendConfig) -> None:
    """Write the picture and the page, and print where they are."""
    model, tokenizer = load_model(config.out, config.checkpoint)
    ids = tokenizer.encode(config.prompt)
    looks = look(model, ids)
    about = printable(f"{config.out}, {config.checkpoint} model")
    if len(ids) > 1:
        about += f": {looks.losses.mean():.3f} nats per character of this text"
    neighbors = nearest(embedding(model))
    files = {
        "attention.png": picture(config.prompt, looks.weights, about),
        "attention.html": page(ids, tokenizer.vocabulary, looks, neighbors, about).encode(),
    }
    folder = config.out / "attend" if config.to is None else config.to
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with atomic_write(folder / name, len(content)) as file:
            file.write(content)
        print(f"written: {folder / name}")
