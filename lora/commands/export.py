"""Merge an adapter into a model's weights, and write a checkpoint that needs no adapter."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from lora.adapters.adapter_files import load_adapter
from lora.adapters.merging import merge
from lora.commands.quantize import COMPANIONS
from lora.model.default_model import default_model
from lora.model.llama import Llama
from lora.model.training_record import FILE
from tinytorch.training.folders import new_folder


@dataclass(frozen=True)
class MergeConfig:
    """Write a checkpoint with an adapter merged into its weights, in the dtype in which they are stored."""

    adapter: Path
    """Folder of the adapter."""

    out: Path
    """Folder to write; it must not exist yet, or be empty."""

    model: Path = field(default_factory=default_model)
    """Folder of the adapter's checkpoint; the default is the model that ships with the project."""


def merge_folders(config: MergeConfig) -> int:
    """Run the command and return its exit code."""
    with new_folder(config.out) as folder:
        model = load_adapter(Llama.from_pretrained(config.model, "auto"), config.adapter)
        for source, names in ((config.model, COMPANIONS), (config.adapter, (FILE,))):  # the last record counts
            for name in names:
                if (source / name).exists():
                    shutil.copyfile(source / name, folder / name)
        merge(model).save_pretrained(folder)
    Console(soft_wrap=True).print(f"{config.out} holds {config.model} with {config.adapter} in its weights")
    return 0
