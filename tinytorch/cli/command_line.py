"""How a program starts and ends, with exit code 0 when done, 2 for a mistake, 130 when interrupted.

Nothing but tinytorch is imported here, so that a missing package can be reported.
"""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from ..safetensors import SafetensorError
from .errors import UserError, printable

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
_OURS = ("gpt", "lora", "tinytorch")


def run_program(module: str, arguments: list[str]) -> int:
    """Run a command of the program whose commands are in `module`, such as gpt.commands, and return its exit code."""
    return exit_code(lambda: _imported(module).run(arguments), module.partition(".")[0])


def _imported(module: str) -> Any:
    """The module of the program's commands. Ctrl-C while it is imported ends the process at once.

    In the middle of an import, an exception could be turned into another one, such as a SyntaxError.
    """

    def end(signum: int, frame: FrameType | None) -> None:
        os.write(2, b"\ninterrupted\n")
        os._exit(INTERRUPTED)

    interruptible = signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_DFL)
    if not interruptible or threading.current_thread() is not threading.main_thread():
        return import_module(module)
    signal.signal(signal.SIGINT, end)
    try:
        return import_module(module)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def exit_code(command: Callable[[], int], extra: str) -> int:
    """What `command` returns, or the exit code for the error that ended it, which is printed on one line of stderr.

    `extra` names the extra of tinytorch that installs what the command needs.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the encoding lacks must not end the program
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _exit_code(command, extra)


def _exit_code(command: Callable[[], int], extra: str) -> int:
    try:
        return command()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except (UserError, SafetensorError) as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of our output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OURS:
            raise
        checkout = Path(__file__).parents[2]
        what = ["-e", f"{checkout}[{extra}]"] if (checkout / "setup.cfg").exists() else [f"tinytorch[{extra}]"]
        return _fail(f"{error.name} is not installed: {shlex.join(['pip', 'install', *what])}")


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print the message only, without the place in the code."""
    print(f"warning: {printable(str(message))}", file=sys.stderr)


def _fail(message: str) -> int:
    print(f"error: {printable(message)}", file=sys.stderr)
    return 2
