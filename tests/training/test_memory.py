from __future__ import annotations

import numpy as np
import pytest

from tinytorch.training.memory import peak_memory


def test_the_peak_rises_with_what_is_held_and_stays() -> None:
    before = peak_memory()
    if before == 0:
        pytest.skip("the system does not say")
    array = np.ones(before // 8 + 10_000_000)
    during = peak_memory()
    assert during > before + array.nbytes // 2
    del array
    assert peak_memory() > 0.99 * during  # the system counts in batches of pages
