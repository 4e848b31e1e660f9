"""A description of this machine, and its peak: floating-point operations and bytes per second."""

from __future__ import annotations

import platform
import time
from importlib import metadata
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

import tinytorch
from bench.instructions import limited
from tinytorch.kernels.simd import VECTOR_BYTES
from tinytorch.kernels.threads import parallel_for

PACKAGES = ("numpy", "numba", "torch", "jax", "transformers", "peft")
_CHAINS = 12  # independent sums: enough to hide the latency of a multiply-add, few enough for the registers


def describe() -> dict[str, str]:
    """The processor, the threads and the versions of everything that is measured."""
    facts = {
        "processor": _processor() + (", AVX2 and nothing newer" if limited() else ""),
        "threads": str(tinytorch.get_num_threads()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "tinytorch": tinytorch.__version__,
    }
    for package in PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return facts


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@intrinsic
def _multiply_adds(typing_context: Any, count: Any, like: Any) -> Any:
    """`count` rounds of _CHAINS vector multiply-adds in registers; returns the sum, so that none is optimised away."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        intp, element = context.get_value_type(types.intp), context.get_value_type(like)
        vector = ir.VectorType(element, VECTOR_BYTES * 8 // like.bitwidth)
        entry = builder.block
        loop, end = builder.append_basic_block("loop"), builder.append_basic_block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(intp)
        sums = [builder.phi(vector) for _ in range(_CHAINS)]
        factor = ir.Constant(vector, [0.999] * vector.count)
        fused = ("contract",)  # a product and a sum as one instruction
        following = [builder.fadd(builder.fmul(s, factor, flags=fused), factor, flags=fused) for s in sums]
        step_after = builder.add(step, intp(1))
        builder.cbranch(builder.icmp_signed("<", step_after, values[0]), loop, end)
        step.add_incoming(intp(0), entry)
        step.add_incoming(step_after, loop)
        for i, (phi, value) in enumerate(zip(sums, following, strict=True)):
            phi.add_incoming(ir.Constant(vector, [float(i)] * vector.count), entry)
            phi.add_incoming(value, loop)
        builder.position_at_end(end)
        total = following[0]
        for value in following[1:]:
            total = builder.fadd(total, value)
        return builder.extract_element(total, ir.IntType(32)(0))

    return like(types.intp, like), codegen


@numba.njit
def _flops_worker(start: int, stop: int, worker: int, rounds: int, out: Any) -> None:
    for i in range(start, stop):
        out[i] = _multiply_adds(rounds, out[0])


@numba.njit
def _flops(rounds: int, out: Any) -> None:
    parallel_for(_flops_worker, out.size, 1, (rounds, out))


@numba.njit(fastmath=True)
def _triad_worker(start: int, stop: int, worker: int, a: Any, b: Any, c: Any) -> None:
    for i in range(start, stop):
        a[i] = b[i] + 3.0 * c[i]


@numba.njit
def _triad(a: Any, b: Any, c: Any) -> None:
    parallel_for(_triad_worker, a.size, 1 << 16, (a, b, c))


def peak_flops(dtype: type = np.float32, seconds: float = 2.0) -> float:
    """Floating-point operations per second in multiply-adds that never leave the registers, on all threads."""
    out = np.ones(tinytorch.get_num_threads(), dtype)
    rounds = 1 << 20
    _flops(1, out)
    best, until = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        _flops(rounds, out)
        best = min(best, time.perf_counter() - start)
    return 2.0 * out.size * rounds * _CHAINS * (VECTOR_BYTES // out.itemsize) / best


def peak_bandwidth(seconds: float = 2.0) -> float:
    """Bytes per second in a = b + 3 c over arrays that fit in no cache, on all threads (two reads and one write)."""
    a, b, c = (np.ones(1 << 25, np.float32) for _ in range(3))
    _triad(a, b, c)
    best, until = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        _triad(a, b, c)
        best = min(best, time.perf_counter() - start)
    return 3.0 * a.nbytes / best
