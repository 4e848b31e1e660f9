from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinytorch
from tinytorch import warmup
from tinytorch.engine.function import Function
from tinytorch.kernels import compiler


@pytest.mark.timeout(1800)  # it compiles every kernel, where none is kept
def test_warm_up_runs_every_operation_once_and_the_optimizer() -> None:
    seen: list[tuple[int, int, str]] = []
    warmup.warm_up(["float32"], lambda *progress: seen.append(progress))
    names = [name.removesuffix(" float32") for _, _, name in seen]
    assert names == [*[cls.__name__ for cls in warmup.operations()], "AdamW", ""]
    assert [done for done, _, _ in seen] == list(range(len(seen)))
    assert {total for _, total, _ in seen} == {len(seen) - 1}
    assert {"Attention", "Gelu", "Linear", "EmbeddingBackward"} <= set(names)
    assert tinytorch.get_float32_matmul_precision() == "highest"


def test_only_the_package_s_own_operations_are_run() -> None:
    class Foreign(Function):
        examples = ((lambda t, x: t.no_such_function(x), (3,)),)

    assert Foreign in Function.__subclasses__()
    assert Foreign not in warmup.operations()


def test_what_is_compiled_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiler, "cache_folder", lambda: str(tmp_path))
    assert not compiler.anything_compiled()
    (tmp_path / "gemm_1").mkdir()
    (tmp_path / "gemm_1" / "gemm.1.nbc").touch()
    assert compiler.anything_compiled()


TRAINS = """
import numpy as np, tinytorch as t
from tinytorch import nn
from tinytorch.nn import functional as F
net = nn.Sequential(nn.Embedding(65, 128), nn.LayerNorm(128), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 65))
optimizer = t.optim.AdamW(net.parameters())
for rows in (4, 600):
    ids = t.tensor(np.arange(rows) % 65)
    loss = F.cross_entropy(net(ids), ids)
    (loss + net[0].weight.sum() * 0).backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
t.set_float32_matmul_precision("medium")
t.compile(lambda x: F.linear(x, x, x[0]))(t.ones(300, 300)).sum()
x = t.ones(20, 64, requires_grad=True)
F.linear(x, t.ones(16, 64).to(t.bfloat16)).sum().backward()
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_after_it_nothing_is_left_to_compile_in_a_training_step(tmp_path: Path) -> None:
    def run(*arguments: str) -> set[Path]:
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
        environment.pop("NUMBA_CACHE_DIR", None)
        subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True, timeout=1800)
        return set(tmp_path.rglob("*.nbc"))

    warm = run("-m", "tinytorch.warmup", "--dtypes", "float32")
    assert warm
    assert run("-c", TRAINS) == warm
