"""Every link of the built pages: one within the site leads somewhere, and nothing that a page needs is elsewhere."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The anchors of a page, the links in it, and the addresses of what a browser gets by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = {"", "top"}
        self.links: list[str] = []
        self.needed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and "href" in found and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.needed.append(found["href"])
        elif "src" in found:
            self.needed.append(found["src"])


@cache
def _read(path: Path) -> _Page:
    return _Page(path.read_text("utf-8"))


def faults(site: Path) -> list[str]:
    """What is wrong with the links of a folder of pages, each with its page. Other hosts are not asked."""
    found = []
    for path in sorted(site.rglob("*.html")):
        page = _read(path)
        where = path.relative_to(site)
        for link in [*page.links, *page.needed]:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                if link in page.needed and address.scheme != "data":
                    found.append(f"{where}: needs {link}, which is on another host")
                elif address.scheme in ("http", "https") and "." not in address.netloc:
                    found.append(f"{where}: {link} is no address")
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{where}: {link} leads nowhere")
            elif target.suffix == ".html" and unquote(address.fragment) not in _read(target).anchors:
                found.append(f"{where}: {link}: that page has no such anchor")
    return found
