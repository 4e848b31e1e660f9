"""The page: a text whose characters show where each head looks. One HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import string
from importlib.resources import files
from typing import Any

import numpy as np

from gpt.attention.characters import mark, spoken
from gpt.attention.weights import Array, Looks, Neighbor
from tinytorch.cli.pages import embedded, styled


def page(ids: list[int], vocabulary: str, looks: Looks, neighbors: list[list[Neighbor]], about: str) -> str:
    """The page of a text, given as ids. `about` says where the model is from."""
    layers, heads, _, _ = looks.weights.shape
    data: dict[str, Any] = {
        "ids": ids,
        "vocabulary": [[mark(c), spoken(c)] for c in vocabulary],
        "losses": [None, *looks.losses.tolist()],
        "layers": layers,
        "heads": heads,
        "weights": packed(looks.weights),
        "nearest": [[[other.id, other.cosine] for other in row] for row in neighbors],
    }
    style, script = styled(_part("page.css")), _part("page.js")
    return string.Template(_part("page.html")).substitute(
        about=html.escape(about),
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'",
        data=embedded(data),
    )


def packed(weights: Array) -> str:
    """Weights (layers, H, T, T) without what lies ahead, in steps of 1/65535: two bytes each, the low one first."""
    T = weights.shape[-1]
    return base64.b64encode(np.rint(65535 * weights[(..., *np.tril_indices(T))]).astype("<u2").tobytes()).decode()


def _part(name: str) -> str:
    """The text of a file beside this one."""
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """How a page's policy names what may run in it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
