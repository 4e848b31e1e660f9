"""The page's own arithmetic, in the browser, beside the engine's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch.cli.pages import embedded
from tinytorch.study import Trace
from tinytorch.study.page.assembly import bundled
from tinytorch.study.page.export import exported
from tinytorch.study.subjects import SUBJECTS, Sizes, in_float64, trace_of

HTML = '<!doctype html><meta charset="utf-8"><title>test</title><script type="application/json" id="data">{}</script>{}'


def deviations(browser: Any, path: Path, traces: list[Trace]) -> list[float]:
    """How far the browser's numbers are from the engine's, relative to the largest of each array."""
    data = embedded({"variants": [{"trace": exported(t)} for t in traces]})
    script = bundled("testing.js")
    path.write_text(HTML.format(data, f"<script>{script}</script>"), "utf-8")
    browser.open(path)
    return list(browser.run("return window.answers"))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_agrees_with_the_engine(browser: Any, tmp_path: Path, subject: str) -> None:
    with in_float64():
        traces = [
            trace_of(subject, Sizes(T=3 + seed, D=3 + seed, causal=seed % 2 == 0, seed=seed, unfold=unfold))
            for seed in range(4)
            for unfold in (True, False)
        ]
    assert max(deviations(browser, tmp_path / "page.html", traces)) < 1e-12


def user() -> torch.Tensor:
    """What a user may write beside the subjects."""
    x = torch.randn(3, 4, requires_grad=True)
    w = torch.randn(4, 4, requires_grad=True)
    y = torch.cat([(x @ w).tanh(), x[:, 1:].sigmoid() * 2], dim=1)
    z = torch.relu(y) + y.exp().log() - (y.abs() + 0.5).sqrt() * torch.sin(y).flip(1)
    first, second, _ = z.split([3, 3, 1], dim=1)
    rows = (first - second[torch.tensor([2, 0, 0])]).permute(1, 0).expand(2, 3, 3)
    return torch.nn.functional.silu(rows / (1.5 + w[0, 0] ** 2)).mean(dim=(0, 1)).log_softmax(0)[1] ** 3


def test_what_a_user_may_write_agrees_with_the_engine(browser: Any, tmp_path: Path) -> None:
    traces = []
    with in_float64():
        for seed in range(5):
            torch.manual_seed(seed)
            with Trace() as t:
                loss = user()
            t.backward(loss)
            traces.append(t)
    assert max(deviations(browser, tmp_path / "page.html", traces)) < 1e-12


def test_what_cannot_be_a_number_in_json_arrives(browser: Any, tmp_path: Path) -> None:
    with in_float64(), Trace() as t:
        x = torch.tensor([1.0, np.inf, -np.inf, np.nan], requires_grad=True)
        loss = (x * 2).sum()
    t.backward(loss)
    assert deviations(browser, tmp_path / "page.html", [t]) == [0]
