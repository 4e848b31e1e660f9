from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinytorch
from bench import hashes, report
from bench.child import run
from bench.timing import OURS, Row


def test_a_step_has_the_same_bits_compiled_as_written_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [hashes.computed("P3", Path()) for _ in range(2)]
    monkeypatch.setattr(tinytorch, "compile", lambda function: function)
    found.append(hashes.computed("P3", Path()))
    assert len(set(found)) == 1


def test_one_bit_changes_the_hash() -> None:
    x = np.ones((2, 3), np.float32)
    before = hashes.digest({"x": tinytorch.tensor(x)})
    assert before == hashes.digest({"x": tinytorch.tensor(x)}) != hashes.digest({"y": tinytorch.tensor(x)})
    assert before != hashes.digest({"x": tinytorch.tensor(x.reshape(3, 2))})
    x[1, 2] = np.nextafter(x[1, 2], 2)
    assert before != hashes.digest({"x": tinytorch.tensor(x)})


@pytest.mark.parametrize("form", hashes.FORMS)
def test_tokens_are_hashed_without_pytorch(form: str) -> None:
    found = run(f"import sys; sys.modules['torch'] = None; from bench.hashes import child; child('P9', {form!r}, '')")
    assert found["hash"] == hashes.computed("P9", Path()) and found["seconds"] > 0


def test_the_report_says_which_differ(tmp_path: Path) -> None:
    forms = ({"compiled": "12ab", "as written": "12ab"}, {"compiled": "12ab", "as written": "34cd"})
    rows = [Row("hashes", name, {OURS: 1.0}, {}, "P2", hashes=found) for name, found in zip("ab", forms, strict=True)]
    headings, cells = report.rows_as_text(rows, report.Peaks(1.0, 1.0, 1.0))
    assert headings == ["target", "work", "compiled", "as written", "the same"]
    assert cells == [["P2", "a", "12ab", "12ab", "yes"], ["P2", "b", "12ab", "34cd", "no"]]
    report.save_json(tmp_path / "bench.json", {}, report.Peaks(1.0, 1.0, 1.0), rows)
    assert '"compiled": "12ab"' in (tmp_path / "bench.json").read_text()
