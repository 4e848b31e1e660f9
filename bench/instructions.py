"""Measuring as on a processor with fewer instructions than this one's.

The goals of bench/report.py were set on a processor with AVX2: vectors of 32 bytes, no products in bfloat16. Each
library has a setting of its own for what it may use; together they make of a newer processor such a one, for all sides
alike.
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
    """Replace this process by one that, with all it starts, uses AVX2 and no more. Returns if it is one already."""
    if any(os.environ.get(name) != value for name, value in AVX2.items()):
        os.environ.update(AVX2)
        os.execv(sys.executable, [sys.executable, "-m", "bench", *sys.argv[1:]])


def limited() -> bool:
    """Whether this process uses AVX2 and no more."""
    return os.environ.get("NUMBA_CPU_FEATURES") == AVX2["NUMBA_CPU_FEATURES"]
