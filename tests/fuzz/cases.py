"""One damaged file: made from a seed, read, and judged."""

from __future__ import annotations

import shutil
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.fuzz.targets import TARGETS
from tinytorch.cli.errors import UserError
from tinytorch.safetensors import SafetensorError

SECONDS = 10.0  # of the processor's time
MEMORY = 64 << 20  # bytes beyond twice the file's size
LONGEST = 2000  # characters of a message
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Fuzzer:
    """Makes and reads cases in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name, target in TARGETS.items():
            (folder / name).mkdir(parents=True)
            target.make(folder / name)
            target.read(folder / name)  # what is loaded at the first use is not the case's

    def problem(self, name: str, seed: int) -> str | None:
        """What is wrong with how a case is read; None where it is read, or refused in one line."""
        target, rng = TARGETS[name], Random(f"{name} {seed}")
        case = self._folder / "case"
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(self._folder / name, case)
        path = case / rng.choice([file for file in target.files if (case / file).exists()])
        path.write_bytes(target.damage(path.read_bytes(), rng))
        before, start = _reset_peak(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                target.read(case)
                wrong = None
            except (UserError, SafetensorError) as error:
                message = str(error)
                whole = message.isprintable() and 0 < len(message) <= LONGEST
                wrong = None if whole else f"not one line to be printed: {message[:LONGEST]!r}"
            except KeyboardInterrupt:
                raise
            except BaseException:  # a panic of the package tokenizers is no Exception
                wrong = "another error:\n" + traceback.format_exc()[-3000:]
        seconds, peak = time.process_time() - start, _peak() - before
        if wrong is None and seconds > SECONDS:
            wrong = f"it took {seconds:.1f} seconds"
        if wrong is None and peak > MEMORY + 2 * path.stat().st_size:
            wrong = f"it took {peak >> 20} MiB for a file of {path.stat().st_size} bytes"
        return None if wrong is None else f"{name}, seed {seed}, {path.name}: {wrong}"


def _reset_peak() -> int:
    """Forget the most memory that there was, and give what there is; 0 where the system does not count."""
    with suppress(OSError):
        _CLEAR.write_text("5")
    return _peak()


def _peak() -> int:
    if not _CLEAR.exists():
        return 0
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
