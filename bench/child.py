"""Measuring in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def run(code: str) -> dict[str, Any]:
    """What a new interpreter prints, as JSON, on its last line when it runs this code."""
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def torch_on_all_cores() -> None:
    """PyTorch's threads: as many as there are cores for this process, as ours has."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
