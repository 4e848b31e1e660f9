"""A trace as a table and as a picture: every value is there, and every name is text."""

from __future__ import annotations

import re
import sys
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

import tinytorch as torch
from tests.study.test_trace import traced_head
from tinytorch import study

HOSTILE = '<b onload="x()">&]]>\x1b[31m"'


def hostile_trace() -> Any:
    x = torch.tensor([1.0], requires_grad=True)
    with study.trace() as t:
        loss = study.named(HOSTILE, x * 2).sum()
    t.backward(loss)
    return t


def test_the_table_has_a_row_for_each_value(monkeypatch: pytest.MonkeyPatch) -> None:
    t, _ = traced_head()
    table = t.table()
    assert [row.name for row in table.rows] == [
        "k", "k.mT", "q", "matmul_1", "scores", "input_1", "masked", "p", "v", "y", "pow_1", "loss"
    ]  # fmt: skip
    by_name = {row.name: row for row in table.rows}
    assert by_name["p"].made == "softmax(masked)" and by_name["p"].shape == "float32 (4, 4)"
    assert by_name["input_1"].value == "6 of 16 True" and by_name["loss"].gradient == "1"
    assert by_name["masked"].value.startswith("-inf to ") and by_name["pow_1"].gradient == "all 1"
    assert by_name["p"].line.endswith("p = masked.softmax(-1)")
    console = Console(width=150, record=True)
    with console.capture() as captured:
        console.print(table)
    for text in (repr(table), captured.get()):
        assert "softmax" in text and "trace of 8 steps" in text
    with monkeypatch.context() as patched:  # in a notebook, where rich would show the table while it is written
        patched.setattr("rich.console._is_jupyter", lambda: True)
        assert "softmax" in repr(table)
    html = t._repr_html_()
    assert html.count("<tr>") == 13 and ElementTree.fromstring(html).tag == "table"


def test_the_picture_has_a_box_for_each_value() -> None:
    t, _ = traced_head()
    drawn = t.svg()
    root = ElementTree.fromstring(drawn)
    boxes = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("role") == "graphics-symbol img"]
    assert len(boxes) == 12 and drawn._repr_svg_() == drawn
    kinds = {re.split(r"[ ;]", str(box.get("aria-label")))[1]: box.get("class") for box in boxes}
    assert (kinds["q"], kinds["input_1"], kinds["p"], kinds["loss"]) == ("input", "input", "operation", "output")
    written = t.dot()
    assert written.startswith("digraph") and written.count(" -> ") == 11
    assert written.count("[label=") == 12


def test_what_was_detached_has_an_edge_that_says_so() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with study.trace() as t:
        y = x * 2
        (y.detach() * y).sum()
    assert 'label="detach"' in t.dot()


def test_hostile_names_are_text() -> None:
    t = hostile_trace()
    for shown in (t._repr_html_(), t.svg()):
        assert "<b " not in shown and "&lt;b " in shown
    assert "\x1b" not in t.svg()
    assert ElementTree.fromstring(t.svg()) is not None
    assert 'label="<b onload=\\"x()\\"' in t.dot()
    assert repr(t.table())


def test_without_rich_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    t, _ = traced_head()
    table = t.table()
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tinytorch\[study\]'"):
        repr(table)
