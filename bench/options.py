"""The options of the programs in this folder, and a help that fits the terminal."""

from __future__ import annotations

import argparse
import shutil
import textwrap


def parser_of(doc: str) -> argparse.ArgumentParser:
    """A parser with a module's docstring, `python -m bench.NAME: what it does`, as its help.

    Paragraphs are folded to the terminal's width; indented ones stay as they are.
    """
    program, _, text = doc.strip().partition(": ")
    width = shutil.get_terminal_size().columns
    paragraphs = (text[0].upper() + text[1:]).split("\n\n")
    return argparse.ArgumentParser(
        prog=program,
        description="\n\n".join(p if p.startswith(" ") else textwrap.fill(p, width) for p in paragraphs),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
