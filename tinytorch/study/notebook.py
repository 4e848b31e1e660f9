"""How a notebook shows what is text in the terminal."""

from __future__ import annotations

import html


def preformatted(text: str) -> str:
    """The text as HTML, in letters of one width: what nbconvert makes of a plain <pre> has others."""
    return f'<pre style="font-family: var(--jp-code-font-family, monospace)">{html.escape(text)}</pre>'
