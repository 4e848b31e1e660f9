"""python -m tinytorch.study: for people who do not want to write a line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tinytorch.study.__main__ import main
from tinytorch.study.subjects import SUBJECTS, Sizes, trace_of


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("causal", [True, False])
def test_every_subject_is_right(subject: str, causal: bool) -> None:
    for unfold in (True, False):
        t = trace_of(subject, Sizes(T=3, D=4, causal=causal, unfold=unfold))
        assert t["loss"].gradient is not None and t["loss"].gradient.given
        found = t.check(most=5)
        assert found.ok and not [row for row in found.rows if row.status == "cannot"], found
        assert t.svg() and t.table().rows


def test_subjects_are_named_as_a_user_would() -> None:
    names = {value.name for value in trace_of("block", Sizes()).values}
    assert {"q", "k", "v", "x", "middle", "out", "loss", "ln_1.weight", "mlp.0.weight", "attention_1.p"} <= names
    line = trace_of("attention", Sizes(causal=True))["masked"].step.line
    assert line.source.startswith("masked = scores.masked_fill")


def test_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "attention", "dq[1,0]", "--T", "4", "--D", "3", "--causal", "--seed", "0"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("dL/dq[1,0] = ") and "sum of 4 terms" in printed
    assert main(["why", "attention", "p[2,1]", "--forward", "--depth", "2"]) == 0
    assert capsys.readouterr().out.startswith("p[2,1] = ")
    assert main(["why", "lora", "dA[0,0]", "--depth", "3"]) == 0
    assert capsys.readouterr().out.startswith("dL/dA[0,0] = 0\n")


def test_table_check_and_pictures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["table", "softmax"]) == 0
    assert "softmax(x)" in capsys.readouterr().out
    assert main(["check", "linear", "--no-unfold"]) == 0
    assert "6 ok" in capsys.readouterr().out
    assert main(["svg", "gelu"]) == 0
    assert capsys.readouterr().out.startswith("<svg")
    assert main(["svg", "gelu", "--out", str(tmp_path / "a.svg")]) == 0
    assert (tmp_path / "a.svg").read_text("utf-8").startswith("<svg")
    assert main(["dot", "gelu", "--out", str(tmp_path / "a.dot")]) == 0
    assert (tmp_path / "a.dot").read_text("utf-8").startswith("digraph")


def test_the_help_names_what_to_give(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["why", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "SUBJECT [NUMBER] Take one number apart" in shown and " STR" not in shown
    assert f"{', '.join(SUBJECTS)}, or MODULE:FUNCTION, which is yours," in shown


OWN = '''
import tinytorch as torch
from tinytorch import nn, study

model = nn.Sequential(nn.Linear(2, 3), nn.Tanh())

class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 3

def loss():
    x = torch.ones(4, 2)
    y = model(x)
    return y.square().mean()

def wrong():
    x = torch.ones(4, requires_grad=True)
    return Wrong.apply(x).sum()

def nothing():
    return 3
'''


def test_functions_of_the_users(tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own_module_of_a_test.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["why", "own_module_of_a_test:loss", "d0.weight[1,0]"]) == 0
    assert capsys.readouterr().out.startswith("dL/dmodel.0.weight[1,0] = ")
    assert main(["check", "own_module_of_a_test:wrong"]) == 1
    assert "wrong  x" in capsys.readouterr().out
    for subject, says in (
        ("own_module_of_a_test:nothing", "must return the Tensor to go backward from, not int"),
        ("own_module_of_a_test:other", "has no function 'other'"),
        ("no_such_module_at_all:f", "there is no module 'no_such_module_at_all' here"),
    ):
        assert main(["table", subject]) == 2
        assert says in capsys.readouterr().err


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, says in (
        (["why", "attention", "dq[9,9]"], "names no one element of q"),
        (["why", "attention", "dz[0]"], "holds no 'dz'"),
        (["table", "nothing"], "no subject 'nothing': take one of attention"),
        (["table", "softmax", "--T", "0"], "T and D must be at least 1, got 0 and 3"),
        (["svg", "softmax", "--out", "/nowhere/a.svg"], "/nowhere"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and says in error and error.count("\n") == 1




def test_without_tyro_it_says_what_to_install(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "tinytorch.study.commands", raising=False)
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert main(["why"]) == 2
    assert re.search(r"error: tyro is not installed: pip install .*\[study\]", capsys.readouterr().err)


def test_tinytorch_needs_neither_the_study_nor_what_that_needs() -> None:
    code = (
        "import sys, tinytorch; assert 'tinytorch.study' not in sys.modules\n"
        "from tinytorch import study; assert not {'rich', 'tyro', 'tinytorch.study.commands'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
