"""The table of a profile: one line for each name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_NAME_WIDTH = 30  # at most, for the first column, so that the table fits 100 columns
_ORDERS = ("self_cpu_time_total", "cpu_time_total", "cpu_time", "count", "flops", "saved")


@dataclass
class Average:
    """All events of one name."""

    key: str
    count: int = 0
    self_cpu_time_total: float = 0.0  # microseconds, without the events inside
    cpu_time_total: float = 0.0  # microseconds, as in PyTorch
    flops: int = 0
    saved: int = 0  # bytes

    @property
    def cpu_time(self) -> float:
        """Microseconds of one event, on average."""
        return self.cpu_time_total / self.count


_COLUMNS: tuple[tuple[str, Callable[[Average, float], str]], ...] = (
    ("Self", lambda average, _: _time(average.self_cpu_time_total)),
    ("Self %", lambda average, total: f"{100 * average.self_cpu_time_total / total if total else 0:.1f}%"),
    ("Time", lambda average, _: _time(average.cpu_time_total)),
    ("Each", lambda average, _: _time(average.cpu_time)),
    ("Calls", lambda average, _: str(average.count)),
    ("FLOPs", lambda average, _: _scaled(average.flops, 1000, ("", " K", " M", " G", " T"))),
    ("Saved", lambda average, _: _bytes(average.saved)),
)


class Averages(list[Average]):
    """The averages of a profile, one for each name."""

    def table(self, sort_by: str | None = None, row_limit: int = 100) -> str:
        """A table as text: self and total time, calls, arithmetic, and bytes kept for backward.

        sort_by is self_cpu_time_total, cpu_time_total, cpu_time, count, flops or saved, the largest first; without
        it the names keep the order in which they first occurred. ValueError for any other key.
        """
        if sort_by is not None and sort_by not in _ORDERS:
            raise ValueError(f"table: cannot sort by {sort_by!r}: choose among {', '.join(_ORDERS)}")
        ordered = self if sort_by is None else sorted(self, key=lambda average: -getattr(average, sort_by))
        total = sum([average.self_cpu_time_total for average in self])
        rows = [["Name", *[title for title, _ in _COLUMNS]]]
        rows += [[_cut(line.key), *[show(line, total) for _, show in _COLUMNS]] for line in ordered[:row_limit]]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_line(row, widths) for row in rows]
        lines.insert(1, "  ".join(["-" * width for width in widths]))
        if len(ordered) > row_limit:
            lines.append(f"... and {len(ordered) - row_limit} more")
        flops = _scaled(sum([average.flops for average in self]), 1000, ("", " K", " M", " G", " T"))
        saved = _bytes(sum([average.saved for average in self]))
        lines.append(f"In all {_time(total)}, {flops} floating-point operations, {saved} saved for backward")
        return "\n".join(lines)


def _line(row: list[str], widths: list[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *cells])


def _cut(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 3] + "..."


def _time(microseconds: float) -> str:
    return _scaled(microseconds, 1000, (" us", " ms", " s"))


def _bytes(size: int) -> str:
    return _scaled(size, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def _scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    """At least three digits, in the largest unit with a value of at least 1; 0 as a dash."""
    if not value:
        return "-"
    place = 0
    while value >= step and place < len(units) - 1:
        value, place = value / step, place + 1
    whole = isinstance(value, int) or value >= 100
    return f"{value:.0f}{units[place]}" if whole else f"{value:.{1 if value >= 10 else 2}f}{units[place]}"
