"""Characters as they are shown, each in a place of its own: a space and a line feed must be seen, too."""

from __future__ import annotations

_MARKS = {" ": ("␣", "space"), "\n": ("↵", "line feed"), "\t": ("⇥", "tab")}


def mark(character: str) -> str:
    """What stands for a character."""
    return _MARKS[character][0] if character in _MARKS else _visible(character)


def spoken(character: str) -> str:
    """What a screen reader says."""
    return _MARKS[character][1] if character in _MARKS else _visible(character)


def _visible(character: str) -> str:
    return character if character.isprintable() and not character.isspace() else f"U+{ord(character):04X}"
