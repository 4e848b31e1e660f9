"""parallel_for: every index once, workers numbered, failures reported, the thread count respected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytorch.kernels.compiler import serial
from tinytorch.kernels.threads import get_num_threads, max_threads, parallel_for, set_num_threads


@serial
def _mark(start: int, stop: int, worker: int, visits: Any, workers: Any, fail_at: int) -> None:
    for i in range(start, stop):
        if i == fail_at:
            raise ValueError("stop")
        visits[i] += 1
        workers[i] = worker


@serial
def _mark_all(visits: Any, workers: Any, grain: int, fail_at: int) -> None:
    parallel_for(_mark, visits.size, grain, (visits, workers, fail_at))


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
@pytest.mark.parametrize("grain", [1, 3, 1000])
@pytest.mark.parametrize("threads", [1, max_threads()])
def test_each_index_is_visited_once(count: int, grain: int, threads: int) -> None:
    before = get_num_threads()
    set_num_threads(threads)
    assert get_num_threads() == threads
    visits, workers = np.zeros(count, np.int64), np.full(count, -1)
    _mark_all(visits, workers, grain, -1)
    assert (visits == 1).all()
    assert ((workers >= 0) & (workers < threads)).all()
    set_num_threads(before)


@pytest.mark.parametrize("grain", [1, 100])
def test_a_failure_on_a_thread_raises(grain: int) -> None:
    visits = np.zeros(100, np.int64)
    with pytest.raises(RuntimeError, match="failed on one of its threads"):
        _mark_all(visits, visits.copy(), grain, 50)
    _mark_all(visits, visits.copy(), grain, -1)


def test_thread_counts_are_checked() -> None:
    before = get_num_threads()
    set_num_threads(max_threads() + 100)
    assert get_num_threads() == max_threads()
    with pytest.raises(ValueError, match="positive"):
        set_num_threads(0)
    set_num_threads(before)
