"""Damaged files of every kind that the programs read: the first cases of tests.fuzz, which goes on by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.cases import Fuzzer
from tests.fuzz.targets import TARGETS

CASES = 150  # of each kind: half a minute in all


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    return Fuzzer(tmp_path_factory.mktemp("fuzz") / "files")


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused_in_one_line(name: str, fuzzer: Fuzzer) -> None:
    problems = [problem for seed in range(CASES) if (problem := fuzzer.problem(name, seed)) is not None]
    assert not problems, "\n".join(problems[:3])


def test_the_fuzzer_finds_what_is_wrong(fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another error, a long line, much memory, much time; and cases are not all refused, nor all read."""
    from tinytorch.cli.errors import UserError

    read = TARGETS["metrics"].read

    def say(problem: str) -> None:
        def reader(folder: Path) -> object:
            if problem == "error":
                raise KeyError("x")
            if problem == "line":
                raise UserError("a\nb")
            if problem == "memory":
                return len(b"x" * (80 << 20))
            return sum(i for i in range(10**6))

        monkeypatch.setitem(TARGETS, "metrics", TARGETS["metrics"]._replace(read=reader))

    say("error")
    assert "KeyError" in str(fuzzer.problem("metrics", 0))
    say("line")
    assert r"'a\nb'" in str(fuzzer.problem("metrics", 0))
    monkeypatch.setattr("tests.fuzz.cases.SECONDS", 0.001)
    say("time")
    assert "seconds" in str(fuzzer.problem("metrics", 0))
    monkeypatch.undo()
    if Path("/proc/self/clear_refs").exists():
        say("memory")
        assert "MiB" in str(fuzzer.problem("metrics", 0))
        monkeypatch.undo()
    outcomes = set()

    def noted(folder: Path) -> None:
        try:
            read(folder)
            outcomes.add("read")
        except UserError:
            outcomes.add("refused")

    monkeypatch.setitem(TARGETS, "metrics", TARGETS["metrics"]._replace(read=noted))
    for seed in range(50):
        fuzzer.problem("metrics", seed)
    assert outcomes == {"read", "refused"}
