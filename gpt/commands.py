"""The commands: `python -m gpt train | sample | attend | stages | examples`."""

from __future__ import annotations

import argparse
from typing import Annotated, Any

import tyro

from gpt.attend import AttendConfig, attend
from gpt.config import TrainConfig
from gpt.examples import ExamplesConfig, examples
from gpt.presets import get_preset
from gpt.run import Run
from gpt.sample import SampleConfig, sample
from gpt.stage_table import StagesConfig, run_stages
from tinytorch.cli.command_line import INTERRUPTED
from tinytorch.cli.options import parse
from tinytorch.cli.output import run_console
from tinytorch.training.folders import locked
from tinytorch.training.resuming import settings_to_change
from tinytorch.training.trainer import train


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    config = _parse(arguments)
    if isinstance(config, TrainConfig):
        with locked(config.out):
            return INTERRUPTED if train(Run.open(config), run_console()).interrupted else 0
    if isinstance(config, StagesConfig):
        return 0 if run_stages(config, run_console()) else INTERRUPTED
    if isinstance(config, SampleConfig):
        sample(config)
    elif isinstance(config, AttendConfig):
        attend(config)
    else:
        for line in examples(config):
            print(line)
    return 0


def _parse(arguments: list[str]) -> TrainConfig | SampleConfig | AttendConfig | StagesConfig | ExamplesConfig:
    # Built at run time because the defaults of `train` depend on the arguments; a string annotation could not do that.
    commands: Any = (
        Annotated[TrainConfig, tyro.conf.subcommand("train", default=_train_defaults(arguments))]
        | Annotated[SampleConfig, tyro.conf.subcommand("sample")]
        | Annotated[AttendConfig, tyro.conf.subcommand("attend")]
        | Annotated[StagesConfig, tyro.conf.subcommand("stages")]
        | Annotated[ExamplesConfig, tyro.conf.subcommand("examples")]
    )
    config: TrainConfig | SampleConfig | AttendConfig | StagesConfig | ExamplesConfig = parse(
        commands, "python -m gpt", "A character-level GPT on tinytorch.", arguments
    )
    return config


def _train_defaults(arguments: list[str]) -> TrainConfig:
    """The defaults that the options of `train` override: the preset's or, with --resume, the run's own."""
    if arguments[:1] != ["train"]:
        return TrainConfig()
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    peek.add_argument("--preset", default=TrainConfig.preset)
    try:
        asked, _ = peek.parse_known_args(arguments[1:])
    except argparse.ArgumentError:  # tyro will hit the same error and report it in its own way
        return TrainConfig()
    return settings_to_change(arguments[1:], get_preset(asked.preset))
