"""What self-contained HTML pages have in common: their styles, and data inside of them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def embedded(data: Any) -> str:
    """JSON that can stand inside a <script> element, whatever strings are in it."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def styled(own: str) -> str:
    """The styles of a page: those that all pages share, then its own."""
    return f"{files(__package__).joinpath('page.css').read_text('utf-8')}\n{own}"
