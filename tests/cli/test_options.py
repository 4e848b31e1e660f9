"""What tyro leaves as long as it is."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pytest

from tinytorch.cli.options import _Folding, parse

WORDS = "a description of many words " * 9


@dataclass(frozen=True)
class Settings:
    __doc__ = f"""{WORDS}

    - a point: {WORDS}
    """

    a_setting_with_a_name: str = "runs/a-folder-that-is-named/at-some-length"
    """What it is for."""

    other_setting_with_a_name: int = 3
    """What it is for."""


@pytest.mark.parametrize("width", [80, 120])
def test_help_fits_and_loses_nothing(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit) as exit_:
        parse(Settings, "python -m program", WORDS, [])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) <= width
    assert WORDS.strip() in " ".join(shown.split())
    assert Settings.a_setting_with_a_name in shown


def test_arguments_give_settings() -> None:
    changed = parse(Settings, "python -m program", WORDS, ["--other-setting-with-a-name=4"])
    assert changed == Settings(other_setting_with_a_name=4)


def test_colours_take_no_room_and_long_words_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    stream = io.StringIO()
    fits, word = "\x1b[1mten of it.\x1b[0m", "/a-path/that/is-longer"
    print(f"{fits}\n- see {word} there\n", file=_Folding(stream))  # type: ignore[arg-type]
    assert stream.getvalue() == f"{fits}\n- see\n  {word}\n  there\n\n"
