"""The command line: `python -m tinytorch.study`; its commands are in the module of that name."""

from __future__ import annotations

import sys

from .commands import run


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    try:
        return run(arguments)
    except (LookupError, ValueError, TypeError, RuntimeError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
