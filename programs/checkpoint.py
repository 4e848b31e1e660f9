"""A run's state on disk: `<name>.json`, and the safetensors file that it names.

The two are one unit. The tensors go first, to a file named by its own hash, which no earlier JSON refers to; replacing
the JSON then switches from the old pair to the new one in a single rename. Whenever the process dies, the JSON on disk
and the file that it names belong together. No pickle anywhere: loading a checkpoint runs no code.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from programs.errors import UserError
from programs.reading import one_line, read_object
from tinytorch.files import atomic_write
from tinytorch.safetensors import load_file, save_file

FORMAT = 1


def save(folder: Path, name: str, tensors: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    """Replace the checkpoint `name` ("best", "last") of `folder` by these tensors and these JSON values."""
    temporary = folder / f".{name}.tmp.safetensors"
    save_file(tensors, str(temporary))
    digest = _sha256(temporary)
    path = folder / f"{name}-{digest[:12]}.safetensors"
    os.replace(temporary, path)
    values = {"format": FORMAT, "tensors": path.name, "sha256": digest, **values}
    with atomic_write(folder / f"{name}.json") as file:
        file.write(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False).encode())
    for old in folder.glob(f"{name}-{'[0-9a-f]' * 12}.safetensors"):
        if old != path:
            old.unlink()


def load(folder: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and values of the checkpoint `name` of `folder`; UserError where it is missing or damaged."""
    path = folder / f"{name}.json"
    if not path.is_file():
        raise UserError(f"no checkpoint {path}: train first, or check --out")
    try:
        values = read_object(path)
        tensors_path, digest, version = folder / values["tensors"], values["sha256"], values["format"]
    except (UserError, KeyError, TypeError) as error:
        raise UserError(one_line(f"{path} is damaged ({error}): restore it or train again")) from None
    if version != FORMAT:
        raise UserError(f"{path} has format {version}, this program reads {FORMAT}: use the version that wrote it")
    if not tensors_path.is_file():
        raise UserError(f"{path} names {tensors_path.name}, which is not there: restore it or train again")
    if _sha256(tensors_path) != digest:
        raise UserError(f"{tensors_path} is damaged (its sha256 is not the one in {path.name}): restore it")
    return load_file(str(tensors_path)), values


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
