"""The help of the measuring programs, of warmup and of the tests' own (gpt's and lora's are tested beside them)."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = [
    *(
        f"bench.{file.stem}"
        for file in sorted((ROOT / "bench").glob("*.py"))
        if "def main(" in file.read_text(encoding="utf-8") and file.stem != "worker"  # which talks to its parent only
    ),
    "tinytorch.warmup",
    "tests.fuzz.__main__",
    "tests.mutation.__main__",
]


@pytest.mark.parametrize("module", PROGRAMS)
def test_help_fits_80_columns_and_nothing_else_is_done(
    module: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    main = importlib.import_module(module).main
    with pytest.raises(SystemExit) as exit_:
        main(["--help"]) if inspect.signature(main).parameters else main()
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: python -m {module.removesuffix('.__main__')} " in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
