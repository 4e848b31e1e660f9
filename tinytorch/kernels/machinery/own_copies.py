"""Compiled code that runs its own copies of the functions that it calls, whatever else a process has loaded.

Numba links the functions that a kernel calls into the kernel's own code, where LLVM optimises them once more together:
each copy of a function may round differently, as "reassoc" and "contract" allow. But Numba gives all copies one name,
and the linker of a process, which treats all that is loaded as one program, keeps the first copy of a name and drops
the others. Bits would then depend on what was loaded before: a process that compiles a kernel has loaded each of the
functions that it calls; a later process, which finds the kernel in the cache, has not.

Here copies are private: they have no name for the linker, and a kernel always calls its own. The copies in the code
that callers link in turn are private, too: otherwise callers would share one wherever names agree, and names contain a
count of what the process has compiled. What callers link has also been written to and read from the bytes that the
cache keeps, even if it was compiled a moment ago: LLVM does not optimise code that it has read quite as it does code
that it has made. A kernel's code thus follows from its sources alone.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from numba.core.codegen import JITCodeLibrary

# Numba's reference counting, which is looked up by name and computes nothing.
_RUNTIME = ("NRT_", "nrt_")


class OwnCopies(JITCodeLibrary):  # type: ignore[misc]
    """The code of one function for one signature, and its own copies of all that it calls."""

    def _finalize_final_module(self) -> None:
        """Make copies private, after all is linked and optimised and before it becomes machine code."""
        for_callers = llvm.parse_bitcode(self._final_module.as_bitcode())
        for function in _defined(for_callers):
            if function.linkage == llvm.Linkage.external:
                function.linkage = "linkonce_odr"
            elif not function.name.startswith(_RUNTIME):
                function.linkage = "private"
        self._for_callers = for_callers.as_bitcode()
        self._shared_module = llvm.parse_bitcode(self._for_callers)
        for function in _defined(self._final_module):
            if function.linkage != llvm.Linkage.external:
                function.linkage = "private"
        super()._finalize_final_module()

    def serialize_using_object_code(self) -> Any:
        """Return what the cache keeps."""
        name, kind, (machine_code, _) = super().serialize_using_object_code()
        return name, kind, (machine_code, self._for_callers)


def _defined(module: llvm.ModuleRef) -> list[llvm.ValueRef]:
    return [function for function in module.functions if not function.is_declaration]
