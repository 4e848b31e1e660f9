"""The command line: `python -m tinytorch.study`; its commands are in the module of that name."""

from __future__ import annotations

import sys
from importlib import import_module

from ..cli.command_line import exit_code


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    return exit_code(lambda: import_module("tinytorch.study.commands").run(arguments), "study")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
