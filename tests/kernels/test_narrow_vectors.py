"""Products, and attention for a few queries, on processors whose vectors are shorter than this one's: AVX2, SSE, NEON.

The width is settled when the kernels are imported, so a process of its own is told to compile for such a processor, by
Numba's own settings; or, for one of another kind, that the host is one. What it compiles runs here all the same, as
every wider set of instructions holds the narrower ones.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tinytorch.kernels.simd import VECTOR_BYTES

SCRIPT = """
import platform
import sys
import llvmlite.binding as llvm

width, registers, pretend = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "pretend"
if pretend:
    real = llvm.get_host_cpu_features()

    class Features(dict):
        flatten = staticmethod(real.flatten)  # what Numba asks for: the code is for this processor

    features = Features(avx2=width == 32, fma=width == 32)
    llvm.get_host_cpu_features = lambda: features
    machine, platform.machine = platform.machine, lambda: "arm64" if registers == 32 else "x86_64"

import numpy as np
from tinytorch.kernels import simd
if pretend:
    platform.machine = machine
from tinytorch.kernels.gemm.gemm import matmul

assert (simd.VECTOR_BYTES, simd.REGISTERS) == (width, registers)
generator = np.random.default_rng(0)
for dtype, tolerance in ((np.float32, 1e-3), (np.float64, 1e-11)):
    for m, n, k in ((1, 40, 300), (3, 8, 10), (3, 41, 300), (6, 400, 200), (13, 17, 33), (70, 71, 300), (300, 5, 150)):
        a, at = (generator.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, m)))
        b, bt = (generator.standard_normal(shape).astype(dtype) for shape in ((k, n), (n, k)))
        for left in (a, at.T):
            for right in (b, bt.T):
                exact = left.astype(np.float64) @ right.astype(np.float64)
                np.testing.assert_allclose(matmul(left, right), exact, rtol=0, atol=tolerance)
                out = np.ones((m, n), dtype)
                np.testing.assert_allclose(matmul(left, right, out, accumulate=True), exact + 1, rtol=0, atol=tolerance)

from tinytorch.kernels.attention.attention import attention

for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-13)):
    for heads, kv_heads, positions, keys, size in ((4, 1, 1, 70, 33), (12, 2, 3, 131, 32), (5, 5, 1, 7, 20)):
        q = generator.standard_normal((2, heads, positions, size)).astype(dtype)
        k, v = (generator.standard_normal((2, kv_heads, keys, size)).astype(dtype) for _ in range(2))
        wide_k, wide_v = (np.repeat(x.astype(np.float64), heads // kv_heads, axis=1) for x in (k, v))
        scores = q.astype(np.float64) @ wide_k.swapaxes(2, 3) / size**0.5
        p = np.exp(scores - scores.max(-1, keepdims=True))
        out, (top, total) = attention(q, k, v)
        np.testing.assert_allclose(out, p @ wide_v / p.sum(-1, keepdims=True), rtol=0, atol=tolerance)
        np.testing.assert_allclose(top, scores.max(-1), rtol=0, atol=10 * tolerance)
        np.testing.assert_allclose(total, p.sum(-1), rtol=10 * tolerance)
"""


@pytest.mark.parametrize(("width", "registers"), [(16, 16), (16, 32), (32, 16)])
def test_products(width: int, registers: int, tmp_path: Path) -> None:
    if width > VECTOR_BYTES:
        pytest.skip(f"this processor has vectors of {VECTOR_BYTES} bytes")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    pretend = registers == 32 or platform.machine() not in ("x86_64", "AMD64")
    if not pretend:
        settings = ("x86-64-v3", "+avx2,+fma") if width == 32 else ("x86-64", "")
        environment |= dict(zip(("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"), settings, strict=True))
    command = [sys.executable, "-c", SCRIPT, str(width), str(registers), "pretend" if pretend else ""]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


NF4 = """
import numpy as np, tinytorch
from tinytorch.kernels.simd import FEATURES
from tinytorch.quantization import QuantizedWeight, quantized_linear
assert not [name for name in FEATURES if name.startswith("avx")]
weight = QuantizedWeight.quantize(np.random.default_rng(0).standard_normal((16, 128)).astype(np.float32), "nf4")
x = tinytorch.randn(1, 128)
np.testing.assert_allclose(quantized_linear(x, weight).numpy(), x.numpy() @ weight.dequantize().T, atol=1e-4)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX is x86's")
def test_numba_may_be_told_to_do_without_avx(tmp_path: Path) -> None:
    """As on a virtual machine that claims to have it: no instruction of it may be left in what we write ourselves."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_ENABLE_AVX": "0"}
    result = subprocess.run([sys.executable, "-c", NF4], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
