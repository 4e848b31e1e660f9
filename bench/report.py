"""Reports of what was measured: tables for the terminal and for README.md, JSON, and plots."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.timing import OURS, Row

# For each target, the smallest acceptable ratio at the median and at the worst shape.
TARGETS = {
    "P1": (1.0, 0.95),
    "P2": (1.5, 1.5),
    "P3": (4.0, 4.0),
    "P4": (1.15, 1.15),
    "P5": (1.5, 1.1),
    "P6": (1.2, 1.0),
    "P7": (1.25, 1.25),
    "P7 memory": (2.0, 2.0),
    "P8": (25.0, 25.0),
    "P9": (8.0, 8.0),
    "P11": (1.0, 1.0),
}
SECONDS = {"first step, nothing compiled": 30.0, "first step, kernels cached": 2.0}  # P10


@dataclass(frozen=True)
class Peaks:
    """The machine's peak: operations per second by dtype, and bytes per second."""

    float32: float
    float64: float
    bandwidth: float


def amount(row: Row, value: float) -> str:
    """Seconds or bytes, in a suitable unit."""
    if row.unit == "bytes":
        return f"{value / 2**20:.1f} MiB"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def rate(row: Row, peaks: Peaks) -> str:
    """Our GFLOP/s or GB/s, whichever limits the work, with its share of the machine's peak."""
    seconds = row.seconds[OURS]
    compute = row.flops / (peaks.float64 if "float64" in row.name else peaks.float32)
    traffic = row.bytes / peaks.bandwidth
    if compute > traffic:
        return f"{row.flops / seconds / 1e9:.1f} GFLOP/s, {compute / seconds:.0%}"
    return f"{row.bytes / seconds / 1e9:.1f} GB/s, {traffic / seconds:.0%}" if traffic else ""


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def rows_as_text(rows: Sequence[Row], peaks: Peaks) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the table of one section."""
    if rows[0].hashes:
        lines = [[row.target, row.name, *row.hashes.values(), _yes(len({*row.hashes.values()}) == 1)] for row in rows]
        return ["target", "work", *rows[0].hashes, "the same"], lines
    others = sorted({side for row in rows for side in row.seconds if side != OURS})
    headings = ["target", "work", OURS, "rate, share of peak"]
    for other in others:
        headings += [other, f"{other} / ours", "quartiles"]
    cells = []
    for row in rows:
        line = [row.target, row.name, amount(row, row.seconds[OURS]), rate(row, peaks)]
        for other in others:
            if other in row.seconds:
                low, middle, high = row.ratios[other]
                line += [amount(row, row.seconds[other]), f"{middle:.2f}", f"{low:.2f} to {high:.2f}"]
            else:
                line += ["", "", ""]
        cells.append(line)
    return headings, cells


def show(console: Console, title: str, rows: Sequence[Row], peaks: Peaks) -> None:
    """The table of one section, on the terminal."""
    headings, cells = rows_as_text(rows, peaks)
    table = Table(title=title, title_justify="left")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i < 2 else "right", no_wrap=True)
    for line in cells:
        table.add_row(*line)
    console.print(table)


def verdicts(rows: Sequence[Row]) -> list[list[str]]:
    """For each target: the ratio at the median shape and at the worst, what each must reach, and whether it does."""
    lines = []
    for target, (median_goal, worst_goal) in TARGETS.items():
        side = "numpy" if target == "P1" else "torch"
        ratios = [row.ratios[side][1] for row in rows if row.target == target and side in row.ratios]
        if ratios:
            median, worst = statistics.median(ratios), min(ratios)
            reached = _yes(median >= median_goal and worst >= worst_goal)
            lines.append([target, side, f"{median:.2f} ({median_goal})", f"{worst:.2f} ({worst_goal})", reached])
    for row in rows:
        if row.name in SECONDS:
            took, goal = row.seconds[OURS], SECONDS[row.name]
            lines.append(["P10", row.name, f"{took:.1f} s ({goal:.0f} s)", "", _yes(took <= goal)])
    return lines


VERDICT_HEADINGS = ["target", "against", "median ratio (goal)", "worst ratio (goal)", "reached"]


def show_verdicts(console: Console, rows: Sequence[Row]) -> None:
    """The targets, on the terminal."""
    lines = verdicts(rows)
    if lines:
        table = Table(*VERDICT_HEADINGS, title="Targets", title_justify="left")
        for line in lines:
            table.add_row(*line)
        console.print(table)


def markdown(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join(lines + ["| " + " | ".join(line) + " |" for line in cells]) + "\n"


def save_json(path: Path, facts: dict[str, str], peaks: Peaks, rows: Sequence[Row]) -> None:
    """Everything that was measured."""
    record: dict[str, Any] = {"machine": facts, "peaks": asdict(peaks), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(record, indent=1), encoding="utf-8")


def save_markdown(path: Path, facts: dict[str, str], peaks: Peaks, rows: Sequence[Row], command: str) -> None:
    """All tables, with the command that made them."""
    parts = [f"Made by `{command}`.\n", markdown(["machine", ""], [[k, v] for k, v in facts.items()])]
    parts.append(
        f"Peak: {peaks.float32 / 1e9:.0f} GFLOP/s float32, {peaks.float64 / 1e9:.0f} GFLOP/s float64, "
        f"{peaks.bandwidth / 1e9:.1f} GB/s.\n"
    )
    if lines := verdicts(rows):
        parts += ["## Targets\n", markdown(VERDICT_HEADINGS, lines)]
    for section in dict.fromkeys(row.section for row in rows):
        parts += [f"## {section}\n", markdown(*rows_as_text([r for r in rows if r.section == section], peaks))]
    path.write_text("\n".join(parts), encoding="utf-8")
