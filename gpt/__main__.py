"""The command line, `python -m gpt`. The commands themselves are in gpt/commands.py."""

from __future__ import annotations

import sys

from programs.command_line import run_program


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    return run_program("gpt.commands", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
