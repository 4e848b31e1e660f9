"""python -m bench: measure this machine, then tinytorch against other libraries, in one run."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track

from bench import report
from bench.instructions import start_again_with_avx2
from bench.machine import describe, peak_bandwidth, peak_flops
from bench.timing import Row, Sides
from tinytorch.cli.options import parse

Section = Literal["kernels", "engine", "train", "memory", "startup", "generate", "lora", "scaling", "busy", "hashes"]
SECTIONS: tuple[Section, ...] = get_args(Section)


@dataclass(frozen=True)
class Settings:
    """Time tinytorch and other libraries in turn, in one run, and write the results.

    Writes README.md, bench.json and plots to the folder OUT. Figures are medians; a ratio is another library's time
    divided by ours, turn by turn. Leave the machine alone meanwhile.
    """

    sections: Annotated[
        tyro.conf.Positional[tuple[Section, ...]],
        tyro.conf.arg(metavar="[SECTION ...]", help=f"What to measure: {', '.join(SECTIONS)}; everything if left out."),
    ] = ()

    against: str = "torch,numpy"
    """Libraries to compare with, separated by commas: torch, numpy, jax. Those not installed are left out."""

    quick: bool = False
    """Small shapes and few turns: a first look, not a measurement."""

    avx2: bool = False
    """Let all sides use AVX2 and nothing newer, like the processor on which the goals were set."""

    out: Path | None = None
    """Folder for the results; by default bench/results, or bench/results/avx2 with --avx2."""


def main() -> int:
    """Run what the command line asks for."""
    arguments = sys.argv[1:] or [*SECTIONS]
    settings: Settings = parse(Settings, "python -m bench", inspect.cleandoc(Settings.__doc__ or ""), arguments)
    if settings.avx2:
        start_again_with_avx2()
    out = settings.out or Path("bench/results/avx2" if settings.avx2 else "bench/results")
    console = Console(width=None if sys.stdout.isatty() else 200)
    against = []
    for name in filter(None, settings.against.split(",")):
        if name not in ("torch", "numpy", "jax"):
            console.print(f"[red]error:[/red] --against knows torch, numpy and jax, not {name!r}", highlight=False)
            return 2
        if importlib.util.find_spec(name) is None:
            console.print(f"[yellow]{name} is not installed and is left out[/yellow]: pip install {name}")
        else:
            against.append(name)
    facts = describe()
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()), highlight=False)
    peaks = report.Peaks(peak_flops(), peak_flops(np.float64), peak_bandwidth())
    console.print(
        f"peak {peaks.float32 / 1e9:.0f} GFLOP/s float32, {peaks.float64 / 1e9:.0f} float64, "
        f"{peaks.bandwidth / 1e9:.1f} GB/s",
        highlight=False,
    )
    turns = 5 if settings.quick else 7
    rows: list[Row] = []
    out.mkdir(parents=True, exist_ok=True)
    try:
        with Sides(against, turns) as sides:
            for section in settings.sections or SECTIONS:
                module = importlib.import_module(f"bench.{section}")
                if hasattr(module, "run"):
                    found, total = module.run(sides, settings.quick), None
                else:
                    cases = module.cases(settings.quick)
                    found, total = sides.measure_all(cases), len(cases)
                own = list(track(found, description=section, total=total, console=console, transient=True))
                rows += own
                report.show(console, section, own, peaks)
    except KeyboardInterrupt:
        console.print("stopped; what was measured so far is kept")
    report.show_verdicts(console, rows)
    _save(out, facts, peaks, rows)
    console.print(f"written to {out}/", highlight=False, soft_wrap=True)
    return 0


def _save(out: Path, facts: dict[str, str], peaks: report.Peaks, rows: list[Row]) -> None:
    from bench import plots

    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    report.save_json(out / "bench.json", facts, peaks, rows)
    report.save_markdown(out / "README.md", facts, peaks, rows, command)
    for section in dict.fromkeys(row.section for row in rows):
        plots.ratios(out / f"{section}.png", [row for row in rows if row.section == section])
    plots.roofline(out / "roofline.png", rows, peaks)
    plots.growth(out, rows)


if __name__ == "__main__":
    sys.exit(main())
