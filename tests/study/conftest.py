"""A browser, for the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.study.browser import Browser, Missing, opened


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests; a skipped test where there is none."""
    try:
        with opened() as window:
            yield window
    except Missing as missing:
        pytest.skip(str(missing))
