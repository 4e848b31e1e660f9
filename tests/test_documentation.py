"""Every Python example in the pages of the project runs, and prints what it says; links and commands exist."""

from __future__ import annotations

import doctest
import importlib
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.filterwarnings("ignore:Error detected in")  # one page lets anomaly detection find an error
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's examples share their names, as a reader's session would."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)):
        if ">>>" in block:
            report: list[str] = []
            test = doctest.DocTestParser().get_doctest(block, names, f"{page.name}, example {number + 1}", None, None)
            result = doctest.DocTestRunner().run(test, out=report.append, clear_globs=False)
            assert result.failed == 0, "".join(report)
            names.update(test.globs)
        else:
            exec(compile(block, f"{page.name}, example {number + 1}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_commands_exist_with_the_options_that_pages_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Of gpt and lora; the Makefile prints commands too."""
    named = defaultdict(set)
    for page in [*PAGES, ROOT / "data" / "README.md", ROOT / "bench" / "README.md", ROOT / "Makefile"]:
        for program, command, rest in re.findall(
            r"python -m (gpt|lora) ([a-z]+)([^\n`#]*)", page.read_text(encoding="utf-8")
        ):
            named[program, command] |= set(re.findall(r"(?<= )--[a-z-]+", rest))
    assert len(named) > 10
    for (program, command), options in named.items():
        with pytest.raises(SystemExit) as exit_:
            importlib.import_module(f"{program}.__main__").main([command, "--help"])
        shown = capsys.readouterr().out
        assert exit_.value.code == 0 and f"python -m {program} {command} " in shown
        assert options - {"--help"} <= set(re.findall(r"--[a-z0-9-]+", shown)), (program, command)

