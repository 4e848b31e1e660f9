"""training.json: a record, in the folder of an adapter or a model, of how it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora.model.folders import read_settings
from tinytorch.files import atomic_write

FILE = "training.json"
CHAT = "chat_template"  # true if it was trained on messages, so that prompts should be messages too
SEED = "seed"  # the seed by which validation examples were drawn
VAL_DATA = "val_data"  # the file of validation examples used instead, or null


def encoded(how: Mapping[str, Any]) -> bytes:
    """The bytes of training.json."""
    return f"{json.dumps(how, indent=2)}\n".encode()


def remember(folder: Path, how: Mapping[str, Any]) -> None:
    """Record how the folder's content was trained."""
    with atomic_write(folder / FILE) as file:
        file.write(encoded(how))


def recall(folder: Path | None) -> dict[str, Any]:
    """The folder's record; empty if there is no folder or no such file."""
    return {} if folder is None else read_settings(folder / FILE)
