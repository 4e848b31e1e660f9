"""The site in Chromium, after `make docs`: from the disk, without a network, in the light and in the dark."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

SITE = Path(__file__).parents[2] / "docs" / "site"
PAGES = ("index.html", "operations/softmax/Softmax.html", "operations/index.html", "api/tinytorch.nn.functional.html",
         "api/gpt-help.html", "docs/by-hand.html", "study-pages.html")  # fmt: skip

pytestmark = [
    pytest.mark.slow,  # the site must have been built
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="needs the site: make docs"),
]


def pages() -> list[str]:
    """Those above, and the notebooks."""
    return [*PAGES, *[str(path.relative_to(SITE)) for path in sorted(SITE.glob("docs/notebooks/**/*.html"))]]


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_and_complain_of_nothing(browser: Any, width: int, dark: bool) -> None:
    for page in pages():
        browser.open(SITE / page, width=width, dark=dark)
        assert browser.run("return document.documentElement.scrollWidth") <= width, page
        assert browser.errors() == [], page
        assert [url for url in browser.requests() if not url.startswith("data:")] == [], page


def test_the_search_finds(browser: Any) -> None:
    browser.open(SITE / "search.html", at="?q=layernorm")
    found: list[str] = []
    limit = time.monotonic() + 60
    while "LayerNorm.html" not in " ".join(found) and time.monotonic() < limit:
        time.sleep(0.1)
        found = browser.run("return [...document.querySelectorAll('#search-results a')].map((a) => a.href)")
    assert any("operations/normalization/LayerNorm.html" in link for link in found), found
    assert browser.errors() == []
