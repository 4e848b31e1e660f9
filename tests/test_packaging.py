"""The source distribution has all that the repository has, and the wheel that is built from it works anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def run(*arguments: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> list[str]:
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only a git checkout knows what belongs to the project")
    return listed.splitlines()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked source distribution of what git has."""
    checkout, folder = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("sdist")
    for name in tracked():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    run("-c", build, cwd=checkout)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder)
    return next(path for path in folder.iterdir() if path.is_dir())


def test_the_source_distribution_has_every_file(source: Path) -> None:
    missing = [name for name in tracked() if not (source / name).exists()]
    assert missing == []


def test_its_tests_run(source: Path) -> None:
    tests = ["tests/training/test_batches.py", "tests/gpt/test_tokenizer.py", "tests/lora/model/test_config.py"]
    assert " passed" in run("-m", "pytest", "-q", *tests, cwd=source, PYTHONPATH="")


def test_the_wheel_works_outside_of_a_checkout(source: Path, tmp_path: Path) -> None:
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    run("-c", build, cwd=source)
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    packages = ("tinytorch/", "gpt/", "lora/")
    missing = [name for name in tracked() if name.startswith(packages) and not (site / name).exists()]
    assert missing == []  # also of folders within these
    elsewhere.mkdir()

    def at(*arguments: str) -> str:
        return run(*arguments, cwd=elsewhere, PYTHONPATH=str(site))

    assert str(site) in at("-c", "import tinytorch; print(tinytorch.__file__, tinytorch.ones(2).sum())")
    small = ["--preset", "bigram", "--max-iters=4", "--eval-iters=1", "--out", "runs/a"]
    assert "python -m gpt sample --out runs/a" in at("-m", "gpt", "train", *small)
    assert len(at("-m", "gpt", "sample", "--out", "runs/a", "--max-new-tokens=20")) > 20
    assert "parameters" in at("-m", "lora", "info")
    assert len(at("-m", "lora", "generate", "--prompt=The", "--max-new-tokens=4")) > 4
    assert sorted(path.name for path in elsewhere.iterdir()) == ["runs"]
