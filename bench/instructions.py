"""Measure as on a processor with fewer instructions than this one.

The goals in bench/report.py were set on a processor with AVX2: vectors of 32 bytes, no products in bfloat16. Each
library has its own setting for the instructions it may use; together they make a newer processor behave like that one,
for all sides alike.
"""

from __future__ import annotations

import os
import sys

AVX2 = {
    "NUMBA_CPU_NAME": "x86-64-v3",
    "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+movbe,+popcnt,+cx16",
    "OPENBLAS_CORETYPE": "Haswell",  # NumPy's products
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels,
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # its products in bfloat16,
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # and in float32 and float64
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",  # JAX
}


def start_again_with_avx2() -> None:
    """Replace this process by one that, with all its children, uses AVX2 at most. Returns if it already is one."""
    if any(os.environ.get(name) != value for name, value in AVX2.items()):
        os.environ.update(AVX2)
        os.execv(sys.executable, [sys.executable, "-m", "bench", *sys.argv[1:]])


def limited() -> bool:
    """Whether this process uses AVX2 at most."""
    return os.environ.get("NUMBA_CPU_FEATURES") == AVX2["NUMBA_CPU_FEATURES"]
