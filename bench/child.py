"""Measuring in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def run(code: str) -> dict[str, Any]:
    """Run this code in a new interpreter, and return the JSON on the last line that it prints."""
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def torch_on_all_cores() -> None:
    """Give PyTorch as many threads as this process has cores, as we have."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
