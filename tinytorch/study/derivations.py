"""What an operation's class says of itself: what it computes, and why its backward is right.

The formula is the docstring of the class; the derivation is the comment above its backward. Both are read from there,
so that what is shown cannot be another than what the code stands for.
"""

from __future__ import annotations

import functools
import inspect
import textwrap
from typing import Any


@functools.cache
def formula_of(operation: Any) -> str:
    """The first paragraph of the class's own docstring, on one line; empty where there is none."""
    text = vars(operation).get("__doc__") or ""
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


@functools.cache
def derivation_of(operation: Any) -> str:
    """The comment above the class's backward, without its number signs; empty where there is none."""
    if operation.backward is None:
        return ""
    comments = inspect.getcomments(operation.backward) or ""
    return textwrap.dedent("\n".join([line.strip().removeprefix("#") for line in comments.splitlines()])).strip()
