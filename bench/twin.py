"""The code of gpt/ itself, run on PyTorch, to compare the same model with nothing else changed."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

_AS_IT_IS = ("tinytorch.cli.", "tinytorch.generation.", "tinytorch.training.")  # shared by both copies


def gpt_on_torch(module: str) -> ModuleType:
    """A second copy of `gpt.<module>`, in which `import tinytorch` imported torch."""
    import torch

    importlib.import_module(f"gpt.{module}")  # this also imports what both copies share

    aliases = {
        "tinytorch": torch,
        "tinytorch.nn": torch.nn,
        "tinytorch.nn.functional": torch.nn.functional,
        "tinytorch.optim": torch.optim,
    }
    ours = {
        name: sys.modules.pop(name)
        for name in list(sys.modules)
        if name.partition(".")[0] in ("tinytorch", "gpt") and not name.startswith(_AS_IT_IS)
    }
    sys.modules.update(aliases)
    try:
        return importlib.import_module(f"gpt.{module}")
    finally:
        for name in [name for name in sys.modules if name in aliases or name.partition(".")[0] == "gpt"]:
            del sys.modules[name]
        sys.modules.update(ours)
