"""The examples in a file, as a run uses them: which are held out, their batches, and which are evaluated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import tinytorch
from lora.commands.rule import data_path
from lora.commands.tune_config import TuneConfig
from lora.model.config import LlamaConfig
from lora.text.batches import Batches
from lora.text.data import Example, load_data, split
from lora.text.records import read_text
from lora.text.tokenizer import Tokenizer
from tinytorch.training.batches import Batch

VALIDATION = 0.8  # the share of an evaluation's examples


class ExampleData:
    """Tokenized examples, to train on and to validate on; `batches` are those to train on."""

    def __init__(self, config: TuneConfig) -> None:
        self.config = config
        self.tokenizer = Tokenizer.from_pretrained(config.model)
        context = LlamaConfig.load(config.model).max_position_embeddings
        self.length = min(config.max_tokens, context)  # the most tokens in an example
        paths = [data_path(name) for name in (config.data, config.val_data) if name]
        data, *others = [load_data(path, self.tokenizer, self.length) for path in paths]
        self.chat = data.chat
        self.warnings = [warning for each in (data, *others) for warning in each.warnings]
        if others:
            train, val, self.held_out = data.examples, others[0].examples, others[0].records
        else:
            train, val = split(data.examples, config.seed)
            self.held_out = split(data.records, config.seed)[1]
        self.examples = {"train": train, "val": val}
        self.text = "".join(map(read_text, paths))
        self.batches = self._batches(train)

    def evaluation_batches(self, split: str) -> Iterator[Batch]:
        return self._batches(self.evaluated(split)).one_epoch()

    def evaluated(self, split: str) -> list[Example]:
        """The examples of "train" or "val" to evaluate on: drawn once, as many as eval_share allows."""
        config, examples = self.config, self.examples[split]
        fraction = config.eval_share * (VALIDATION if split == "val" else 1 - VALIDATION)
        steps = min(config.eval_interval, config.max_iters) * config.grad_accum
        room = fraction * steps / len(self.batches) * sum(len(example.inputs) for example in self.examples["train"])
        generator = tinytorch.Generator().manual_seed(config.seed + 1)
        drawn = [examples[i] for i in tinytorch.randperm(len(examples), generator=generator).tolist()]
        tokens = np.cumsum([len(example.inputs) for example in drawn])
        most = config.eval_iters * config.batch_size
        return drawn[: min(max(int((tokens <= room).sum()), config.batch_size), most)]

    def position(self) -> dict[str, np.ndarray]:
        return {"position": np.array([self.batches.epoch, self.batches.index])}

    def set_position(self, tensors: dict[str, np.ndarray]) -> None:
        self.batches.go_to(*tensors["position"].tolist())

    def _batches(self, examples: list[Example]) -> Batches:
        config = self.config
        return Batches(examples, config.batch_size, config.seed, self.length if config.packing else None)
