"""One side of a comparison: it reads questions, each a line of JSON, and answers with numbers.

["make", section, case] prepares a case, runs it once, and answers with the seconds it took;
["time", count, warm_up] runs it `count` times, after a warm-up, and answers with the seconds per
run. Only this side's library is imported.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable

from bench.child import torch_on_all_cores

_WARM_UP = 0.02  # seconds, in which the system spreads threads that slept over the cores again


def main(side: str) -> None:
    """Answer until the other end closes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library's output is not an answer
    if side == "torch":
        torch_on_all_cores()
    call: Callable[[], object] = int
    gc.disable()
    for line in sys.stdin:
        question = json.loads(line)
        if question[0] == "make":
            _, section, name = question
            del call
            gc.collect()
            cases = importlib.import_module(f"bench.{section}").cases(quick=False)
            call = next(case for case in cases if case.name == name).make[side]()
            start = time.perf_counter()
            call()
            answer = time.perf_counter() - start
            gc.freeze()  # existing objects, such as all modules, need not be scanned after each turn
        else:
            _, count, warm_up = question
            awake = time.perf_counter()
            while warm_up and time.perf_counter() < awake + _WARM_UP:
                call()
            start = time.perf_counter()
            for _ in range(count):
                call()
            answer = (time.perf_counter() - start) / count
            gc.collect()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
