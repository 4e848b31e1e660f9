"""Loops in the processor's full vector width.

For some processors with AVX-512 (from Skylake to Emerald Rapids) LLVM makes vectors of 256 bits of a loop, as the first
of them lowered their clock for longer ones. Kernels of exponentials and the like then take up to a third longer. Each
function may ask for another width: LLVM's attribute "prefer-vector-width". Numba has no option for it, so its last
step, from its own intermediate code to LLVM's, is replaced by one that adds the attribute; nothing else differs, and
nobody else's functions do.
"""

from __future__ import annotations

from typing import Any

from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

from tinytorch.kernels.simd import VECTOR_BYTES


class _WideLower(Lower):  # type: ignore[misc]
    def setup_function(self, fndesc: Any) -> None:
        super().setup_function(fndesc)
        # Past llvmlite's own `add`, which takes only attributes without a value.
        set.add(self.function.attributes, f'"prefer-vector-width"="{VECTOR_BYTES * 8}"')


@register_pass(mutates_CFG=True, analysis_only=False)
class _WideLowering(NativeLowering):  # type: ignore[misc]
    _name = "tinytorch_wide_lowering"

    @property
    def lowering_class(self) -> type[Lower]:
        return _WideLower


class WideCompiler(CompilerBase):  # type: ignore[misc]
    """Numba's compiler, for functions whose loops take the widest vectors: njit(pipeline_class=WideCompiler)."""

    def define_pipelines(self) -> list[Any]:
        """Numba's own pipeline, its lowering replaced."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [(_WideLowering if step is NativeLowering else step, why) for step, why in manager.passes]
        manager.finalize()
        return [manager]
