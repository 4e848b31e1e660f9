"""Settings of the whole suite: Hypothesis, Matplotlib without a screen, a browser, tests against other projects."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.browser import Browser, Missing, opened
from tinytorch.kernels.threads import set_num_threads

ORACLES = ("torch", "expecttest", "transformers", "peft", "safetensors")

os.environ.setdefault("MPLBACKEND", "Agg")

# The first example may compile a kernel, so no deadline. In CI the same examples every time:
# a failure there is reproduced by running the test again.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """A shell that starts the tests in the background, or nohup, has SIGINT ignored, which programs would inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests of pages; a skipped test where there is none."""
    try:
        with opened() as window:
            yield window
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, which npm gets."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm, to get axe-core")
    command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "axe-core@4"]
    got = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    source = folder / "node_modules" / "axe-core" / "axe.min.js"
    if got.returncode or not source.exists():
        pytest.skip(f"npm cannot get axe-core: {got.stderr.strip()[-200:]}")
    return source.read_text("utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-oracle",
        action="store_true",
        help=f"refuse to start unless {', '.join(ORACLES)} can be imported, so that no comparison is skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--require-oracle"):
        return
    for module in ORACLES:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise pytest.UsageError(f"--require-oracle: {error}; run pip install '.[oracle]'") from error


def pytest_sessionstart(session: pytest.Session) -> None:
    # Where several processes share the cores, each works on one thread; tests of threads choose their own number.
    if os.environ.get("PYTEST_XDIST_WORKER"):
        set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("oracle"):
            missing = [module for module in mark.args or ("torch",) if importlib.util.find_spec(module) is None]
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)}: pip install '.[oracle]'"))
