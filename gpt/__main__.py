"""The command line: `python -m gpt`; its commands are in the module of that name."""

from __future__ import annotations

import sys

from programs.command_line import run_program


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    return run_program("gpt.commands", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
