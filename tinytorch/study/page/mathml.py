"""Formulas as MathML, from a few words of TeX: sub- and superscripts, groups, \\frac, \\sqrt, \\sum and the like."""

from __future__ import annotations

import re
from html import escape

FUNCTIONS = frozenset({"ln", "erf", "sin", "cos", "tanh", "mean"})
WORDS = frozenset({*FUNCTIONS, "if", "else", "where", "rows"})
_SPACE = "\u00a0"  # others are left out at the ends of a text
_SYMBOLS = {"sum": "∑", "max": "max", "prod": "∏"}
_TOKEN = re.compile(r"\\[a-z]+|[A-Za-z]+|\d+(?:\.\d+)?|\S")


def mathml(text: str) -> str:
    """The formula as a <math> element, in a box of its own. ValueError where a brace is missing."""
    tokens = [part for token in _TOKEN.findall(text) for part in _letters(token)]
    row, rest = _row(tokens, 0)
    if rest != len(tokens):
        raise ValueError(f"there is a brace too many in the formula {text!r}")
    return f'<div class="math"><math display="block">{"".join(row)}</math></div>'


def _letters(token: str) -> list[str]:
    """Letters are variables, each by itself, unless they are a word."""
    return list(token) if token.isalpha() and token.isascii() and token not in WORDS else [token]


def _row(tokens: list[str], at: int) -> tuple[list[str], int]:
    """The elements up to the brace that closes, or to the end."""
    row: list[str] = []
    while at < len(tokens) and tokens[at] != "}":
        item, at = _atom(tokens, at)
        big = item.startswith('<mo movablelimits="false"')
        scripts = {}
        while at < len(tokens) and tokens[at] in "_^":
            scripts[tokens[at]], at = _atom(tokens, at + 1)
        if scripts:
            below, above, both = ("munder", "mover", "munderover") if big else ("msub", "msup", "msubsup")
            tag = both if len(scripts) == 2 else below if "_" in scripts else above
            item = f"<{tag}>{item}{scripts.get('_', '')}{scripts.get('^', '')}</{tag}>"
        row.append(item)
    return row, at


def _atom(tokens: list[str], at: int) -> tuple[str, int]:
    if at == len(tokens):
        raise ValueError("a formula ends where something should follow")
    token = tokens[at]
    if token == "{":
        row, at = _row(tokens, at + 1)
        if at == len(tokens):
            raise ValueError("a brace is not closed in a formula")
        return f"<mrow>{''.join(row)}</mrow>", at + 1
    if token in ("\\frac", "\\sqrt"):
        first, at = _atom(tokens, at + 1)
        if token == "\\sqrt":
            return f"<msqrt>{first}</msqrt>", at
        second, at = _atom(tokens, at)
        return f"<mfrac>{first}{second}</mfrac>", at
    if token.startswith("\\"):
        return f'<mo movablelimits="false" form="prefix">{_SYMBOLS[token[1:]]}</mo>', at + 1
    if token[0].isdigit():
        return f"<mn>{token}</mn>", at + 1
    if token in WORDS:
        before = "" if token in FUNCTIONS else _SPACE
        return f"<mtext>{before}{token}{_SPACE}</mtext>", at + 1
    tag = "mi" if token.isalpha() or token in "∂∞" else "mo"
    return f"<{tag}>{escape('−' if token == '-' else token)}</{tag}>", at + 1


def formulas(text: str) -> dict[str, list[str]]:
    """The lines of formulas.txt, as MathML: below each operation first what it computes, then its backward."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            for name in names:
                found[name].append(mathml(line.strip()))
        else:
            names = line.split()
            found.update({name: [] for name in names})
    return found
