"""The model that ships with the project is found, in a checkout and in what is installed from a wheel."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lora.commands.loading import load
from lora.model.default_model import default_model
from lora.text.parrot import default_data

ROOT = Path(__file__).parents[3]
PACKAGES = ("tinytorch", "gpt", "lora")


def test_it_is_small_and_says_where_it_comes_from() -> None:
    folder = default_model()
    assert folder == ROOT / "data" / "tiny-llama"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000
    how = json.loads((folder / "training.json").read_text())
    assert how["settings"]["data"] == "pydoc"
    assert how["validation_loss"] < 4.0


def test_it_knows_its_text() -> None:
    """Its loss on a passage from the text is far below that of a model that knows nothing: log 1536 = 7.3."""
    model, tokenizer = load(default_model())
    ids = tokenizer.encode('The "try" statement specifies exception handlers and/or cleanup code for a group of')
    assert model.loss([ids], [ids]).item() < 4.0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel puts into site-packages."""
    pytest.importorskip("setuptools")
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*PACKAGES, "data"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next((source / "dist").glob("*.whl"))) as wheel:
        wheel.extractall(site)
    return site


def test_a_wheel_has_every_module(installed: Path) -> None:
    def modules(folder: Path) -> set[Path]:
        return {path.relative_to(folder) for name in PACKAGES for path in (folder / name).rglob("*.py")}

    assert modules(installed) == modules(ROOT)
    assert not (installed / "data").exists()


def test_a_wheel_has_the_data(installed: Path) -> None:
    there = installed / "lora" / "parrot_data" / "parrot.jsonl"
    assert there.read_bytes() == default_data().read_bytes()


def test_a_wheel_has_the_model(installed: Path) -> None:
    for path in default_model().iterdir():
        there = installed / "lora" / "tiny_llama" / path.name
        assert hashlib.sha256(there.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()
    done = subprocess.run(
        [sys.executable, "-m", "lora", "generate", "--prompt", "The", "--max-new-tokens=3"],
        cwd=installed,  # comes first on the path
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The")
