from __future__ import annotations

from pathlib import Path

import pytest

from tinytorch import warmup
from tinytorch.function import Function
from tinytorch.kernels import compiler


def test_warm_up_runs_every_operation_once_and_the_optimizer() -> None:
    seen: list[tuple[int, int, str]] = []
    warmup.warm_up(["float32"], lambda *progress: seen.append(progress))
    names = [name.removesuffix(" float32") for _, _, name in seen]
    assert names == [*[cls.__name__ for cls in warmup.operations()], "AdamW", ""]
    assert [done for done, _, _ in seen] == list(range(len(seen)))
    assert {total for _, total, _ in seen} == {len(seen) - 1}
    assert {"Attention", "Gelu", "Linear", "EmbeddingBackward"} <= set(names)


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
