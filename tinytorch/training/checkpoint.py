"""A run's state on disk: `<name>.json`, and the safetensors file that it names.

The two are one unit. The tensors are written first, to a file named after its own hash, which no earlier JSON refers
to; replacing the JSON then switches from the old pair to the new one in a single rename. Whenever the process dies, the
JSON on disk and the file that it names belong together. No pickle anywhere: loading a checkpoint runs no code.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..cli.errors import UserError
from ..cli.reading import one_line, read_object
from ..files import atomic_write, unfinished
from ..safetensors import load_file, save_file

FORMAT = 1
NAMES = ("best", "last")


def save(folder: Path, name: str, tensors: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    """Replace the checkpoint `name` ("best" or "last") in `folder` with these tensors and JSON values."""
    temporary = unfinished(folder / f"{name}.safetensors")
    try:
        save_file(tensors, temporary)
        digest = _sha256(temporary)
        path = folder / f"{name}-{digest[:12]}.safetensors"
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    values = {"format": FORMAT, "tensors": path.name, "sha256": digest, **values}
    with atomic_write(folder / f"{name}.json") as file:
        file.write(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False).encode())
    _keep_only(path, folder, name)


def remove_orphans(folder: Path) -> None:
    """Remove tensors that killed saves left in `folder` and that no JSON names."""
    for name in NAMES:
        path = folder / f"{name}.json"
        if not path.exists():
            _keep_only(None, folder, name)
            continue
        with suppress(UserError):  # if it cannot be read, nobody knows which file it names
            _keep_only(folder / load_values(folder, name)["tensors"], folder, name)


def _keep_only(kept: Path | None, folder: Path, name: str) -> None:
    for path in folder.glob(f"{name}-{'[0-9a-f]' * 12}.safetensors"):
        if path != kept:
            path.unlink()


def load(folder: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and values of the checkpoint `name` in `folder`; UserError if it is missing or damaged."""
    values = load_values(folder, name)
    while True:
        path = folder / values["tensors"]
        try:
            if _sha256(path) != values["sha256"]:
                raise UserError(f"{path} is damaged (its sha256 is not the one in {name}.json): restore it")
            return load_file(str(path)), values
        except FileNotFoundError:  # a run in progress has just replaced the pair, or the file is lost
            now = load_values(folder, name)
            if now == values:
                raise UserError(f"{folder / name}.json names {path.name}, which is not there: restore it") from None
            values = now


def load_values(folder: Path, name: str) -> dict[str, Any]:
    """The checkpoint's JSON values alone. Another process may replace it meanwhile."""
    path = folder / f"{name}.json"
    if not path.is_file():
        raise UserError(f"no checkpoint {path}: train first, or check --out")
    try:
        values = read_object(path)
        version, _, _ = values["format"], Path(values["tensors"]), values["sha256"]
    except (UserError, KeyError, TypeError) as error:
        raise UserError(one_line(f"{path} is damaged ({error}): restore it or train again")) from None
    if version != FORMAT:
        raise UserError(f"{path} has format {version}, this program reads {FORMAT}: use the version that wrote it")
    return values


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
