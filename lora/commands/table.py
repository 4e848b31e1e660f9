"""The commands: `python -m lora generate | info | pretrain | ...`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import tyro

from lora.commands.evaluate import EvalConfig, evaluate
from lora.commands.export import MergeConfig, merge_folders
from lora.commands.foreign_options import refuse_foreign
from lora.commands.generate import GenerateConfig, generate
from lora.commands.info import InfoConfig, info
from lora.commands.pretrain import PretrainConfig, pretrain
from lora.commands.qlora import QLoraConfig, qlora
from lora.commands.quantize import QuantizeConfig, quantize
from lora.commands.ranks import RanksConfig, ranks
from lora.commands.synthesize import SynthesizeConfig, synthesize
from lora.commands.train import tune
from lora.commands.tune_config import TuneConfig
from tinytorch.cli.options import parse
from tinytorch.training.resuming import settings_to_change
from tinytorch.training.settings import TrainSettings

# Each command's name, its settings, and the function that runs it and returns the exit code.
COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "eval": (EvalConfig, evaluate),
    "generate": (GenerateConfig, generate),
    "info": (InfoConfig, info),
    "merge": (MergeConfig, merge_folders),
    "pretrain": (PretrainConfig, pretrain),
    "qlora": (QLoraConfig, qlora),
    "quantize": (QuantizeConfig, quantize),
    "ranks": (RanksConfig, ranks),
    "synthesize": (SynthesizeConfig, synthesize),
    "train": (TuneConfig, tune),
}


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    refuse_foreign(arguments)
    union: Any = None
    for name, (settings, _) in COMMANDS.items():
        subcommand = tyro.conf.subcommand(name)
        if arguments[:1] == [name] and issubclass(settings, TrainSettings):
            default = TuneConfig.defaults(arguments[1:]) if settings is TuneConfig else settings()
            subcommand = tyro.conf.subcommand(name, default=settings_to_change(arguments[1:], default))
        command: Any = Annotated[(settings, subcommand)]
        union = command if union is None else union | command
    config = parse(union, "python -m lora", "Llama checkpoints and low-rank adapters on tinytorch.", arguments)
    command = next(command for settings, command in COMMANDS.values() if isinstance(config, settings))
    return command(config)
