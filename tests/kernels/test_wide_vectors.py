"""Each compiled function asks LLVM for vectors as wide as the processor's."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from tinytorch.kernels.compiler import inner, serial
from tinytorch.kernels.simd import VECTOR_BYTES
from tinytorch.kernels.wide_vectors import WideCompiler


def _double_all(x: Any) -> None:
    for i in range(x.size):
        x[i] += x[i]


def test_functions_ask_for_the_full_width() -> None:
    compiled: Any = numba.njit(pipeline_class=WideCompiler)(_double_all)  # not cached: a cached one has lost its text
    x = np.arange(5.0)
    compiled(x)
    np.testing.assert_array_equal(x, 2 * np.arange(5.0))
    (text,) = compiled.inspect_llvm().values()
    assert f'"prefer-vector-width"="{VECTOR_BYTES * 8}"' in text


@pytest.mark.parametrize("decorator", [serial, inner])
def test_kernels_are_compiled_so(decorator: Any) -> None:
    assert decorator(_double_all)._compiler.pipeline_class is WideCompiler
