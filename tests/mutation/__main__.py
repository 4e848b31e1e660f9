"""python -m tests.mutation --sample 200 --seed 1: plant small faults one at a time, and report those that no test sees.

Each fault is planted in a copy of the tree, in a temporary folder. The tests that run its line go first, the cheapest
and nearest before the others; what is compiled or runs at import is traced to the lines that use it. Which tests run
which lines is recorded once (a quarter of an hour or so) and kept until the sources change. By hand only: a sample of
200 takes an hour.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.mutation.faults import Fault, faults_of
from tests.mutation.names import Names

ROOT = Path(__file__).parents[2]
HOME = Path(tempfile.gettempdir()) / "tinytorch-mutation"
PACKAGES = ("tinytorch", "gpt", "lora")
FIRST = 60  # tests that are tried before the others are collected at all
MEMORY = 16 << 30  # a fault may ask for more than there is
Tests = dict[str, tuple[float, bool, dict[str, list[int]]]]  # seconds, whether an oracle's, lines by file

console = Console(highlight=False)


@dataclass
class Outcome:
    """What became of one fault."""

    fault: Fault
    result: str  # "caught", "oracle" (caught with PyTorch alone), "survived" or "out of time"
    by: str
    tests: int  # that were run, or would have been
    seconds: float


# ---------------------------------------------------------------------- copies of the tree


class Copy:
    """A copy of the tree with a cache of compiled kernels of its own: one for each worker."""

    def __init__(self, number: int) -> None:
        self.root = HOME / f"worker-{number}"
        self.tree, self.cache = self.root / "tree", self.root / "cache"
        shutil.rmtree(self.tree, ignore_errors=True)
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        for path in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines():
            if (ROOT / path).is_file():
                (self.tree / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, self.tree / path)
        self.kernels = self._cache_folder(self.cache)
        if not any(self.kernels.iterdir()):
            self._fill_from(_cache_folder(ROOT, {}), ROOT)

    def environment(self, cache: Path | None = None, **more: str) -> dict[str, str]:
        """That of a test run in this tree. CI: Hypothesis draws the same examples each time."""
        paths = {"PYTHONPATH": str(self.tree), "NUMBA_CACHE_DIR": str(cache or self.cache)}
        return {**os.environ, "CI": "1", **paths, **more}

    def _cache_folder(self, cache: Path) -> Path:
        return _cache_folder(self.tree, self.environment(cache))

    def _fill_from(self, kernels: Path, tree: Path, stale: Any = frozenset(), into: Path | None = None) -> None:
        """Compiled kernels from another cache, but for those that are stale, by name; Numba names folders by paths."""
        for file in (tree / "tinytorch" / "kernels").rglob("__init__.py"):
            source = kernels / _subfolder(file)
            target = (into or self.kernels) / _subfolder(self.tree / file.relative_to(tree))
            target.mkdir(parents=True, exist_ok=True)
            for path in source.glob("*.nb?"):
                name = path.name.rsplit("-", 1)[0]
                if not stale & set(name.split(".")):
                    os.link(path, target / path.name)

    def cache_for(self, fault: Fault, names: Names) -> Path | None:
        """A cache for a fault in the kernels: with what it does not touch. None where the usual one will do."""
        if not fault.path.startswith("tinytorch/kernels/"):
            return None
        cache = self.root / "cache-of-fault"
        shutil.rmtree(cache, ignore_errors=True)
        _, touched = names.users(fault.names, lambda mention: not mention.path.startswith("tinytorch/kernels/"))
        try:
            folder = self._cache_folder(cache)
        except subprocess.CalledProcessError:  # it cannot even be imported
            return cache
        if fault.names:
            self._fill_from(self.kernels, self.tree, touched | {Path(fault.path).stem}, folder)
        return cache

    def plant(self, fault: Fault) -> None:
        """Write the fault. The time of writing is unlike any other, or Python would take the compiled file."""
        target = self.tree / fault.path
        self._sound, self._time = target.read_bytes(), target.stat().st_mtime_ns
        target.write_bytes(fault.plant(self._sound))
        os.utime(target, (0, random.randrange(1 << 30)))

    def restore(self, fault: Fault) -> None:
        """Take the fault out. The time of writing is the old one, which the cache of kernels knows."""
        target = self.tree / fault.path
        target.write_bytes(self._sound)
        os.utime(target, ns=(self._time, self._time))

    def run(self, tests: list[str], cache: Path | None, seconds: float) -> tuple[str, str]:
        """Run tests until one fails: ("caught", by which), ("survived", ""), ("out of time", "")."""
        order = self.root / "order"
        order.write_text("\n".join(tests))
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "tests.mutation.plugin", *files]
        command += ["-p", "no:cacheprovider", "-o", "timeout=200"]
        process = subprocess.Popen(
            command,
            cwd=self.tree,
            env=self.environment(cache, TESTS_ORDER=str(order)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_begin,
        )
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return "out of time", ""
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode == 0:
            return "survived", ""
        if process.returncode == 5:
            raise RuntimeError(f"none of these tests was found: {tests[:3]}...\n{output}")
        blamed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return "caught", blamed[0] if blamed else f"pytest ended with {process.returncode}"


def _begin() -> None:
    """In a new process: as a terminal starts it, with a bound on its memory."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _cache_folder(tree: Path, environment: dict[str, str]) -> Path:
    script = "from tinytorch.kernels.machinery.cache import cache_folder; print(cache_folder())"
    environment = {**os.environ, "PYTHONPATH": str(tree), **environment}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


def _subfolder(source: Path) -> str:
    """Where in a cache folder Numba keeps what the files of this one's folder define."""
    from numba.core.caching import UserProvidedCacheLocator

    return UserProvidedCacheLocator.get_suitable_cache_subpath(str(source))


# ---------------------------------------------------------------------- which tests run which lines


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


_ORACLE = "#oracle"


def recorded(copies: list[Copy], oracle: bool) -> Tests:
    """The lines that each test runs. Kept by test file, until the file, its helpers or any source changes.

    Tests against other projects, which take as long as all the others, are recorded only where they are asked for.
    """
    kept_in = HOME / "lines.json"
    kept = json.loads(kept_in.read_text()) if kept_in.exists() else {}
    sources = _digest(*[path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))])
    wanted = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        helpers = [p for p in sorted(file.parent.glob("*.py")) if not p.name.startswith("test_")]
        name, key = str(file.relative_to(ROOT)), sources + _digest(file, *helpers)
        wanted[name] = key
        if oracle and "oracle" in file.read_text():
            wanted[name + _ORACLE] = key
    missing = [file for file, key in wanted.items() if kept.get(file, {}).get("key") != key]
    kept = {file: kept[file] for file in wanted if file in kept}
    if missing:
        console.print(f"recording which lines the tests of {len(missing)} files run")

    def record(copy: Copy, files: list[str]) -> None:
        found_in = copy.root / "found.json"
        found_in.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "tests.mutation.plugin"]
        which = ("oracle" if files[0].endswith(_ORACLE) else "not oracle") + " and not slow"
        command += ["-p", "no:cacheprovider", "-o", "timeout=600", "-m", which]
        command += [file.removesuffix(_ORACLE) for file in files]
        environment = copy.environment(TESTS_RECORD=str(found_in))
        subprocess.run(command, cwd=copy.tree, env=environment, preexec_fn=_begin)
        found: dict[str, Any] = {file: {} for file in files}
        for test, what in json.loads(found_in.read_text()).items():
            file = test.partition("::")[0]
            found[file + _ORACLE * what[1]][test] = what
        kept.update({file: {"key": wanted[file], "tests": tests} for file, tests in found.items()})
        kept_in.write_text(json.dumps(kept))

    chunks = []
    for part in (False, True):
        files = [file for file in missing if file.endswith(_ORACLE) == part]
        count = -(-len(files) // 8)
        chunks += [files[i::count] for i in range(count)]
    share_out(chunks, copies, record)
    return {test: tuple(what) for file in wanted for test, what in kept[file]["tests"].items()}


def share_out(tasks: list[Any], copies: list[Copy], work: Callable[[Copy, Any], None]) -> None:
    """work(copy, task) for all tasks, on as many threads as there are copies."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)

    def run(copy: Copy) -> None:
        while not waiting.empty():
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            work(copy, task)

    with ThreadPoolExecutor(len(copies)) as pool:
        for future in [pool.submit(run, copy) for copy in copies]:
            future.result()


class Chooser:
    """Which tests may see a fault, in which order."""

    def __init__(self, tests: Tests, names: Names) -> None:
        self.tests, self.names = tests, names
        self.runs: dict[tuple[str, int], set[str]] = defaultdict(set)
        for test, (_, _, files) in tests.items():
            for path, lines in files.items():
                for line in lines:
                    self.runs[path, line].add(test)
        self.processes = self.runs["process", 1]

    def covering(self, fault: Fault) -> set[str]:
        """Tests that run its lines, or those that use it; those that start a process may run anything."""
        found = self._of_lines(fault.path, fault.lines) if fault.scope else set()
        if not found:
            mentions, _ = self.names.users(fault.names, lambda m: bool(self.runs.get((m.path, m.line))))
            found = set().union(*[self.runs[m.path, m.line] for m in mentions])
        if not found and not fault.names:
            found = {test for (path, _), tests in self.runs.items() if path == fault.path for test in tests}
        return found | self.processes

    def _of_lines(self, path: str, lines: Any) -> set[str]:
        return set().union(*[self.runs.get((path, line), set()) for line in lines])

    def order(self, fault: Fault, oracle: bool) -> tuple[list[str], list[str]]:
        """The first few, then the rest: the nearest files and one of each function's cases first, cheap before dear."""
        stem = Path(fault.path).stem.strip("_")

        def near(test: str) -> bool:
            return stem in test.partition("::")[0]

        chosen = [test for test in self.covering(fault) if self.tests[test][1] == oracle]
        by_cost = sorted(chosen, key=lambda test: (self.tests[test][0], test))
        seen: Counter[str] = Counter()
        rank = {}
        for test in by_cost:
            function = test.partition("[")[0]
            rank[test] = seen[function] - 2 * near(test)
            seen[function] += 1
        ranked = sorted(by_cost, key=lambda test: (rank[test] + self.tests[test][0] / 2))
        first, rest = ranked[:FIRST], ranked[FIRST:]
        return first, sorted(rest, key=lambda test: (not near(test), test.partition("::")[0]))


# ---------------------------------------------------------------------- one fault after the other


def try_fault(copy: Copy, fault: Fault, chooser: Chooser, oracle: bool, limit: float) -> Outcome:
    """Plant it, run the tests that may see it, take it out."""
    started = time.perf_counter()
    count = 0
    copy.plant(fault)
    try:
        cache = copy.cache_for(fault, chooser.names)
        result = "survived"
        for with_oracle in (False, True) if oracle else (False,):
            for tests in chooser.order(fault, with_oracle):
                if not tests:
                    continue
                count += len(tests)
                left = limit - (time.perf_counter() - started)
                found, by = copy.run(tests, cache, max(left, 10))
                if found == "caught":
                    result = "oracle" if with_oracle else "caught"
                    return Outcome(fault, result, by, count, time.perf_counter() - started)
                if found == "out of time":
                    result = found
        return Outcome(fault, result, "", count, time.perf_counter() - started)
    finally:
        copy.restore(fault)


def all_faults(prefixes: list[str], excluded: list[str]) -> list[Fault]:
    """Every fault of the files whose path begins so."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if name.startswith(tuple(prefixes)) and not (excluded and name.startswith(tuple(excluded))):
                found += faults_of(name, path.read_bytes())
    return found


def again(report: Path, results: list[str]) -> list[Fault]:
    """The faults of an earlier report with these results, where the sources still have the place."""
    earlier = [entry["fault"] for entry in json.loads(report.read_text()) if entry["result"] in results]
    now: dict[Any, list[Fault]] = defaultdict(list)
    for fault in all_faults(sorted({entry["path"] for entry in earlier}), []):
        now[fault.path, fault.scope, fault.kind, fault.before, fault.after].append(fault)
    found = []
    for entry in earlier:
        same = now[entry["path"], tuple(entry["scope"]), entry["kind"], entry["before"], entry["after"]]
        if same:
            found.append(min(same, key=lambda fault: abs(fault.line - entry["line"])))
        else:
            console.print(f"no longer there: {entry['path']}:{entry['line']} {entry['before']} -> {entry['after']}")
    return found


def report(outcomes: list[Outcome], oracle: bool) -> None:
    """The survivors as a table, and the counts."""
    table = Table("place", "kind", "planted", "result", "tests", "s")
    order = {"survived": 0, "out of time": 1, "oracle": 2}
    left = [outcome for outcome in outcomes if outcome.result in order]
    for outcome in sorted(left, key=lambda o: (order[o.result], o.fault.path, o.fault.line)):
        fault = outcome.fault
        planted = f"[red]- {_short(fault.before)}[/red]\n[green]+ {_short(fault.after)}[/green]"
        place = f"{fault.path}:{fault.line}"
        table.add_row(place, fault.kind, planted, outcome.result, str(outcome.tests), f"{outcome.seconds:.0f}")
    console.print(table)
    counts = Counter(outcome.result for outcome in outcomes)
    caught = counts["caught"]
    text = f"{len(outcomes)} faults: {caught} caught ({caught / len(outcomes):.1%})"
    if oracle:
        caught += counts["oracle"]
        text += f", {caught} with the oracles ({caught / len(outcomes):.1%})"
    console.print(f"{text}; those that change nothing, only speed or only a message are to be taken off")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return (text if len(text) < 160 else text[:157] + "...").replace("[", r"\[")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--sample", type=int, default=200, help="how many faults")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--package", nargs="+", default=["tinytorch/", "gpt/", "lora/"], help="how paths begin")
    parser.add_argument("--exclude", nargs="+", default=[], help="how paths do not begin")
    parser.add_argument("--oracle", action="store_true", help="run the tests against PyTorch, too, on what is left")
    parser.add_argument("--again", type=Path, help="a report: its faults that were not caught, in place of a sample")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=900, help="seconds for one fault")
    parser.add_argument("--report", type=Path, default=HOME / "report.json")
    options = parser.parse_args()
    copies = [Copy(number) for number in range(options.workers)]
    # All of the sources as the copies have them: from here on the tree itself may change.
    sources = [str(p.relative_to(ROOT)) for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]
    names = Names(ROOT, sources)
    if options.again:
        chosen = again(options.again, ["survived", "out of time"] + ["oracle"] * (not options.oracle))
    else:
        faults = all_faults(options.package, options.exclude)
        chosen = random.Random(options.seed).sample(faults, min(options.sample, len(faults)))
    tests = recorded(copies, options.oracle)
    chooser = Chooser(tests, names)
    console.print(f"{len(tests)} tests, {len(chosen)} faults")
    outcomes: list[Outcome] = []
    lock = threading.Lock()

    def work(copy: Copy, fault: Fault) -> None:
        outcome = try_fault(copy, fault, chooser, options.oracle, options.limit)
        with lock:
            outcomes.append(outcome)
            options.report.write_text(json.dumps([asdict(o) for o in outcomes], indent=1))
            done = f"{len(outcomes)}/{len(chosen)} {outcome.seconds:.0f} s {outcome.result}"
            console.print(f"{done} {fault.path}:{fault.line} {_short(fault.before)} -> {_short(fault.after)}")

    share_out(chosen, copies, work)
    if outcomes:
        report(outcomes, options.oracle)


if __name__ == "__main__":
    main()
