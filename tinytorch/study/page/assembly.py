"""Puts a page together: one HTML file out of the template, the styles, the script's modules and data."""

from __future__ import annotations

import html
import re
import string
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from ...cli.pages import embedded, styled
from .mathml import formulas

_IMPORT = re.compile(r'^import\s[^;]*?from\s+"\./([\w-]+\.js)";\n', re.MULTILINE)


def part(name: str) -> str:
    """The text of a file beside this one."""
    return files(__package__).joinpath(name).read_text("utf-8")


@cache
def bundled(entry: str) -> str:
    """A module of the script and all that it imports, in one scope: each before those that import it.

    The modules are ES modules, as editors and node know them; their names do not collide.
    """
    texts: dict[str, str] = {}

    def take(name: str) -> None:
        if name in texts:
            return
        source = part(f"js/{name}")
        for needed in _IMPORT.findall(source):
            take(needed)
        texts[name] = re.sub(r"^export (?=const|function|class|async)", "", _IMPORT.sub("", source), flags=re.MULTILINE)

    take(entry)
    joined = "\n".join([f"// {name}\n{text}" for name, text in texts.items()])
    if "</script" in joined.lower() or "<!--" in joined:
        raise ValueError("a script holds what would end its element")
    return f'(() => {{\n"use strict";\n{joined}}})();'


class Text(NamedTuple):
    """A short text beside the page."""

    title: str
    paragraphs: list[str]

    @classmethod
    def read(cls, name: str) -> Text:
        """The file texts/name.txt: the first line is the title, paragraphs are parted by empty lines."""
        title, _, body = part(f"texts/{name}.txt").partition("\n")
        return cls(title, [" ".join(p.split()) for p in body.split("\n\n") if p.strip()])

    def html(self) -> str:
        """A part of the page that opens."""
        body = "".join([f"<p>{html.escape(p)}</p>" for p in self.paragraphs])
        return f"<details><summary>{html.escape(self.title)}</summary>{body}</details>"


def assembled(
    title: str, about: str, data: Mapping[str, Any], graphs: Sequence[str], texts: Sequence[str], operations: set[str]
) -> str:
    """The page. `data` is what export.py made, `graphs` the picture of each variant, `texts` names of side texts."""
    templates = [f'<template id="graph-{number}">{graph}</template>' for number, graph in enumerate(graphs)]
    for name, lines in formulas(part("formulas.txt")).items():
        if name in operations:
            templates.append(f'<template id="formula-{name}-forward">{lines[0]}</template>')
            templates.append(f'<template id="formula-{name}-backward">{"".join(lines[1:])}</template>')
    return string.Template(part("page.html")).substitute(
        title=html.escape(title),
        about=html.escape(about),
        style=styled(part("page.css")),
        script=bundled("main.js"),
        data=embedded(data),
        templates="\n".join(templates),
        texts="\n".join([Text.read(name).html() for name in texts]),
    )
