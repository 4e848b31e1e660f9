"""The process's peak memory."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_memory() -> int:
    """The most bytes that this process has had in memory at once; 0 if the system does not say (Windows)."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage also counts what the parent had in memory when it started this process
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields.get("VmHWM", "0 kB").split()[0]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
