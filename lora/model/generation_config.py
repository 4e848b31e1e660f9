"""generation_config.json: the generation settings that a model's makers recommend."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora.model.config import token_ids
from tinytorch.cli.reading import read_object, reading

NAME = "generation_config.json"


def load_generation_config(folder: Path) -> dict[str, Any]:
    """The content of folder/generation_config.json; empty if there is no such file."""
    path = folder / NAME
    if not path.is_file():
        return {}
    content = read_object(path, "restore it")
    with reading(path):
        end_ids(content)
        pad_ids(content)
    return content


def end_ids(content: Mapping[str, Any]) -> tuple[int, ...]:
    """The tokens that end a text, from the content of generation_config.json or config.json."""
    return token_ids("eos_token_id", content.get("eos_token_id"))


def pad_ids(content: Mapping[str, Any]) -> tuple[int, ...]:
    """The padding token; none if it is -1, as in the first Llamas."""
    pad = content.get("pad_token_id")
    return () if pad == -1 else token_ids("pad_token_id", pad)


def encoded(content: Mapping[str, Any]) -> bytes:
    """The bytes of generation_config.json."""
    return f"{json.dumps(content, indent=2, sort_keys=True)}\n".encode()
