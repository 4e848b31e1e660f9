"""Plots of the results: ratios as bars, kernels under the roofline, growth on logarithmic axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from bench.report import Peaks
from bench.scaling import GROWTH, exponent
from bench.timing import OURS, Row


def ratios(path: Path, rows: Sequence[Row]) -> None:
    """How many times as long each other side takes, as a bar for each row; the line at 1 is ours."""
    others = sorted({side for row in rows for side in row.ratios})
    if not others:
        return
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.3 * len(rows) * len(others)), layout="constrained")
    places = np.arange(len(rows)) * (len(others) + 1)
    for i, other in enumerate(others):
        values = [row.ratios.get(other, (0.0, 0.0, 0.0)) for row in rows]
        middle = np.array([v[1] for v in values])
        spread = np.abs(np.array([[v[1] - v[0] for v in values], [v[2] - v[1] for v in values]]))
        axes.barh(places + i, middle, xerr=spread, label=f"{other} / {OURS}")
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(places + (len(others) - 1) / 2, [row.name for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("time of the other side / ours (median of pairs, quartiles)")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def roofline(path: Path, rows: Sequence[Row], peaks: Peaks) -> None:
    """Operations per second against operations per byte, under the machine's limits."""
    chosen = [row for row in rows if row.flops and row.bytes and "float64" not in row.name]
    if not chosen:
        return
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    intensity = np.logspace(-1, 4, 200)
    axes.loglog(intensity, np.minimum(peaks.float32, intensity * peaks.bandwidth) / 1e9, color="black", label="machine")
    families: dict[str, list[Row]] = {}
    for row in chosen:
        families.setdefault(re.split(r" (?:\(\d|B\d|of )", row.name)[0], []).append(row)
    colours = plt.get_cmap("tab20").colors
    for i, (family, members) in enumerate(families.items()):
        places = [row.flops / row.bytes for row in members]
        rates = [row.flops / row.seconds[OURS] / 1e9 for row in members]
        axes.loglog(places, rates, "o", color=colours[i % 20], label=family)
    axes.set_xlabel("operations a byte of memory traffic")
    axes.set_ylabel("GFLOP/s")
    axes.set_title("above the slope: arrays that stay in the caches", fontsize=9)
    figure.legend(fontsize=8, loc="outside right upper")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def growth(folder: Path, rows: Sequence[Row]) -> None:
    """Step time and peak memory against T, B, C and L, one plot each, with the fitted exponents."""
    for dimension in GROWTH:
        chosen = [row for row in rows if row.section == "scaling" and dimension in row.notes]
        if len(chosen) < 2:
            continue
        sizes = [row.notes[dimension] for row in chosen]
        figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
        for axis, label, values in (
            (axes[0], "ms a step", [row.seconds[OURS] * 1e3 for row in chosen]),
            (axes[1], "peak MiB", [row.notes["peak_bytes"] / 2**20 for row in chosen]),
        ):
            axis.loglog(sizes, values, "o-", label=f"{dimension}^{exponent(sizes, values):.2f} over the larger half")
            axis.set_xlabel(dimension)
            axis.set_ylabel(label)
            axis.legend()
        figure.savefig(folder / f"scaling-{dimension}.png", dpi=120)
        plt.close(figure)
