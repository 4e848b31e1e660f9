"""The pool of threads: what it does at import, across forks, beside other programs, on small stacks, and without the
interpreter's lock. In processes of their own, as a fork of a test run forks much else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tinytorch.kernels import compiler, threads

LAYERS = ["omp", "workqueue"]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def run(code: str, *, seconds: int = 100, **environment: str) -> str:
    """What a program prints on its standard output; it must end by itself, and well."""
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        printed, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # children too: a pool of workers that hangs
        printed, errors = process.communicate()
        pytest.fail(f"the program hangs; it printed {printed!r} and {errors[-2000:]!r}")
    assert process.returncode == 0, f"{printed}\n{errors[-3000:]}"
    return printed


WORK = """
import os, sys
import numpy as np
import tinytorch as torch
from tinytorch.kernels.gemm.gemm import matmul
from tinytorch.kernels.softmax import softmax

a = np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32)
expected = None

def work(_=None):
    # Products and rows that are shared out among threads, and a step with all of its parts.
    layer = torch.nn.Linear(200, 50)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(a[:50]))
        layer.bias.zero_()
    optimizer = torch.optim.AdamW(layer.parameters())
    torch.nn.functional.cross_entropy(layer(torch.from_numpy(a)), torch.arange(200) % 50).backward()
    optimizer.step()
    return matmul(a, a).tobytes() + softmax(a).tobytes() + layer.weight.detach().numpy().tobytes()

def child(check):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
"""


@forks
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("before", [True, False], ids=["kernels ran", "imported only"])
def test_a_forked_child_and_its_children_run_kernels(before: bool, layer: str) -> None:
    code = f"""{WORK}
if {before}:
    expected = work()

def check():
    assert torch.get_num_threads() == 3
    found = work()
    assert expected is None or found == expected
    for _ in range(2):
        assert work() == found
    return found

def check_and_fork():
    check()
    child(check)
    check()

child(check_and_fork)
check()
child(check)

import threading
from_thread = threading.Thread(target=lambda: (check(), child(check), check(), print("thread")))
from_thread.start()
from_thread.join()
print("done")
"""
    assert run(code, NUMBA_NUM_THREADS="3", NUMBA_THREADING_LAYER=layer).split() == ["thread", "done"]


@forks
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("before", [True, False], ids=["kernels ran", "imported only"])
def test_a_pool_of_forked_workers(before: bool, layer: str) -> None:
    code = f"""{WORK}
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

if {before}:
    work()
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    found = set(pool.map(work, range(4)))
with ProcessPoolExecutor(2, mp_context=context) as pool:
    found |= set(pool.map(work, range(4)))
assert found == {{work()}}
print("done")
"""
    assert run(code, NUMBA_NUM_THREADS="2", NUMBA_THREADING_LAYER=layer) == "done\n"


@forks
def test_settings_and_compiled_functions_outlast_a_fork() -> None:
    code = f"""{WORK}
torch.set_num_threads(2)
step = torch.compile(lambda x: (x @ x).softmax(-1))
x = torch.from_numpy(a)
expected = step(x).tolist()

def check():
    assert torch.get_num_threads() == 2
    assert step(x).tolist() == expected
    torch.set_num_threads(3)
    assert torch.get_num_threads() == 3
    assert step(x).tolist() == expected

child(check)
check()
print("done")
"""
    assert run(code, NUMBA_NUM_THREADS="3") == "done\n"


@forks
def test_where_the_pool_cannot_be_ended_a_child_has_one_thread() -> None:
    """An OpenMP older than GCC 9."""
    code = f"""{WORK}
from tinytorch.kernels.machinery import pool
pool._end = None
expected = work()

def check():
    assert torch.get_num_threads() == 1
    torch.set_num_threads(3)
    assert torch.get_num_threads() == 1
    assert work() == expected
    import threading
    found = []
    thread = threading.Thread(target=lambda: found.extend([torch.get_num_threads(), work()]))
    thread.start()
    thread.join()
    assert found == [1, expected]
    child(lambda: check_again())

def check_again():
    assert work() == expected

child(check)
assert torch.get_num_threads() == 3
check_again()
print("done")
"""
    assert run(code, NUMBA_NUM_THREADS="3", NUMBA_THREADING_LAYER="omp") == "done\n"


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_threads_start_at_the_first_kernel() -> None:
    code = f"""
import os
threads = lambda: len(os.listdir("/proc/self/task"))
{WORK.replace("import tinytorch as torch", "import numba; before = threads(); import tinytorch as torch")}
imported = threads()
work()
print(before, imported - before, threads() - before)
"""
    printed = run(code, NUMBA_NUM_THREADS="4", NUMBA_THREADING_LAYER="omp", OPENBLAS_NUM_THREADS="1")
    assert printed.split() == ["1", "0", "3"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks GNU's OpenMP for its settings")
@pytest.mark.parametrize(
    ("theirs", "looks"),
    [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
    ids=["nothing set", "looks set", "policy set"],
)
def test_idle_threads_soon_sleep_unless_the_user_says_otherwise(theirs: dict[str, str], looks: str) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"OMP_DISPLAY_ENV": "verbose", "NUMBA_THREADING_LAYER": "omp", **theirs}
    code = f"import os, tinytorch; print({{name: os.environ[name] for name in {names} if name in os.environ}})"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == f"{theirs}\n"  # other libraries and children find what the user set, and nothing else
    assert f"GOMP_SPINCOUNT = '{looks}'" in done.stderr


SMALL = """
import threading

found = []
threading.stack_size(128 * 1024)
thread = threading.Thread(target=lambda: work(found))
thread.start()
thread.join()
print(found, threading.stack_size())
"""


def test_kernels_compile_on_a_small_stack(tmp_path: Path) -> None:
    code = """
import numpy as np
from tinytorch.kernels.softmax import _softmax, softmax

def work(found):
    x = np.eye(3, dtype=np.float32)
    found.append(np.allclose(softmax(x).sum(1), 1))
    try:
        _softmax(x, "no array")
    except Exception as error:
        found.append(type(error).__name__)
"""
    printed = run(code + SMALL, seconds=250, NUMBA_CACHE_DIR=str(tmp_path))
    assert printed == f"[True, 'TypingError'] {128 * 1024}\n"


@pytest.mark.slow
def test_products_compile_on_a_small_stack(tmp_path: Path) -> None:
    code = """
import tinytorch as torch

def work(found):
    x = torch.ones(20, 64)
    found.append((x @ x.T)[0, 0].item())
    found.append(torch.compile(lambda x: x @ x.T)(x)[0, 0].item())
    found.append(torch.nn.functional.linear(x, torch.ones(5, 64).to(torch.bfloat16))[0, 0].item())
"""
    printed = run(code + SMALL, seconds=280, NUMBA_CACHE_DIR=str(tmp_path))
    assert printed == f"[64.0, 64.0, 64.0] {128 * 1024}\n"


def test_kernels_keep_the_interpreter_lock() -> None:
    """They share scratch memory, of which there is one in the process."""

    def kernel(x: float) -> float:
        return x

    for decorate in (compiler.serial, compiler.inner, compiler.apart):
        assert not decorate(kernel).targetoptions.get("nogil", False)  # type: ignore[attr-defined]
    assert threads.taking_turns(kernel) is kernel or not threads.has_interpreter_lock()


def test_without_the_interpreter_lock_kernels_with_scratch_memory_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "has_interpreter_lock", lambda: False)
    inside: list[int] = []
    most = 0

    @threads.taking_turns
    def kernel(number: int) -> int:
        nonlocal most
        inside.append(number)
        time.sleep(0.001)  # another thread runs meanwhile
        most = max(most, len(inside))
        inside.remove(number)
        if number < 0:
            raise ValueError("the lock is given back")
        return number

    with pytest.raises(ValueError, match="given back"):
        kernel(-1)
    found: list[int] = []
    callers = [threading.Thread(target=lambda i=i: found.append(kernel(i))) for i in range(8)]  # type: ignore[misc]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert most == 1 and sorted(found) == list(range(8))


def test_products_are_among_them() -> None:
    code = """
from tinytorch.kernels import threads

class Turn:
    taken = 0

    def __enter__(self):
        self.taken += 1

    def __exit__(self, *exception):
        pass

threads._turn = turn = Turn()
threads.has_interpreter_lock = lambda: False
import tinytorch as torch

x, w = torch.ones(20, 64), torch.ones(5, 64).to(torch.bfloat16)
step = torch.compile(lambda x: x @ x.T)
step(x)  # computes, and binds the product to its addresses
for call in (lambda: x @ x.T, lambda: step(x), lambda: torch.nn.functional.linear(x, w)):
    turn.taken = 0
    assert call()[0, 0].item() == 64
    print(turn.taken)
"""
    assert run(code).split() == ["1", "1", "1"]


def test_scratch_memory_is_made_once() -> None:
    """By whichever thread comes first; addresses are of memory that stays."""
    code = """
import sys, threading
import numpy as np
import tinytorch.kernels.gemm.gemm as gemm

sys.setswitchinterval(1e-6)
kernel = gemm._KERNELS[np.dtype(np.float32)]
made, compiled = [], kernel._compiled
kernel._compiled = lambda: (made.append(1), compiled())[1]
x = np.eye(5, dtype=np.float32)
found = []
callers = [threading.Thread(target=lambda: found.append(gemm.matmul(x, x).tolist() == x.tolist())) for _ in range(4)]
for caller in callers:
    caller.start()
for caller in callers:
    caller.join()
print(len(made), found)
"""
    assert run(code) == "1 [True, True, True, True]\n"
