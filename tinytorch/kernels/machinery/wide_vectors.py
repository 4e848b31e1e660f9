"""Loops in the processor's full vector width.

For some processors with AVX-512 (from Skylake to Emerald Rapids) LLVM gives loops vectors of 256 bits, as the first of
them lowered their clock for longer ones. Kernels of exponentials and the like then take up to a third longer. A
function can ask for another width by LLVM's attribute "prefer-vector-width". Numba has no option for it, so its last
step, from its own intermediate code to LLVM's, is replaced by one that adds the attribute, and whose result calls its
own copies of functions (`own_copies`). Nothing else changes, and only functions compiled this way are affected.

Numba has no option for C's `restrict` either. If a loop writes to several arrays, LLVM must know that they do not
overlap. It checks that when the loop begins, but only for a few pairs: with more, the loop stays scalar. A kernel may
promise it instead.
"""

from __future__ import annotations

import re
from typing import Any

from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

from tinytorch.kernels.machinery.own_copies import OwnCopies
from tinytorch.kernels.simd import VECTOR_BYTES


class _WideLower(Lower):  # type: ignore[misc]
    def setup_function(self, fndesc) -> None:
        super().setup_function(fndesc)
        # llvmlite's own `add` is bypassed, as it takes only attributes without a value.
        set.add(self.function.attributes, f'"prefer-vector-width"="{VECTOR_BYTES * 8}"')


class _ApartLower(_WideLower):
    def setup_function(self, fndesc) -> None:
        super().setup_function(fndesc)
        for argument in self.function.args:
            if re.fullmatch(r"arg\..*\.4", argument.name):  # part 4 of an array is its memory
                argument.add_attribute("noalias")


def _compiler(name: str, lower: type[Lower]) -> type[CompilerBase]:
    """Numba's compiler with a different last step."""

    @register_pass(mutates_CFG=True, analysis_only=False)
    class Lowering(NativeLowering):  # type: ignore[misc]
        _name = f"tinytorch_{name}"
        lowering_class = lower

        def run_pass(self, state) -> bool:
            # This is Numba's code, except for the class.
            if state.library is None:
                state.library = OwnCopies(state.targetctx.codegen(), state.func_id.func_qualname)
                state.library.enable_object_caching()
            changed: bool = super().run_pass(state)
            return changed

    class Compiler(CompilerBase):  # type: ignore[misc]
        def define_pipelines(self) -> list[Any]:
            manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
            manager.passes = [(Lowering if step is NativeLowering else step, why) for step, why in manager.passes]
            manager.finalize()
            return [manager]

    return Compiler


# For njit(pipeline_class=...): functions whose loops use the widest vectors, and functions whose arrays do not overlap.
WideCompiler = _compiler("wide", _WideLower)
ApartCompiler = _compiler("apart", _ApartLower)
