"""Docstrings, which are plain sentences with `code` in them, as Markdown and as reStructuredText.

What would be markup there is escaped. Indented paragraphs, examples and tables are blocks of code; lines that each
begin with "name: " are a list.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable


def as_markdown(text: str) -> str:
    """A docstring, or a part of one, as Markdown."""
    return _converted(text, r"([\\*_\[\]<>|])", "`", lambda block: f"```text\n{block}\n```")


def as_rst(text: str) -> str:
    """A docstring, or a part of one, as reStructuredText."""
    return _converted(text, r"([\\*_|])", "``", lambda block: "::\n\n" + textwrap.indent(block, "    "))


def _converted(text: str, special: str, tick: str, literal: Callable[[str], str]) -> str:
    def escaped(sentences: str) -> str:
        parts = re.split(r"`+([^`]+)`+", sentences)  # every second one is code
        parts[::2] = [re.sub(special, r"\\\1", part) for part in parts[::2]]
        parts[1::2] = [f"{tick}{part}{tick}" for part in parts[1::2]]
        return "".join(parts)

    blocks = []
    for block in re.split(r"\n[ ]*\n", text.strip("\n").rstrip()):
        lines = block.splitlines()
        outer = [line for line in lines if not line.startswith(" ")]
        if outer and len(lines) > 1 and all(re.match(r"\w+: ", line) for line in outer):
            blocks.append(escaped("\n".join([f"{'- ' if line in outer else '  '}{line.strip()}" for line in lines])))
        elif block.startswith((" ", ">>>")) or (len(outer) < len(lines) and not block.startswith("- ")):
            blocks.append(literal(textwrap.dedent(block)))
        else:
            blocks.append(escaped(block))
    return "\n\n".join(blocks)
