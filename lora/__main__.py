"""The command line, `python -m lora`. The commands themselves are listed in `lora.commands.table`."""

from __future__ import annotations

import signal
import sys


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        from tinytorch.cli.command_line import run_program
    except ImportError as error:  # a package that tinytorch itself needs
        print(f"error: {error}", file=sys.stderr)
        return 2
    return run_program("lora.commands.table", arguments)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # `run_program` handles Ctrl-C once it is imported
    sys.exit(main(sys.argv[1:]))
