"""How a program begins and ends: with a stored run's settings; 0 when done, 2 for a mistake, 130 after Ctrl-C."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from programs import checkpoint
from programs.errors import UserError
from programs.reading import printable
from programs.run import stored_config
from programs.settings import Settings
from tinytorch.safetensors import SafetensorError

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


def exit_code(command: Callable[[], int]) -> int:
    """What `command` returns, or the code of the error that ended it, which is printed on one line of stderr."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _exit_code(command)


def _exit_code(command: Callable[[], int]) -> int:
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


def settings_to_change(arguments: list[str], settings: Settings) -> Settings:
    """What the options of a training command change: `settings`, or with --resume those of the run in OUT."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    peek.add_argument("--out", type=Path, default=settings.out)
    peek.add_argument("--resume", action=argparse.BooleanOptionalAction)
    try:
        asked, _ = peek.parse_known_args(arguments)
    except argparse.ArgumentError:  # tyro will meet it too, and say it in its own way
        return settings
    if not asked.resume:
        return settings
    _, values = checkpoint.load(asked.out, "last")
    return dataclasses.replace(stored_config(type(settings), asked.out, values), resume=True)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """What the user should know is for the user; where it stands in the code is not."""
    print(f"warning: {printable(str(message))}", file=sys.stderr)


def _fail(message: str) -> int:
    print(f"error: {printable(message)}", file=sys.stderr)
    return 2
