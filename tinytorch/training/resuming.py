"""The settings that a command line's options override: the program's own, or those of the run it resumes."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from . import checkpoint
from .run import stored_config
from .settings import Settings


def settings_to_change(arguments: list[str], settings: Settings) -> Settings:
    """The defaults of a training command's options: `settings` or, with --resume, those of the run in OUT."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    peek.add_argument("--out", type=Path, default=settings.out)
    peek.add_argument("--resume", action=argparse.BooleanOptionalAction)
    try:
        asked, _ = peek.parse_known_args(arguments)
    except argparse.ArgumentError:  # tyro will hit the same error and report it in its own way
        return settings
    if not asked.resume:
        return settings
    values = checkpoint.load_values(asked.out, "last")
    return dataclasses.replace(stored_config(type(settings), asked.out, values), resume=True)
