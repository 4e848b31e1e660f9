"""Each compiled function asks LLVM for vectors as wide as the processor's; some promise that their arrays lie apart."""

from __future__ import annotations

import re
from typing import Any

import numba
import numpy as np
import pytest

from tinytorch.kernels.compiler import apart, inner, serial
from tinytorch.kernels.machinery.wide_vectors import ApartCompiler, WideCompiler
from tinytorch.kernels.simd import VECTOR_BYTES


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


@pytest.mark.parametrize("decorator, compiler", [(serial, WideCompiler), (inner, WideCompiler), (apart, ApartCompiler)])
def test_kernels_are_compiled_so(decorator: Any, compiler: Any) -> None:
    assert decorator(_double_all)._compiler.pipeline_class is compiler


def _spread(x: Any, factor: float, a: Any, b: Any) -> None:
    for i in range(x.size):
        a[i] = x[i] * factor
        b[i] += x[i]


@pytest.mark.parametrize("compiler, promises", [(WideCompiler, 0), (ApartCompiler, 3)])
def test_arrays_are_promised_to_lie_apart(compiler: Any, promises: int) -> None:
    compiled: Any = numba.njit(pipeline_class=compiler)(_spread)
    x, a, b = np.arange(5.0), np.zeros(5), np.ones(5)
    compiled(x, 2.0, a, b)
    np.testing.assert_array_equal(a, 2 * x)
    np.testing.assert_array_equal(b, 1 + x)
    (text,) = compiled.inspect_llvm().values()
    assert len(re.findall(r"noalias [^,]*%arg\.\w+\.4", text)) == promises
