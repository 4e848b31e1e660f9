"""A training run: everything that a step changes, saved and restored as one."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tinytorch
from gpt.config import TrainConfig
from gpt.language_model import LanguageModel
from gpt.presets import build_model
from gpt.tokenizer import CharTokenizer
from programs import checkpoint
from programs.batches import Batches, split
from programs.corpora import load_text
from programs.errors import UserError
from tinytorch import Tensor, optim


class Run:
    """Model, optimizer, generators and place in the run, new from the seed."""

    def __init__(self, config: TrainConfig) -> None:
        text = load_text(config.data)
        self.text_sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.tokenizer = CharTokenizer.from_text(text)
        model_config = dataclasses.replace(config.model, vocab_size=self.tokenizer.vocab_size)
        self.config = dataclasses.replace(config, model=model_config)
        self.train_tokens, self.val_tokens = split(np.array(self.tokenizer.encode(text), dtype=np.int32))
        for tokens in (self.train_tokens, self.val_tokens):
            self._batches(tokens, tinytorch.Generator())  # a text too short fails here, before anything is written

        tinytorch.manual_seed(config.seed)
        self.model = build_model(config.architecture, model_config)
        self.optimizer = make_optimizer(self.model, config)
        self.generator = tinytorch.Generator()  # of the training batches
        self.generator.manual_seed(config.seed)
        self.batches = self._batches(self.train_tokens, self.generator)
        self.iteration = 0  # optimizer steps done
        self.best_val_loss = math.inf
        self.seconds = 0.0  # spent so far, evaluations included

    @staticmethod
    def open(config: TrainConfig) -> Run:
        """The run that `config` asks for: a new one, or the last checkpoint of config.out."""
        if config.resume:
            return Run._resume(config)
        if (config.out / "last.json").exists():
            raise UserError(f"{config.out} already holds a run: --resume continues it, another --out starts a new one")
        return Run(config)

    @staticmethod
    def _resume(config: TrainConfig) -> Run:
        tensors, values = checkpoint.load(config.out, "last")
        saved = stored_config(config.out, values)
        run = Run(config)
        for name, then in _fixed(saved).items():
            now = _fixed(config)[name]
            if now != then:
                raise UserError(f"{config.out} was trained with {name} {then}, not {now}: give --out for a new run")
        if run.text_sha256 != values["text_sha256"]:
            raise UserError(f"{config.out} was trained on another text than {config.data}: give that text with --data")
        if config.max_iters < values["iteration"]:
            raise UserError(f"{config.out} is at iteration {values['iteration']}: give a --max-iters of at least that")
        run._restore(tensors, values)
        return run

    def save(self, name: str) -> None:
        """Write the checkpoint `name` of config.out: "last" with all that going on needs, "best" with the weights."""
        values: dict[str, Any] = {
            "iteration": self.iteration,
            "best_val_loss": self.best_val_loss if math.isfinite(self.best_val_loss) else None,
            "seconds": self.seconds,
            "config": self.config.to_json(),
            "vocabulary": self.tokenizer.vocabulary,
            "text_sha256": self.text_sha256,
        }
        tensors = {f"model.{key}": value.numpy() for key, value in self.model.state_dict().items()}
        if name == "last":
            state = self.optimizer.state_dict()
            values["param_groups"] = state["param_groups"]
            for index, entries in state["state"].items():
                for key, value in entries.items():
                    tensors[f"optimizer.{index}.{key}"] = np.asarray(value)
            tensors["generator.batches"] = self.generator.get_state().numpy()
            tensors["generator.default"] = tinytorch.get_rng_state().numpy()
        checkpoint.save(self.config.out, name, tensors, values)

    def _restore(self, tensors: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        self.model.load_state_dict(_model_state(tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, array in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tinytorch.tensor(array)
        self.optimizer.load_state_dict({"state": state, "param_groups": values["param_groups"]})
        self.generator.set_state(tinytorch.tensor(tensors["generator.batches"]))
        tinytorch.set_rng_state(tinytorch.tensor(tensors["generator.default"]))
        self.iteration, self.seconds = values["iteration"], values["seconds"]
        self.best_val_loss = math.inf if values["best_val_loss"] is None else values["best_val_loss"]

    def evaluation_batches(self, tokens: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        """The same config.eval_iters batches every time; the training batches' generator is left alone."""
        generator = tinytorch.Generator()
        generator.manual_seed(self.config.seed + 1)
        batches = self._batches(tokens, generator)
        return (next(batches) for _ in range(self.config.eval_iters))

    def _batches(self, tokens: np.ndarray, generator: tinytorch.Generator) -> Batches:
        return Batches(tokens, self.config.batch_size, self.config.model.block_size, generator)


def _fixed(config: TrainConfig) -> dict[str, Any]:
    """The settings that a run cannot change on the way, as options of the command line."""
    shape = dataclasses.asdict(config.model)
    names = ("block_size", "n_layer", "n_head", "n_embd", "bias", "tied_head")
    fixed = {"preset": config.preset, "seed": config.seed, **{name: shape[name] for name in names}}
    return {f"--{name.replace('_', '-')}": value for name, value in fixed.items()}


def make_optimizer(model: LanguageModel, config: TrainConfig) -> optim.AdamW:
    """AdamW that decays matrices and embeddings, not biases and gains."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return optim.AdamW(
        [group for group in groups if group["params"]], lr=config.learning_rate, betas=(config.beta1, config.beta2)
    )


def stored_config(folder: Path, values: dict[str, Any]) -> TrainConfig:
    """The settings in a checkpoint's JSON, its folder being where it was found."""
    try:
        return dataclasses.replace(TrainConfig.from_json(values["config"]), out=folder)
    except (KeyError, TypeError) as error:
        raise UserError(f"the settings in {folder} cannot be read ({error}): use the version that wrote them") from None


def load_model(folder: Path, name: str) -> tuple[LanguageModel, CharTokenizer]:
    """The model of the checkpoint `name` ("best" or "last") in evaluation mode, and its tokenizer."""
    tensors, values = checkpoint.load(folder, name)
    config = stored_config(folder, values)
    model = build_model(config.architecture, config.model)
    model.load_state_dict(_model_state(tensors))
    model.eval()
    return model, CharTokenizer(values["vocabulary"])


def _model_state(tensors: dict[str, np.ndarray]) -> dict[str, Tensor]:
    prefix = "model."
    return {name[len(prefix) :]: tinytorch.tensor(a) for name, a in tensors.items() if name.startswith(prefix)}
