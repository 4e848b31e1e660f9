"""The README in parts: its beginning is the site's first page, each of its larger sections a page of its own."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

PARTS = ("Quickstart", "The folders")


def pages(readme: str) -> dict[str, str]:
    """The parts by their files: "index.md" and, of each section in PARTS, one that is named after it."""
    found = {}
    rest = []
    for title, section in _sections(readme):
        if title in PARTS:
            found[_file(title)] = _outside_code(section, lambda line: re.sub(r"^#(#+ )", r"\1", line))
        else:
            rest.append(section)
    missing = [part for part in PARTS if _file(part) not in found]
    if missing:
        raise ValueError(f"README.md has no section {', '.join(missing)}: change PARTS in docs/generate/readme.py")
    return {"index.md": "".join(rest), **found}


def redirected(page: str, where: str, readme: str) -> str:
    """A page, at a path in the repository, whose links to README.md lead to the part that has the heading they name."""
    homes = {
        _anchor(title): file for file, text in pages(readme).items() for title in re.findall(r"^#+ (.*)", text, re.M)
    }

    def link(found: re.Match[str]) -> str:
        up, anchor = found[1], found[2] or ""
        if posixpath.normpath(posixpath.join(posixpath.dirname(where), up, "README.md")) != "README.md":
            return found[0]
        return f"]({up}{homes.get(anchor[1:], 'index.md')}{anchor})"

    return re.sub(r"\]\(([^()\s]*?)README\.md(#[\w-]+)?\)", link, page)


def _sections(readme: str) -> list[tuple[str, str]]:
    """The text before the first heading of the second level, without a title, and each of those with its text."""
    marked = _outside_code(readme, lambda line: f"\0{line}" if line.startswith("## ") else line)
    first, *rest = marked.split("\0")
    return [("", first), *[(section.partition("\n")[0].removeprefix("## "), section) for section in rest]]


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with its lines changed, but for those of code."""
    code = False
    lines = []
    for line in text.splitlines(keepends=True):
        code ^= line.startswith("```")
        lines.append(line if code else change(line))
    return "".join(lines)


def _file(title: str) -> str:
    return f"{_anchor(title)}.md"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w-]", "", title.lower().replace(" ", "-"))
