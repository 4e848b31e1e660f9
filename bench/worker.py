"""One side of a comparison: reads questions, a line of JSON each, and answers with numbers.

["make", section, case] prepares a case and runs it once; ["time", count] runs it so often, and
answers with the seconds of one. Only this side's library is imported.
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


def main(side: str) -> None:
    """Answer until the other end closes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
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
            call()
            gc.freeze()  # what is there now, all modules among it, need not be looked through after each turn
            answer = 0.0
        else:
            count = question[1]
            call()
            start = time.perf_counter()
            for _ in range(count):
                call()
            answer = (time.perf_counter() - start) / count
            gc.collect()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
