"""A process computes the same bits whether it compiles its kernels, all or some, in whatever order, or finds them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest

from tinytorch.kernels.machinery.wide_vectors import WideCompiler


@numba.njit(pipeline_class=WideCompiler, fastmath=True)  # not cached: a cached one has lost its text
def _moments(x: Any, start: int) -> Any:
    first, second, third = x[0] * 0, x[0] * 0, x[0] * 0
    for i in range(start, x.size):
        first += x[i]
    for i in range(start, x.size):
        second += x[i] * x[i]
    for i in range(start, x.size):
        third += x[i] * x[i] * x[i]
    return first + second + third


@numba.njit(pipeline_class=WideCompiler)
def _differences(x: Any, y: Any) -> Any:
    return _moments(x, y.size) - _moments(y, x.size) + _moments(x, 0) - _moments(y, 0)


@numba.njit(pipeline_class=WideCompiler)
def _twice(x: Any, y: Any) -> Any:
    return _differences(x, y) + _differences(y, x)


@pytest.fixture(scope="module")
def twice() -> Any:
    """Compiled code that calls what calls a function which is too long to be inlined."""
    x, y = np.arange(4.0), np.arange(3.0)
    assert _twice(x, y) == 0
    (compiled,) = _twice.overloads.values()
    return compiled


def _linkages(module: Any) -> dict[str, llvm.Linkage]:
    return {function.name: function.linkage for function in module.functions if not function.is_declaration}


def test_copies_of_what_is_called_are_private(twice: Any) -> None:
    entries = {getattr(twice.fndesc, f"llvm_{kind}_name") for kind in ("func", "cpython_wrapper", "cfunc_wrapper")}
    own, shared = twice.library._final_module, twice.library._get_module_for_linking()
    for module, entry in ((own, llvm.Linkage.external), (shared, llvm.Linkage.linkonce_odr)):
        copies = {name: kind for name, kind in _linkages(module).items() if not name.startswith("NRT_")}
        assert {copies.pop(name) for name in entries} == {entry}
        assert any("moments" in name for name in copies)
        assert set(copies.values()) == {llvm.Linkage.private}


def test_callers_link_what_they_would_find_in_the_cache(twice: Any) -> None:
    _, _, (_, kept) = twice.library.serialize_using_object_code()
    assert llvm.parse_bitcode(kept).as_bitcode() == twice.library._get_module_for_linking().as_bitcode()


ATTENTION = """
import sys
import numpy as np
from tests.kernels.every_kernel import digest
from tinytorch.kernels.attention.attention import attention

rng = np.random.default_rng(0)
q, k, v = (rng.standard_normal((2, 4, 100, 32)).astype(np.float32) for _ in range(3))
print(digest(list(attention(q, k, v, causal=True))))
"""

EVERYTHING = """
import hashlib, sys
from pathlib import Path
import numpy as np
from gpt.__main__ import main
from tests.kernels.every_kernel import calls, digest, results_of

order, text, out = sys.argv[1:]
digests = [
    (number, call.function.__name__, digest(results_of(call)))
    for number, call in list(enumerate(calls(np.float32, 19, 70)))[:: int(order)]
]
main(["train", "--data", text, "--out", out, "--max-iters=40", "--eval-interval=20", "--eval-iters=2"])
weights = sorted(Path(out).glob("*.safetensors"))
assert weights
print(sorted(digests), [hashlib.sha256(path.read_bytes()).hexdigest() for path in weights])
"""


def _run(cache: Path, script: str, *arguments: str) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def _without(cache: Path, copy: Path, *names: str) -> Path:
    """A copy of a cache without the kernels of these names."""
    shutil.copytree(cache, copy)
    dropped = [path for name in names for path in copy.rglob(f"*.{name}-*.nb*")]
    assert {path.suffix for path in dropped} == {".nbi", ".nbc"}
    for path in dropped:
        path.unlink()
    return copy


def test_attention_with_an_empty_cache_a_full_one_and_parts_of_one(tmp_path: Path) -> None:
    first = _run(tmp_path / "cache", ATTENTION)
    assert _run(tmp_path / "cache", ATTENTION) == first
    for names in (("forward", "_query_tiles"), ("product", "_softmax_step")):  # callers and callees
        assert _run(_without(tmp_path / "cache", tmp_path / names[0], *names), ATTENTION) == first


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_kernels_and_training_with_an_empty_cache_a_full_one_and_parts_of_one(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog, and the dog does not mind.\n" * 200, encoding="utf-8")

    def run(cache: Path, order: str = "1") -> str:
        out = tmp_path / "out"
        found = _run(cache, EVERYTHING, order, str(text), str(out)).splitlines()[-1]
        shutil.rmtree(out)
        return found

    first = run(tmp_path / "cache")
    assert run(tmp_path / "cache") == first
    assert run(tmp_path / "backwards", "-1") == first
    names = sorted({path.name.split(".")[1].rsplit("-", 1)[0] for path in (tmp_path / "cache").rglob("*.nbi")})
    assert run(_without(tmp_path / "cache", tmp_path / "even", *names[::2])) == first
    assert run(_without(tmp_path / "cache", tmp_path / "odd", *names[1::2])) == first
