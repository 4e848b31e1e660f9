"""A model's folder, as the user gives it, and the small files in it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from tinytorch.cli.errors import UserError
from tinytorch.cli.reading import read_object


def check_folder(folder: Path) -> None:
    """UserError if there is no such folder; for a model's name on Hugging Face it has the command to download it."""
    if folder.is_dir():
        return
    name = folder.as_posix()
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) and not folder.parent.is_dir():
        command = shlex.join(["hf", "download", name, "--local-dir", folder.name])
        raise UserError(
            f"{name} is not a folder; if it is a model's name on Hugging Face, download it first "
            f"({command}) and give that folder"
        )
    raise UserError(f"{name} is not a folder: give one that holds config.json, weights and a tokenizer")


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty if there is no such file."""
    return read_object(path, "restore it") if path.is_file() else {}
