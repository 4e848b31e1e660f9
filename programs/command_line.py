"""How a program ends: 0 when done, 2 with one line for a mistake of the user's, 130 after Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from programs.errors import UserError
from tinytorch.safetensors import SafetensorError

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


def exit_code(command: Callable[[], int]) -> int:
    """What `command` returns, or the code of the error that ended it, which is printed on one line of stderr."""
    try:
        return command()
    except (UserError, SafetensorError) as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of our output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
