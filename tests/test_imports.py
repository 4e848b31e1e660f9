"""What `import tinytorch` imports: the engine and what computes, nothing of what programs are made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGES = ("tinytorch.cli", "tinytorch.generation", "tinytorch.training", "gpt", "lora")
LEFT_OUT = (*PACKAGES, "tyro", "rich", "filelock", "pooch", "matplotlib")


def test_the_engine_alone() -> None:
    code = "import sys, tinytorch; print(*sys.modules)"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "tinytorch.optim" in modules
    assert [name for name in modules if name.startswith(LEFT_OUT)] == []
