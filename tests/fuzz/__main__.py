"""python -m tests.fuzz --minutes 10: damage files of every kind at random, and print what is not read as it should be.

Each must be read, or refused by an error for the user, of one line; within 10 seconds of the processor's time, and 64
MiB beyond twice the file's size. The suite runs the first cases of each kind (tests/test_fuzz.py). `--seed` begins
elsewhere, `--only` takes one kind; with `--cases 1` that repeats a case.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import tempfile
import time
from collections import Counter
from itertools import count
from pathlib import Path

from tests.fuzz.cases import Fuzzer
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1_000_000)
    parser.add_argument("--only", choices=list(TARGETS), metavar="KIND", help=f"one of {', '.join(TARGETS)}")
    parser.add_argument("--cases", type=int, help="of each kind, at most")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    done: Counter[str] = Counter()
    problems = 0
    with tempfile.TemporaryDirectory(prefix="tinytorch-fuzz-") as folder:
        fuzzer = Fuzzer(Path(folder))
        for seed in count(options.seed) if options.cases is None else range(options.seed, options.seed + options.cases):
            for name in [options.only] if options.only else TARGETS:
                if time.monotonic() > end:
                    break
                faulthandler.dump_traceback_later(120, exit=True)  # what hangs for good is shown too
                problem = fuzzer.problem(name, seed)
                done[name] += 1
                if problem is not None:
                    problems += 1
                    print(problem, flush=True)
            if time.monotonic() > end:
                break
        faulthandler.cancel_dump_traceback_later()
    print(f"{sum(done.values())} cases, {problems} problems; {', '.join(f'{name} {n}' for name, n in done.items())}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
