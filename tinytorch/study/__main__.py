"""The command line: `python -m tinytorch.study`; its commands are in the module of that name."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    try:
        from .commands import run  # which needs more than tinytorch does

        return run(arguments)
    except ModuleNotFoundError as error:
        how = ": pip install 'tinytorch[study]'" if error.name in ("tyro", "rich") else ""
        print(f"error: {error}{how}", file=sys.stderr)
        return 2
    except (LookupError, ValueError, TypeError, RuntimeError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
