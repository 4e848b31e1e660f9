"""The measuring itself is not measured here; what is asked, answered and written is."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from bench import busy, kernels, plots, report, scaling, train
from bench.__main__ import SECTIONS
from bench.timing import OURS, Case, Row, Sides, _enough

PEAKS = report.Peaks(2e11, 1e11, 1e10)
ROWS = [
    Row("kernels", "matmul a", {OURS: 1e-3, "numpy": 2e-3}, {"numpy": (1.9, 2.0, 2.1)}, "P1", flops=1e8, bytes=1e6),
    Row("kernels", "matmul b", {OURS: 1e-3, "numpy": 9e-4}, {"numpy": (0.8, 0.9, 1.0)}, "P1", flops=1e8, bytes=1e6),
    Row("train", "gpt", {OURS: 2.0, "torch": 4.0}, {"torch": (1.9, 2.0, 2.1)}, "P2", flops=1e9),
    Row("memory", "gpt", {OURS: 2.0**20}, {}, unit="bytes"),
]


def test_a_case_is_timed_in_processes_of_their_own() -> None:
    case = next(case for case in kernels.cases(quick=True) if case.target == "P1")
    with Sides(["numpy"], turns=3) as sides:
        row = sides.measure(case)
    assert set(row.seconds) == {OURS, "numpy"} and min(row.seconds.values()) > 0
    low, middle, high = row.ratios["numpy"]
    assert 0 < low <= middle <= high


def test_a_side_that_ends_is_an_error() -> None:
    with Sides([], turns=1) as sides, pytest.raises(RuntimeError, match="the tinytorch side ended while it was asked"):
        sides._side(OURS).ask("make", "kernels", "no such case")


def test_a_call_that_was_held_up_is_not_taken_for_a_turn() -> None:
    class HeldUp:
        times = iter([0.06])

        def ask(self, *question: object) -> float:
            return next(self.times, 2e-4)

    assert _enough(HeldUp()) * 2e-4 >= 0.05  # type: ignore[arg-type]


def test_names_of_cases_are_unique_in_their_section() -> None:
    for cases in (kernels.cases(quick=False), train.cases(quick=False)):
        names = [case.name for case in cases]
        assert len(set(names)) == len(names)


def test_verdicts_take_the_median_and_the_worst() -> None:
    by_target = {line[0]: line for line in report.verdicts(ROWS)}
    assert by_target["P1"] == ["P1", "numpy", "1.45 (1.0)", "0.90 (0.95)", "no"]
    assert by_target["P2"] == ["P2", "torch", "2.00 (1.5)", "2.00 (1.5)", "yes"]


def test_everything_is_written(tmp_path: Path) -> None:
    report.save_json(tmp_path / "bench.json", {"processor": "x"}, PEAKS, ROWS)
    assert [row["name"] for row in json.loads((tmp_path / "bench.json").read_text())["rows"]] == [r.name for r in ROWS]
    report.save_markdown(tmp_path / "bench.md", {"processor": "x"}, PEAKS, ROWS, "python -m bench")
    text = (tmp_path / "bench.md").read_text()
    assert "100.0 GFLOP/s, 50%" in text and "1.0 MiB" in text and "python -m bench" in text
    plots.ratios(tmp_path / "kernels.png", ROWS[:2])
    plots.roofline(tmp_path / "roofline.png", ROWS, PEAKS)
    assert (tmp_path / "kernels.png").stat().st_size and (tmp_path / "roofline.png").stat().st_size


def test_the_exponent_is_that_of_the_power_law() -> None:
    assert scaling.exponent([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2.0)


def test_every_section_can_be_run() -> None:
    import importlib

    for section in SECTIONS:
        module = importlib.import_module(f"bench.{section}")
        assert hasattr(module, "run") or callable(module.cases)


def test_busy_cases_are_timed_alone_and_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[str, int]] = []

    class Recorder(Sides):
        def measure(self, case: Case) -> Row:
            found.append((case.name, len(psutil.Process().children())))
            return Row(case.section, case.name, {OURS: 1.0}, {})

    monkeypatch.setattr(busy, "Sides", Recorder)
    before = len(psutil.Process().children())
    rows = list(busy.run(Sides(["torch", "numpy"], turns=1), quick=True))
    names = [case.name for case in busy.cases(quick=True)]
    assert found == [(name, before + others) for name in names for others in (0, 2)]
    assert [row.name for row in rows] == [name + end for name in names for end in ("", ", beside 2 busy programs")]
    assert len(psutil.Process().children()) == before and len(names) == 3
