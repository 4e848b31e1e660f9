"""The command line, `python -m lora`. The commands themselves are listed in `lora.commands.table`."""

from __future__ import annotations

import sys

from programs.command_line import run_program


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    return run_program("lora.commands.table", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
