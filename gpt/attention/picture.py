"""The attention of all heads as one picture: a row of maps for each layer, a map for each head."""

from __future__ import annotations

import io
import warnings
from typing import Any

from gpt.attention.characters import mark
from gpt.attention.weights import Array

_READABLE = 4.0  # points: smaller characters are left out


def picture(text: str, weights: Array, title: str) -> bytes:
    """A PNG of weights (layers, H, T, T): a row of a map is a character that looks, a column one that is looked at."""
    from matplotlib.colors import PowerNorm  # imported here because it takes most of a second
    from matplotlib.figure import Figure

    layers, heads, T, _ = weights.shape
    side = min(max(1.6, 0.12 * T), 6.0, 200 / max(layers, heads))  # inches; a PNG is less than 65,536 pixels wide
    figure = Figure(figsize=(heads * side + 1.5, layers * side + 0.9), layout="constrained")
    maps = figure.subplots(layers, heads, sharex=True, sharey=True, squeeze=False)
    norm = PowerNorm(0.5, vmin=0, vmax=1)  # small weights are seen, too
    for layer in range(layers):
        for head in range(heads):
            axes = maps[layer, head]
            image = axes.imshow(weights[layer, head], cmap="magma", norm=norm, interpolation="nearest")
            axes.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
    _name_places(maps, text, points=0.7 * 72 * side / (T + 2))
    figure.suptitle(title, fontsize=10, parse_math=False)
    figure.colorbar(image, ax=maps, label="weight", shrink=min(1.0, 4.0 / (layers * side)))
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a character that the font lacks is a box
        figure.savefig(out, format="png", dpi=120)
    return out.getvalue()


def _name_places(maps: Any, text: str, points: float) -> None:
    """Write the characters beside the maps, where they can be read; places are numbered from 0 otherwise."""
    if points < _READABLE:
        return
    for axes in maps.flat:  # they share their ticks
        labels = {"labels": [mark(c) for c in text], "fontsize": min(points, 9.0), "parse_math": False}
        axes.set_xticks(range(len(text)), **labels)
        axes.set_yticks(range(len(text)), **labels)
        axes.tick_params(length=0)
