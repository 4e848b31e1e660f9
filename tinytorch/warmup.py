"""python -m tinytorch.warmup: compile every kernel now instead of on first use.

Kernels are compiled once for a processor and kept in the user's cache folder, so this is worth doing
after installing, or when building an image. It runs every operation's own examples, forward and
backward, and a step of the optimizers.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

import tinytorch

from .dtypes import DTypeLike
from .engine.function import Function
from .kernels.machinery.cache import cache_folder
from .nn.utils import clip_grad_norm_
from .ops.linalg import Linear
from .quantization import QuantizedProduct


def operations() -> list[type[Function]]:
    """Every operation of tinytorch that has examples; users' own operations compile no kernels of ours."""

    def below(cls: type[Function]) -> Iterator[type[Function]]:
        for child in cls.__subclasses__():
            yield child
            yield from below(child)

    return [cls for cls in below(Function) if cls.examples and cls.__module__.startswith("tinytorch.")]


def _run_examples(cls: type[Function], dtype: DTypeLike) -> None:
    generator = np.random.default_rng(0)
    for call, *shapes in cls.examples:
        tensors = [tinytorch.tensor(generator.standard_normal(s), dtype=dtype, requires_grad=True) for s in shapes]
        results = call(tinytorch, *tensors)
        for result in results if isinstance(results, tuple) else (results,):
            if result.requires_grad:
                result.backward(tinytorch.ones_like(result), retain_graph=True)


def _run_optimizer(dtype: DTypeLike) -> None:
    parameter = tinytorch.nn.Parameter(tinytorch.ones(4, dtype=dtype))
    parameter.grad = tinytorch.ones(4, dtype=dtype)
    clip_grad_norm_([parameter], 1.0)
    tinytorch.optim.AdamW([parameter]).step()


def _run_large(dtype: DTypeLike) -> None:
    """Kernels for what small sizes leave to NumPy: sums, and rows of an embedding."""
    large = tinytorch.ones(4, 1 << 14, dtype=dtype)
    large.add(large)
    large.sum()
    large.sum(0)
    tinytorch.nn.functional.embedding(tinytorch.tensor([0, 1, 2, 3]), large)


def _run_compiled(dtype: DTypeLike) -> None:
    """The products that compiled functions use."""
    tinytorch.compile(lambda x: x @ x)(tinytorch.ones(2, 2, dtype=dtype))


def _run_medium(dtype: DTypeLike) -> None:
    """Products with frozen weights at "medium" precision, which has kernels of its own."""
    precision = tinytorch.get_float32_matmul_precision()
    tinytorch.set_float32_matmul_precision("medium")
    try:
        _run_examples(Linear, dtype)
        _run_examples(QuantizedProduct, dtype)
    finally:
        tinytorch.set_float32_matmul_precision(precision)


def warm_up(dtypes: list[str], report: Callable[[int, int, str], None]) -> float:
    """Compile the kernels for these dtypes; report(done, total, name) before each. Returns the seconds taken."""
    started = time.perf_counter()
    classes = operations()
    total = len(dtypes) * (len(classes) + 1)
    for i, name in enumerate(dtypes):
        done = i * (len(classes) + 1)
        for j, cls in enumerate(classes):
            report(done + j, total, f"{cls.__name__} {name}")
            _run_examples(cls, tinytorch.dtypes.as_dtype(name))
        report(done + len(classes), total, f"AdamW {name}")
        _run_optimizer(tinytorch.dtypes.as_dtype(name))
        _run_large(tinytorch.dtypes.as_dtype(name))
        _run_compiled(tinytorch.dtypes.as_dtype(name))
        _run_medium(tinytorch.dtypes.as_dtype(name))
    report(total, total, "")
    return time.perf_counter() - started


def _bar(done: int, total: int, name: str) -> None:
    filled = 30 * done // total
    sys.stderr.write(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done}/{total} {name:<32}")
    sys.stderr.flush()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tinytorch.warmup", description=__doc__.partition("\n\n")[2])
    parser.add_argument(
        "--dtypes",
        nargs="+",
        choices=["float32", "float64"],
        default=["float32", "float64"],
        metavar="DTYPE",
        help="float32, float64, or both (the default)",
    )
    dtypes = parser.parse_args().dtypes
    try:
        seconds = warm_up(dtypes, _bar)
    except KeyboardInterrupt:
        sys.exit("\ninterrupted: what is compiled is kept")
    sys.stderr.write("\n")
    print(f"compiled in {seconds:.0f} s; {f'kept in {folder}' if (folder := cache_folder()) else 'not kept'}")


if __name__ == "__main__":
    main()
