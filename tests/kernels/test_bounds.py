"""The check of indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytorch.kernels.launch import check_bounds


@pytest.mark.parametrize(
    "index, size, ignored",
    [
        (np.array([[0, 2], [1, 2]]), 3, None),
        (np.array([[0, 2], [1, 2]], np.uint8), 3, None),
        (np.array(2, np.int32), 3, None),
        (np.array([], np.uint8), 0, None),
        (np.array([-100, 0, -100]), 1, -100),
        (np.array([-100]), 0, -100),
        (np.array([7]), 3, 7),
    ],
    ids=str,
)
def test_within_bounds(index: Any, size: int, ignored: int | None) -> None:
    check_bounds("index", index, size, "rows", IndexError, ignored)


@pytest.mark.parametrize(
    "index, size, ignored, message",
    [
        (np.array([[0, 2], [3, 2]], np.int32), 3, None, "index[1, 0] is 3, which is out of bounds for 3 rows: "),
        (np.array([0, -1]), 3, None, "index[1] is -1, which is out of bounds for 3 rows: expected one from 0 to 2"),
        (np.array(5), 3, None, "index[] is 5"),
        (np.array([1, 0]), 0, None, "index[0] is 1, which is out of bounds for 0 rows"),
        (np.array([[1, 0], [2, 5]]).T, 3, None, "index[1, 1] is 5"),
        (np.array([-100, -1]), 3, -100, "index[1] is -1, which is out of bounds for 3 rows: expected one from 0 to "),
        (np.array([0]), 0, -100, "index[0] is 0"),
        (np.array([2**63], np.uint64), 3, None, "index[0] is 9223372036854775808"),
    ],
    ids=str,
)
def test_out_of_bounds(index: Any, size: int, ignored: int | None, message: str) -> None:
    with pytest.raises(KeyError) as caught:
        check_bounds("index", index, size, "rows", KeyError, ignored)
    assert message in caught.value.args[0]
