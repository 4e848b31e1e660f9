"""python -m tinytorch.study exercise: files to fill in, what is told of them, and the progress that is kept."""

from __future__ import annotations

import ast
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch import study
from tinytorch.cli.errors import UserError
from tinytorch.study.__main__ import main
from tinytorch.study.exercises import ORDER, find
from tinytorch.study.practice import running
from tinytorch.study.practice.commands import WAIT
from tinytorch.study.practice.student import Foreign, answered, read, write
from tinytorch.study.practice.trap import X, trap

RIGHT = """
    e = np.exp(x - x.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    return p * (g - (g * p).sum(-1, keepdims=True))
"""
WRONG = RIGHT.replace("(g - (g * p).sum(-1, keepdims=True))", "g")

Exercise = Callable[..., int]


@pytest.fixture
def exercise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exercise:
    """The command, in a folder of its own that keeps the progress, too."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        return main(["exercise", *arguments, "--progress", "progress.json"])

    return run


def fill(body: str, name: str = "softmax", before: str = "") -> None:
    """The file of an exercise with a body in it."""
    signature = find(name).signature
    Path(f"{name}.py").write_text(f"{before}\nimport numpy as np\n\ndef {signature}:{body}", "utf-8")


def kept(path: Path = Path("progress.json")) -> Any:
    """The progress, without what tells a code from another."""
    entries = json.loads(path.read_text())
    assert all(len(entry["last"]) == 16 for entry in entries.values())
    return {name: {"tries": entry["tries"], "passed": entry["passed"]} for name, entry in entries.items()}


def softmax(x: Any, g: Any) -> Any:
    p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    return p * (g - (g * p).sum(-1, keepdims=True))


# ------------------------------------------------------------ the list, and the trap before it


def test_the_trap_is_shown_first_with_numbers_of_now(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    assert exercise() == 0
    shown = capsys.readouterr().out
    assert shown.startswith(trap()) and "return 0 * x" in shown
    rows = [[float(n) for n in re.findall(r"-?\d\.\d{4}", line)] for line in trap().splitlines()]
    numbers = np.array([row for row in rows if len(row) == 3])
    ones, of_ones, zeros, g, right, _ = numbers.reshape(6, 2, 3)
    x = np.array(X)
    assert (ones == 1).all() and (zeros == 0).all()
    assert (of_ones == 0).all() and np.abs(softmax(x, ones)).max() < 1e-15  # so that zeros pass
    np.testing.assert_allclose(right, softmax(x, g), atol=5.1e-5)
    off = np.abs(softmax(x, g)).max()
    assert "off by nothing: it passes" in shown and f"off by up to {off:.4f}: it is found out" in shown
    assert max(map(len, shown.splitlines())) <= 88


def test_the_list_shows_the_order_the_progress_and_what_is_next(
    exercise: Exercise, capsys: pytest.CaptureFixture[str]
) -> None:
    exercise()
    shown = capsys.readouterr().out
    places = [shown.index(f" {name} ") for name in ORDER]
    assert places == sorted(places) and len(ORDER) == 20
    assert shown.endswith("0 of 20 passed. Next: python -m tinytorch.study exercise add\n")
    before = {"add": {"tries": 0, "passed": True}, "mul": {"tries": 2, "passed": True}}
    before["matmul"] = {"tries": 1, "passed": False}
    Path("progress.json").write_text(json.dumps(before))
    exercise()
    shown = capsys.readouterr().out
    for name, so_far in (("add", "passed"), ("mul", "passed, 2 wrong tries"), ("matmul", "1 wrong try")):
        assert re.search(rf"{name} .* {so_far} *\n", shown), name
    assert shown.endswith("2 of 20 passed. Next: python -m tinytorch.study exercise matmul\n")
    Path("progress.json").write_text(json.dumps({name: {"tries": 0, "passed": True} for name in ORDER}))
    exercise()
    assert capsys.readouterr().out.endswith("20 of 20 passed. That is all of them.\n")


# ------------------------------------------------------------ the file to fill in


def test_a_file_is_written_and_never_overwritten(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    assert exercise("softmax") == 0
    assert "Written to softmax.py" in capsys.readouterr().out
    Path("softmax.py").write_text("mine\n")
    assert exercise("softmax") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: softmax.py is there already, and is left as it is") and error.count("\n") == 1
    assert Path("softmax.py").read_text() == "mine\n"


@pytest.mark.parametrize("name", ORDER)
def test_what_is_written_says_what_to_do_and_fails_as_unwritten(name: str, tmp_path: Path) -> None:
    exercise = find(name)
    path = tmp_path / f"{name}.py"
    path.write_text(exercise.file(), "utf-8")
    tree = ast.parse(exercise.file())
    text = ast.get_docstring(tree) or ""
    assert text.startswith(f"{exercise.title}\n\n{exercise.text}") and f"exercise check {name}.py" in text
    assert max(map(len, exercise.file().splitlines())) <= 88
    found = answered(path, exercise.function, [dict(question.arguments) for question in exercise.questions()])
    last = len(exercise.file().splitlines())
    assert found["unwritten"] and f"{name}.py, line {last}: raise NotImpl" in found["error"]


def test_a_file_with_nothing_in_it_is_no_try(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    exercise("softmax")
    capsys.readouterr()
    assert exercise("check", "softmax.py") == 1
    assert capsys.readouterr().out.startswith("softmax: nothing is written yet. softmax.py, line 14: raise NotImpl")
    assert not Path("progress.json").exists()


# ------------------------------------------------------------ checks, from try to try


def test_what_is_told_becomes_more_precise_and_the_answer_comes_last(
    exercise: Exercise, capsys: pytest.CaptureFixture[str]
) -> None:
    mistake, derivation = "the path through the denominators of the row is left out", "dL/dx_j = sum_i g_i y_i"
    told = []
    for number in (1, 2, 3):
        assert exercise("softmax", "--solution") == 2
        left = f"{4 - number} more tr{'ies' if number < 3 else 'y'}"
        assert capsys.readouterr().err.endswith(f" of softmax is shown when it is passed, or after {left}\n")
        fill(WRONG.replace("p * g", f"{number} * p * g / {number}"))
        assert exercise("check", "softmax.py") == 1
        told.append(capsys.readouterr().out)
        assert told[-1].startswith(f"softmax: wrong, try {number}\n")
        worst = r"dx\[\d,\d\] is -?[\d.]+ and should be -?[\d.]+, off by [\d.]+: the worst of 35 that are wrong, of 35"
        assert re.search(worst, told[-1])
    assert [mistake in text for text in told] == [False, True, True]
    assert [derivation in text for text in told] == ["--solution" in text for text in told] == [False, False, True]
    assert "hint: count the ways in which x goes into the result" in told[0]
    assert exercise("softmax", "--solution") == 0
    shown = capsys.readouterr().out
    assert "class Softmax(Function)" in shown and "return y * (g - (g * y).sum(dim, keepdim=True))" in shown
    fill(RIGHT)
    assert exercise("check", "softmax.py") == 0
    assert capsys.readouterr().out.startswith("softmax: right, after 3 wrong tries.\n")
    assert kept() == {"softmax": {"tries": 3, "passed": True}}


def test_the_same_code_once_more_is_no_new_try(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    fill(WRONG)
    exercise("check", "softmax.py")
    first = capsys.readouterr().out
    for content in (WRONG, WRONG, WRONG.replace("p * g", "p*g  # of course"), "\n    # now" + WRONG):
        fill(content)
        assert exercise("check", "softmax.py") == 1
        again = capsys.readouterr().out
        assert again.startswith("softmax: wrong, try 1, still: the code is the same as before, which is no new try\n")
        assert again.splitlines()[1:] == first.splitlines()[1:]
    assert kept() == {"softmax": {"tries": 1, "passed": False}}
    assert exercise("softmax", "--solution") == 2
    fill(WRONG.replace("p * g", "g * p"))
    exercise("check", "softmax.py")
    assert capsys.readouterr().out.startswith("softmax: wrong, try 2\n")
    fill(WRONG)  # the one before the last: another one
    exercise("check", "softmax.py")
    assert capsys.readouterr().out.startswith("softmax: wrong, try 3\n")


def test_the_same_function_once_more_is_no_new_try(tmp_path: Path) -> None:
    task = study.exercise("softmax", progress=tmp_path / "progress.json")

    def backward(x: Any, g: Any) -> Any:
        return g * softmax(x, g)

    for _ in range(3):
        assert task.check(backward).text.startswith("softmax: wrong, try 1")
    unknown = eval("lambda x, g: g")
    assert [task.check(unknown).text[:22] for _ in range(2)] == ["softmax: wrong, try 2\n", "softmax: wrong, try 3\n"]


def test_progress_of_before_is_read(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    Path("progress.json").write_text('{"softmax": {"tries": 2, "passed": false}}')
    fill(WRONG)
    exercise("check", "softmax.py")
    assert capsys.readouterr().out.startswith("softmax: wrong, try 3\n")


def test_right_at_once_and_then_wrong_again_stays_passed(
    exercise: Exercise, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(RIGHT)
    assert exercise("check", "softmax.py") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("softmax: right, at the first try.\n")
    assert shown.endswith("\n1 of 20 passed. Next: python -m tinytorch.study exercise add\n")
    assert exercise("softmax", "--solution") == 0
    fill(WRONG)
    assert exercise("check", "softmax.py") == 1
    assert kept() == {"softmax": {"tries": 1, "passed": True}}


def test_the_worst_element_is_the_worst_and_where_progress_cannot_be_kept_it_says_so(tmp_path: Path) -> None:
    x, g = find("softmax").questions()[0].arguments.values()
    right = softmax(x, g)

    def nearly(x: Any, g: Any) -> Any:
        dx = softmax(x, g)
        dx[1, 2] += 0.5
        dx[3, 0] -= 0.25
        return dx

    task = study.exercise("softmax", progress=tmp_path / "file" / "all.json")
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="the progress is not kept: .*all.json"):
        text = task.check(nearly).text
    assert f"dx[1,2] is {right[1, 2] + 0.5:.6g} and should be {right[1, 2]:.6g}, off by 0.5: the worst of 2" in text


def test_an_answer_must_be_right_for_every_size(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    (rows, columns) = find("softmax").questions()[0].arguments["x"].shape
    fill(RIGHT.replace("    return ", f"    if x.shape != ({rows}, {columns}): return 2 * x\n    return "))
    assert exercise("check", "softmax.py") == 1
    assert "softmax: wrong, try 1" in capsys.readouterr().out


def test_watching_checks_at_each_save_until_it_is_right(
    exercise: Exercise, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(WRONG)

    checked = []

    def run_file(*arguments: Any) -> Any:
        checked.append(arguments)
        if len(checked) == 1:
            threading.Timer(3 * WAIT, fill, (RIGHT,)).start()
        return running.run_file(*arguments)

    monkeypatch.setattr("tinytorch.study.practice.task.run_file", run_file)
    assert exercise("check", "softmax.py", "--watch") == 0
    shown = capsys.readouterr().out
    first, second = shown.index("softmax: wrong, try 1"), shown.index("softmax: right, after 1 wrong try.")
    assert len(checked) == 2 and first < second


def test_watching_waits_for_a_file_that_is_gone_and_counts_what_is_saved_unchanged_once(
    exercise: Exercise, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(WRONG)
    told: list[str] = []

    def act() -> None:
        def wait_for(text: str) -> None:
            while text not in "".join(told):
                told.append(capsys.readouterr().out)
                time.sleep(WAIT / 4)
            told.append("|")

        wait_for("softmax: wrong, try 1\n")
        fill(WRONG)
        wait_for("still: the code is the same")
        Path("softmax.py").unlink()
        wait_for("-- there is no file softmax.py any more: waiting for it; Ctrl-C ends")
        fill(RIGHT)

    thread = threading.Thread(target=act)
    thread.start()
    assert exercise("check", "softmax.py", "--watch") == 0
    thread.join()
    assert "softmax: right, after 1 wrong try." in "".join(told) + capsys.readouterr().out


# ------------------------------------------------------------ what is no answer


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda x, g: None, "backward returns None: it should end with `return dx`"),
        (lambda x, g: x.tolist(), "dx is a list, expected a NumPy array of shape (5, 7)"),
        (lambda x, g: torch.tensor(x), "dx is a Tensor, expected a NumPy array of shape (5, 7)"),
        (lambda x, g: "dx", "dx is a str, expected a NumPy array"),
        (lambda x, g: (x, g), "backward returns 2 values, expected dx"),
        (lambda x, g: softmax(x, g).astype(np.float32), "dx has the dtype float32, expected float64"),
        (lambda x, g: np.zeros(x.shape, int), "dx has the dtype int64, expected float64"),
        (lambda x, g: x > 0, "dx has the dtype bool, expected float64"),
        (lambda x, g: np.array([None]), "dx has the dtype object, expected float64"),
        (lambda x, g: np.add(x, 1, out=x), "backward changes what it is given, x: work on a copy"),
    ],
)
def test_what_is_no_array_is_told_and_no_try(answer: Any, says: str, tmp_path: Path) -> None:
    report = study.exercise("softmax", progress=tmp_path / "progress.json").check(answer)
    assert not report.ok and f"softmax: {says}" in report.text
    assert not (tmp_path / "progress.json").exists()


@pytest.mark.parametrize(
    ("name", "answer", "says"),
    [
        ("softmax", lambda x, g: softmax(x, g)[:, 0], "dx has the wrong shape: it is (5,), expected (5, 7)"),
        ("softmax", lambda x, g: np.full(x.shape, np.nan), "dx[0,0] is nan: 35 of 35 numbers are not finite"),
        ("softmax", lambda x, g: softmax(x, g) / 0.0 * (x > 9), "are not finite"),
        ("softmax", lambda x, g: softmax(x, g)[..., None], "dx has the wrong shape: it is (5, 7, 1), expected "),
        ("mul", lambda a, b, g: (g * b,), "backward returns one value, expected 2 arrays, da, db"),
        ("mul", lambda a, b, g: g * b, "backward returns one value, expected 2 arrays, da, db"),
        ("mul", lambda a, b, g: (g * b, None), "db is None, expected a NumPy array"),
        ("topological_order", lambda graph, root: None, "order returns None, expected a list of the nodes' names"),
        ("topological_order", lambda graph, root: [3], "there is 3 in the order, which is no node of the graph"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_shapes_and_numbers_that_are_none(name: str, answer: Any, says: str, tmp_path: Path) -> None:
    report = study.exercise(name, progress=tmp_path / "progress.json").check(answer)
    assert not report.ok and says in report.text


def test_what_goes_between_the_processes_comes_back_as_it_was(tmp_path: Path) -> None:
    value = [np.arange(6.0).reshape(2, 3), np.float32(1.5), None, True, 3, "a", ({"b": [1.5]}, np.array(2))]
    write(tmp_path, "there", [*value, object(), np.array([None]), slice(3)])
    back = read(tmp_path, "there")
    assert repr(back[1:7]) == repr([np.array(1.5, np.float32), *value[2:]]) and (back[0] == value[0]).all()
    assert [type(part) for part in back[7:]] == [Foreign] * 3
    assert [part.what for part in back[7:]] == ["an object", "an array of dtype object and shape (1,)", "a slice"]


# ------------------------------------------------------------ files that do what they should not


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("def backward(x, g)\n    return x\n", "softmax.py, line 1: def backward(x, g)\n  SyntaxError: expected ':'"),
        ("\n\nnope\n", "softmax.py, line 3: nope\n  NameError: name 'nope' is not defined"),
        ("def backward(x, g):\n    return x / z\n", "softmax.py, line 2: return x / z\n  NameError: name 'z'"),
        ("def backward(x):\n    return x\n", "TypeError: backward() takes 1 positional argument but 2 were given"),
        ("def backward(x, g):\n    return x.dot(g)\n", "line 2: return x.dot(g)\n  ValueError: shapes (5,7) and (5,7)"),
        ("import sys\nsys.exit()\n", "softmax.py, line 2: sys.exit()\n  SystemExit"),
        ("import os\nos._exit(7)\n", "its process ended with the exit code 7 before the function had returned"),
        ("def backward(x, g):\n    return backward(x, g)\n", "RecursionError"),
        ("def backward(x, g):\n    return input()\n", "line 2: return input()\n  EOFError"),
        ("def forward(x):\n    return x\n", "softmax.py defines no function 'backward'"),
        ("raise KeyboardInterrupt\n", "line 1: raise KeyboardInterrupt\n  KeyboardInterrupt"),
        ("raise ValueError('a' * 10**6)\n", "ValueError: aaa"),
        ("import no_such_module_at_all\n", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("\0", "softmax"),
        ("def backward(x, g):\n    y = []\n    y.append(y)\n    return y\n", "dx is a list, expected a NumPy array"),
    ],
)
def test_what_a_file_raises_is_told_with_its_line(
    content: str, says: str, exercise: Exercise, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("softmax.py").write_text(content)
    assert exercise("check", "softmax.py") == 1
    shown = capsys.readouterr().out
    assert shown.startswith("softmax: ") and says in shown and len(shown) < 1000
    assert not Path("progress.json").exists() and not Path("__pycache__").exists()


def test_a_walk_by_recursion_is_told_so(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    body = """
    done = []
    def visit(name):
        if name not in done:
            for below in inputs_of[name]:
                visit(below)
            done.append(name)
    visit(root)
    return done[::-1]
"""
    fill(body, "topological_order")
    assert exercise("check", "topological_order.py") == 1
    assert "visit(below)\n  RecursionError: maximum recursion depth exceeded" in capsys.readouterr().out


def test_a_file_that_is_no_text(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    Path("softmax.py").write_bytes(b"x = '\xff\xfe'\n")
    assert exercise("check", "softmax.py") == 1
    assert "SyntaxError" in capsys.readouterr().out


@pytest.mark.parametrize("loop", ["while True: pass", "while True: print('a' * 1000)"])
def test_a_loop_without_an_end_is_ended(
    loop: str, exercise: Exercise, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SECONDS", 1.5)
    fill(f"\n    {loop}\n")
    assert exercise("check", "softmax.py") == 1
    shown = capsys.readouterr().out
    assert "softmax: it has not ended within 1.5 seconds: is there a loop without an end?" in shown
    assert len(shown) < 2 * running.PRINTED


def test_what_is_printed_is_shown_but_not_all_of_it(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    fill("\n    print('here')" + RIGHT)
    assert exercise("check", "softmax.py") == 0
    assert capsys.readouterr().out.startswith("printed:\n    here\n    here\n    here\nsoftmax: right")
    fill("\n    print('line\\n' * 10**6)" + RIGHT)
    assert exercise("check", "softmax.py") == 0
    shown = capsys.readouterr().out
    assert "    ... and more\nsoftmax: right" in shown and len(shown) < 3 * running.PRINTED


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the memory of a process is not limited")
def test_a_file_cannot_fill_the_memory(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    fill("\n    many = b'a' * (1 << 34)\n")
    assert exercise("check", "softmax.py") == 1
    assert "many = b'a' * (1 << 34)\n  MemoryError" in capsys.readouterr().out


def test_a_file_may_import_what_lies_beside_it(exercise: Exercise) -> None:
    Path("helpers.py").write_text("import numpy as np\n")
    fill(RIGHT, before="from helpers import np as also")
    assert exercise("check", "softmax.py") == 0


# ------------------------------------------------------------ what is asked wrongly


def test_mistakes_are_one_line(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.py").write_text("")
    for arguments, says in (
        (("nothing",), "there is no exercise 'nothing': take one of add, mul, "),
        (("check", "softmax.py"), "there is no file softmax.py"),
        (("check", "other.py"), "other.py is checked as the exercise of its name, and there is no exercise 'other'"),
        (("Softmax",), "there is no exercise 'Softmax': did you mean softmax? There are add, mul, "),
        (("softmax.py",), "there is no exercise 'softmax.py': did you mean softmax? There are"),
        (("layer_norm",), "did you mean layernorm?"),
        (("check",), "which file is to be checked?"),
        (("softmax", "gelu"), "expected nothing, NAME or check FILE, not 'softmax gelu'"),
        (("softmax", "--watch"), "--watch goes with check FILE"),
        (("--solution",), "--solution goes with the NAME of an exercise"),
        (("--folder", "nowhere"), "nowhere is no folder of exercises"),
    ):
        assert exercise(*arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and says in error and error.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["other.py"]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"softmax": 3}',
        '{"softmax": {"tries": "3", "passed": true}}',
        "\0",
        '{"softmax": {"tries": 3, "passed": true, "last": 3}}',
    ],
)
def test_a_damaged_file_of_progress_is_left_as_it_is(
    content: str, exercise: Exercise, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("progress.json").write_text(content)
    fill(RIGHT)
    for arguments in ((), ("check", "softmax.py"), ("softmax", "--solution")):
        assert exercise(*arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and "progress.json" in error and error.count("\n") == 1
    assert Path("progress.json").read_text() == content


def test_the_progress_is_kept_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    platformdirs = pytest.importorskip("platformdirs")
    monkeypatch.setattr(platformdirs, "user_data_path", lambda name: tmp_path / name)
    assert study.exercise("softmax").check(softmax).ok
    assert kept(tmp_path / "tinytorch" / "exercises.json") == {"softmax": {"tries": 0, "passed": True}}
    assert main(["exercise"]) == 0
    assert "1 of 20 passed" in capsys.readouterr().out


# ------------------------------------------------------------ in a notebook, and a teacher's own


def test_a_cell_of_a_notebook(tmp_path: Path) -> None:
    task = study.exercise("softmax", progress=tmp_path / "progress.json")
    assert repr(task).startswith("Softmax of each row\n\nForward: ") and repr(task).endswith("def backward(x, g): ...")
    report = task.check(lambda x, g: -softmax(x, g))
    assert not report.ok and repr(report).startswith("softmax: wrong, try 1\n")
    html = report._repr_html_()
    assert html.startswith("<pre style=") and "monospace" in html and html.endswith(f">{report.text}</pre>")
    assert "hint: look at the signs" in report.text
    assert "hint: the sign is wrong everywhere" in task.check(lambda x, g: -softmax(x, g)).text
    with pytest.raises(UserError, match="or after 1 more try"):
        task.solution()
    right = task.check(softmax)
    assert right.ok and "class Softmax" in task.solution()
    shown = re.search(r"own code: print\((.*)\)$", right.text)
    assert shown is not None and eval(shown[1]) == task.solution()  # as a cell can be pasted, not a shell's command
    with pytest.raises(TypeError, match=r"check takes a function, backward\(x, g\), not ndarray"):
        task.check(np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        task.check(lambda x, g: 1 / 0)


PAGE = Path(__file__).parents[2] / "docs" / "exercises.md"


def test_the_exercise_of_the_page_is_one(exercise: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    (content,) = re.findall(r"^```python\n(\"\"\".*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    Path("mine").mkdir()
    Path("mine/swish.py").write_text(content)
    assert exercise("--folder", "mine") == 0
    assert re.search(r"21 +swish +Swish", capsys.readouterr().out)
    assert exercise("swish", "--folder", "mine") == 0
    assert "def backward(x, g):" in Path("swish.py").read_text()
    check = "Check it with: python -m tinytorch.study exercise check swish.py --folder mine\n"  # which does it
    assert check in Path("swish.py").read_text() and capsys.readouterr().out.endswith(check)
    for wrong in ("g / (1 + np.exp(-x))", "1 / (1 + np.exp(-x)) * g"):
        Path("swish.py").write_text(f"import numpy as np\ndef backward(x, g):\n    return {wrong}\n")
        assert exercise("check", "swish.py", "--folder", "mine") == 1
    assert "hint: the path through the sigmoid is left out" in capsys.readouterr().out
    right = "s = 1 / (1 + np.exp(-x))\n    return g * (s + x * s * (1 - s))"
    Path("swish.py").write_text(f"import numpy as np\ndef backward(x, g):\n    {right}\n")
    assert exercise("check", "swish.py", "--folder", "mine") == 0
    shown = capsys.readouterr().out
    assert "code: python -m tinytorch.study exercise swish --solution --folder mine\n" in shown
    assert shown.endswith("1 of 21 passed. Next: python -m tinytorch.study exercise add --folder mine\n")
    assert exercise("swish", "--solution", "--folder", "mine") == 0
    assert "class Silu" in capsys.readouterr().out


def test_a_formula_with_backslashes_comes_to_the_student_as_it_is(exercise: Exercise) -> None:
    (content,) = re.findall(r"^```python\n(\"\"\".*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    Path("mine").mkdir()
    Path("mine/swish.py").write_text("r" + content.replace("Forward: y = ", r"Forward, \nabla \frac{1}{2}: y = "))
    assert exercise("swish", "--folder", "mine") == 0
    assert r"\nabla \frac{1}{2}" in (ast.get_docstring(ast.parse(Path("swish.py").read_text())) or "")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("own", "EXERCISE = 3\n", "it needs a docstring, of a title and a text below it, and EXERCISE = Exercise(...)"),
        ("check", "", "mine/check.py: the name check is taken already; rename the file"),
        ("own", "def f(:\n", "SyntaxError"),
        ("softmax", "", "mine/softmax.py: the name softmax is taken already; rename the file"),
        (
            "own",
            '"""Title\n\nText"""\nfrom tinytorch.study.exercises import *\nimport numpy as np\n'
            "def question(rng):\n    known = {'y': Candidates(unsummed=np.ones(4))}\n"
            "    return Question({'x': 1.0}, {'y': np.ones(3)}, known)\n"
            "EXERCISE = Exercise(question, 'look', [])\n",
            "no sum or mean of the unsummed array gives the expected one",
        ),
        (
            "own",
            '"""Title\n\nText"""\nfrom tinytorch.study.exercises import *\nimport numpy as np\n'
            "def question(rng):\n    return Question({'x': 1.0}, {'y': np.zeros(3)})\n"
            "EXERCISE = Exercise(question, 'look', [])\n",
            "the right y is 0 everywhere, or not finite: it tells nothing",
        ),
    ],
)
def test_a_teachers_file_that_is_no_exercise_is_named(
    name: str, content: str, says: str, exercise: Exercise, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine").mkdir()
    Path(f"mine/{name}.py").write_text(content)
    assert exercise("--folder", "mine") == 2
    error = capsys.readouterr().err
    assert says in error and f"mine/{name}.py" in error and error.count("\n") == 1
