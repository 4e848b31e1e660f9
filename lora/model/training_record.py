"""What the folder of an adapter or a model remembers of its training: training.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora.model.folders import read_settings
from tinytorch.files import atomic_write

FILE = "training.json"
CHAT = "chat_template"  # true where the model was trained on messages, so that it is to be asked in messages
SEED = "seed"  # by which the examples that validate were drawn
VAL_DATA = "val_data"  # the file that validated instead, or null


def encoded(how: Mapping[str, Any]) -> bytes:
    """The file."""
    return f"{json.dumps(how, indent=2)}\n".encode()


def remember(folder: Path, how: Mapping[str, Any]) -> None:
    """Write how what is in the folder was trained."""
    with atomic_write(folder / FILE) as file:
        file.write(encoded(how))


def recall(folder: Path | None) -> dict[str, Any]:
    """What the folder remembers; nothing where there is none, or no such file."""
    return {} if folder is None else read_settings(folder / FILE)
