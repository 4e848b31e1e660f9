"""Data inside an HTML page."""

from __future__ import annotations

import json
from typing import Any


def embedded(data: Any) -> str:
    """JSON that can stand inside a <script> element, whatever strings are in it."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
