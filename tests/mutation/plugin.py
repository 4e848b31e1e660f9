"""A pytest plugin: records which lines each test runs, or runs given tests in a given order.

TESTS_RECORD names the file to write: {test: [seconds, whether an oracle's, {file: [lines]}]}, of tests that pass.
TESTS_ORDER names a file of one test a line. Lines that run in other processes or in compiled code are not seen; a
test that starts another process is marked by the file "process".
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = str(Path(__file__).parents[2])
SOURCES = tuple(f"{ROOT}{os.sep}{package}{os.sep}" for package in ("tinytorch", "gpt", "lora"))


class Recorder:
    """Lines run, by test. Fixtures' lines count to the first test that asks for them and to all after it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[str, set[int]] = {}
        self.lines_of: dict[Any, set[int]] = {}  # of a function's code
        self.fixtures: dict[str, dict[str, set[int]]] = {}
        self.tests: dict[str, Any] = {}
        self.failed: set[str] = set()

    def _call(self, frame: Any, event: str, argument: Any) -> Any:
        code = frame.f_code
        own = self.lines_of.get(code)
        if own is None:
            # Modules and classes run once, for whichever test is first.
            ours = code.co_filename.startswith(SOURCES) and code.co_flags & inspect.CO_OPTIMIZED
            own = {line for _, _, line in code.co_lines() if line} if ours else set()
            self.lines_of[code] = own
        if not own:
            return None
        lines = self.seen.setdefault(code.co_filename, set())
        if own <= lines:
            return None
        add = lines.add
        add(frame.f_lineno)

        def line(frame: Any, event: str, argument: Any) -> Any:
            add(frame.f_lineno)
            return line

        return line

    def _start(self) -> None:
        threading.settrace(self._call)
        sys.settrace(self._call)

    def _stop(self) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Generator[None, Any, Any]:
        """What a fixture of a session or module runs, each test that uses it runs."""
        outer, self.seen = self.seen, {}
        result = yield
        mine, self.seen = self.seen, outer
        _merge(self.seen, mine)
        if fixturedef.scope != "function":
            _merge(self.fixtures.setdefault(fixturedef.argname, {}), mine)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: Any) -> Generator[None, Any, Any]:
        """One test, with its setting up."""
        self.seen = {}
        started = time.perf_counter()
        self._start()
        result = yield
        self._stop()
        seconds = time.perf_counter() - started
        for name in getattr(item, "fixturenames", ()):
            _merge(self.seen, self.fixtures.get(name, {}))
        lines = {os.path.relpath(name, ROOT): sorted(numbers) for name, numbers in self.seen.items() if numbers}
        self.tests[item.nodeid] = [seconds, item.get_closest_marker("oracle") is not None, lines]
        return result

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test that fails or is skipped tells nothing."""
        if not report.passed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write it all."""
        passed = {test: found for test, found in self.tests.items() if test not in self.failed}
        self.path.write_text(json.dumps(passed))
        for test in sorted(self.failed):
            print(f"\nnot recorded, as it did not pass: {test}")


def _merge(into: dict[str, set[int]], more: dict[str, set[int]]) -> None:
    for name, lines in more.items():
        into.setdefault(name, set()).update(lines)


def _mark_processes(recorder: Recorder) -> None:
    start = subprocess.Popen.__init__

    def init(self: Any, *args: Any, **params: Any) -> None:
        recorder.seen.setdefault(str(Path(ROOT, "process")), set()).add(1)
        start(self, *args, **params)

    subprocess.Popen.__init__ = init  # type: ignore[method-assign]


class Order:
    """Runs the named tests alone, in their order."""

    def __init__(self, tests: list[str]) -> None:
        self.places = {test: place for place, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Sort and drop."""
        chosen = [item for item in items if item.nodeid in self.places]
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in self.places])
        items[:] = sorted(chosen, key=lambda item: self.places[item.nodeid])


def pytest_configure(config: pytest.Config) -> None:
    """Register what the environment asks for."""
    if "TESTS_RECORD" in os.environ:
        recorder = Recorder(Path(os.environ["TESTS_RECORD"]))
        _mark_processes(recorder)
        config.pluginmanager.register(recorder)
    if "TESTS_ORDER" in os.environ:
        config.pluginmanager.register(Order(Path(os.environ["TESTS_ORDER"]).read_text().splitlines()))
