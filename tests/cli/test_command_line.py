from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from tinytorch.cli.command_line import INTERRUPTED, exit_code
from tinytorch.cli.errors import UserError
from tinytorch.safetensors import SafetensorError


def failing(error: BaseException) -> int:
    def command() -> int:
        raise error

    return exit_code(command, "gpt")


@pytest.mark.parametrize("code", [0, 1, 130])
def test_a_command_says_how_it_ended(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: code, "gpt") == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("this is wrong: do that"), "this is wrong: do that"),
        (SafetensorError("a.safetensors", "HeaderTooSmall", "3 bytes"), "a.safetensors: HeaderTooSmall: 3 bytes"),
        (OSError(28, "No space left on device", "a/b"), "a/b: No space left on device"),
        (OSError("it broke"), "a file: it broke"),
        (UserError("a name\nof\x1b[2J a file"), r"a name of\x1b[2J a file"),
    ],
)
def test_mistakes_and_what_the_system_refuses_are_one_line(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(error) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_warnings_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        warnings.warn("look here", stacklevel=2)
        return 0

    assert exit_code(command, "lora") == 0
    assert capsys.readouterr() == ("", "warning: look here\n")


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(KeyboardInterrupt()) == INTERRUPTED == 130
    assert capsys.readouterr() == ("", "\ninterrupted\n")


def test_a_module_that_is_missing_is_said_with_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(ModuleNotFoundError("No module named 'tyro'", name="tyro")) == 2
    root = Path(__file__).parents[2]
    assert capsys.readouterr() == ("", f"error: tyro is not installed: pip install -e '{root}[gpt]'\n")
    with pytest.raises(ModuleNotFoundError):
        failing(ModuleNotFoundError("No module named 'gpt.lost'", name="gpt.lost"))


@pytest.mark.parametrize("program", ["gpt", "lora"])
def test_what_the_programs_need_beyond_the_engine_may_be_missing(program: str) -> None:
    """As in an environment where only the engine was installed."""
    missing = ("tyro", "rich", "filelock", "tokenizers", "jinja2", "pooch", "platformdirs", "matplotlib")
    code = f"import sys, runpy; sys.modules.update(dict.fromkeys({missing})); sys.argv = ['x', '--help']\n"
    code += f"runpy.run_module('{program}', run_name='__main__')"
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert re.fullmatch(rf"error: \w+ is not installed: pip install -e '?.*\[{program}\]'?\n", ended.stderr)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_stdout_cannot_encode_is_written_as_its_code(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding))

    def command() -> int:
        print("a\u3042", flush=True)
        return 0

    assert exit_code(command, "gpt") == 0
    assert content.getvalue().splitlines() == [b"a\\u3042"]


def test_ctrl_c_in_the_first_seconds_is_one_word() -> None:
    root = Path(__file__).parents[2]
    for delay in (0.2, 0.5, 0.8):
        process = subprocess.Popen(
            [sys.executable, "-m", "lora", "train", "--help"], cwd=root, stdout=-1, stderr=-1, text=True
        )
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert "Traceback" not in stderr


def test_other_errors_are_ours_and_shown_whole() -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


def test_a_reader_that_has_had_enough(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As `head` has: what is still written goes nowhere, and nothing is wrong."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)

        def command() -> int:
            output.write("text")
            output.flush()
            return 1

        assert exit_code(command, "gpt") == 0
        output.write("more")
    assert capfd.readouterr().err == ""
