"""Draws the README's picture of a page: python -m tests.study.picture docs/attention.png"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.browser import opened
from tinytorch.study.page.pages import write_page
from tinytorch.study.subjects import Sizes


def main(out: Path) -> None:
    """Attention's backward through softmax, with one number of it taken apart."""
    with tempfile.TemporaryDirectory() as folder, opened() as browser:
        page = Path(folder) / "attention.html"
        write_page("attention", Sizes(causal=True), page)
        browser.open(page, width=1200, at="#step-5-backward")
        browser.run("document.querySelector('td[data-kind=sent][data-index=\"3,1\"]').focus()")
        browser.run("document.activeElement.blur()")
        browser.driver.save_screenshot(str(out))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
