"""The bits of a kernel's results depend neither on where its arrays lie in memory nor on the number of threads.

LLVM checks as a loop begins whether what it writes may overlap what it reads. Where a result begins less than a few
vectors behind an operand, it enters a loop of single numbers instead, though nothing overlaps: a sum is then added up
in another order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import tinytorch
from tests.kernels.every_kernel import calls, digest, public_kernels, results_of
from tinytorch.kernels import launch, softmax
from tinytorch.kernels.threads import get_num_threads, set_num_threads
from tinytorch.nn import functional as F

Array = npt.NDArray[Any]

LEAST, MOST = 64, 320  # bytes from an array to the next


class Arena:
    """Memory in which one array follows the other, `gap` bytes behind it; or, if that is negative, lies before it."""

    _memory = launch.aligned(1 << 18)

    def __init__(self, gap: int, start: int) -> None:
        self._gap = gap
        self._memory.fill(0xFF)  # NaN, and indices that are out of bounds
        self._place = start if gap >= 0 else self._memory.size - start

    def empty(self, shape: Any, dtype: Any = np.float64, *args: Any, **options: Any) -> Array:
        shape, dtype = (shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        if self._gap < 0:
            place = (self._place - size) // dtype.itemsize * dtype.itemsize
            self._place = place + self._gap
        else:
            place = -(-self._place // dtype.itemsize) * dtype.itemsize
            self._place = place + size + self._gap
        return np.ndarray(shape, dtype, self._memory, place)

    def zeros(self, *args: Any, **options: Any) -> Array:
        made = self.empty(*args)
        made.fill(0)
        return made

    def empty_like(self, array: Array, *args: Any, **options: Any) -> Array:
        return self.empty(array.shape, array.dtype)

    def copy(self, array: Array) -> Array:
        if not array.flags.c_contiguous:
            return self.copy(array.T).T
        copied = self.empty_like(array)
        copied[...] = array
        return copied

    @contextmanager
    def holds_what_is_made(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("empty", "zeros", "empty_like"):
                patch.setattr(np, name, getattr(self, name))
            patch.setattr(launch, "aligned_empty", self.empty)
            yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Starting others takes longer than what is computed here."""
    before = get_num_threads()
    set_num_threads(1)
    yield
    set_num_threads(before)


def test_every_kernel_is_called() -> None:
    assert {call.function for call in calls(np.float32, 2, 3)} == public_kernels()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("rows, columns", [(1, 17), (1, 48), (2, 7), (3, 33), (3, 70)])
def test_where_arrays_lie(dtype: Any, rows: int, columns: int) -> None:
    step = 3 * np.dtype(dtype).itemsize  # so that alignments alternate, too
    for number, call in enumerate(calls(dtype, rows, columns)):
        expected = digest(results_of(call))
        for gap in (0, *range(LEAST, MOST + 1, step)):
            for signed in (gap, -gap):
                arena = Arena(signed, gap % 64)
                arrays = tuple([arena.copy(array) for array in call.arrays])
                with arena.holds_what_is_made():
                    found = results_of(call, arrays)
                assert digest(found) == expected, (number, call.function.__name__, signed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [16, 17, 31, 40, 64, 79])
def test_softmax_into_what_lies_close_behind(dtype: Any, columns: int) -> None:
    x = np.random.default_rng(0).standard_normal((1, columns)).astype(dtype)
    expected = softmax.softmax(x)
    buffer = launch.aligned(2 * MOST + 2 * x.nbytes)
    for start in range(0, 64, x.itemsize):
        for offset in range(x.nbytes, MOST + 1, x.itemsize):
            placed = np.ndarray(x.shape, dtype, buffer, start)
            y = np.ndarray(x.shape, dtype, buffer, start + offset)
            placed[...] = x
            softmax._softmax(placed, y)
            np.testing.assert_array_equal(y, expected)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_second_derivatives_repeat(dtype: Any) -> None:
    """As often as once in 150 runs they did not, and gradgradcheck called a right function not deterministic."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((1, 33), (33,), (1, 33))]

    def derivatives(arena: Arena) -> list[Array]:
        x, weight, g = (tinytorch.from_numpy(arena.copy(array)).requires_grad_() for array in arrays)
        with arena.holds_what_is_made():
            y = F.softmax(F.layer_norm(x, (33,), weight), -1) * F.gelu(x)
            (dx,) = tinytorch.autograd.grad(y, x, g, create_graph=True)
            second = tinytorch.autograd.grad((dx * dx).sum(), (x, weight, g))
        return [z.detach().numpy() for z in (y, dx, *second)]

    derivatives(Arena(MOST, 0))  # compiles what is not yet
    found = {digest(derivatives(Arena(int(rng.integers(-MOST, MOST)), int(rng.integers(64))))) for _ in range(300)}
    assert len(found) == 1


THREADS = """
import json, sys
import numpy as np
import tinytorch
from tests.kernels.every_kernel import calls, digest, results_of
from tinytorch.nn import functional as F
from tinytorch.kernels.threads import get_num_threads, set_num_threads

found = {}
for count in map(int, sys.argv[1:]):
    set_num_threads(count)
    assert get_num_threads() == count
    found[count] = [digest(results_of(call)) for call in calls(np.float32, 130, 260)]
print(json.dumps(found))
"""


def _digests(most_threads: int, *counts: int) -> Iterator[list[str]]:
    result = subprocess.run(
        [sys.executable, "-c", THREADS, *map(str, counts)],
        env={**os.environ, "NUMBA_NUM_THREADS": str(most_threads), "OMP_WAIT_POLICY": "passive"},
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    yield from json.loads(result.stdout).values()


def test_how_many_threads_there_are() -> None:
    (alone,) = _digests(1, 1)
    for digests in _digests(24, 1, 2, 3, 24):
        assert digests == alone
