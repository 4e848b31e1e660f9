"""A training run: everything that a step changes, saved and restored as one."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import platform
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

import tinytorch
from tinytorch import Tensor, nn, optim

from ..cli.errors import UserError
from ..cli.reading import one_line, reading
from . import checkpoint
from .corpora import PYDOC
from .settings import Settings, TrainSettings

# What going on needs among the values of a checkpoint.
_STORED: dict[str, Any] = {
    "seconds": (int, float), "best_val_loss": (int, float, type(None)), "text_sha256": str,
    "param_groups": list,
}  # fmt: skip
Batch = tuple[Tensor, ...]  # inputs (B, T), targets (B, T), and what else a run's loss takes
RESTORE = "restore it or train again"
AnyRun = TypeVar("AnyRun", bound="Run[Any]")


class Run(ABC, Generic[Settings]):
    """Model, optimizer, random numbers and place in the run, new from the seed.

    A kind of run says what its data and batches are (`TextRun`), a program's own run what it trains.
    """

    config_class: ClassVar[type[TrainSettings]]
    unit: ClassVar[str] = "token"  # that losses are counted by
    model: nn.Module
    train_data: Any  # what `evaluation_batches` takes
    val_data: Any
    batches: Iterator[Batch]  # to train on, without end

    def __init__(self, config: Settings, text: str) -> None:
        self.config = config
        self.text_sha256 = hashlib.sha256(text.encode()).hexdigest()
        tinytorch.manual_seed(config.seed)
        self.model = self.build_model()
        self.optimizer = make_optimizer(self.model, config)
        self.iteration = 0  # optimizer steps done
        self.best_val_loss = math.inf
        self.seconds = 0.0  # spent so far, evaluations included

    @abstractmethod
    def build_model(self) -> nn.Module:
        """A new model, its weights drawn from the global generator."""

    @abstractmethod
    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch: ids (B, T), and those that follow each (B, T), -100 where none is to be told."""

    def learn(self, share: Tensor, *batch: Tensor) -> Tensor:
        """Add the gradients of a batch's loss times its share, and give that loss."""
        loss = self.loss(*batch) * share
        loss.backward()
        return loss

    def judge(self, *batch: Tensor) -> Tensor:
        """The loss of a batch; nothing is recorded."""
        with tinytorch.no_grad():
            return self.loss(*batch)

    @abstractmethod
    def evaluation_batches(self, data: Any) -> Iterator[Batch]:
        """Batches of train_data or val_data, the same ones every time; the place in the run stays where it is."""

    @abstractmethod
    def position(self) -> dict[str, np.ndarray]:
        """Where in the data `batches` is, by names for a checkpoint."""

    @abstractmethod
    def set_position(self, tensors: dict[str, np.ndarray]) -> None:
        """Go on from where `position` was, which is among these."""

    def weights(self) -> dict[str, Tensor]:
        """What training changes, by name: all that a checkpoint must hold of the model."""
        return self.model.state_dict()

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take over what `weights` gave."""
        self.model.load_state_dict(weights)

    def count_tokens(self, inputs: Tensor, targets: Tensor) -> int:
        """Tokens that a batch holds, padding aside."""
        return inputs.numel()

    @abstractmethod
    def describe(self) -> str:
        """What is trained on what, in one line."""

    @abstractmethod
    def next_command(self) -> str:
        """What to do with the result."""

    def name(self) -> str:
        """What the progress bar and the picture are called."""
        return self.config.out.name

    @staticmethod
    def fixed(config: Any) -> dict[str, Any]:
        """The settings that a run cannot change on the way, by their names."""
        return {"seed": config.seed}

    def more_values(self) -> dict[str, Any]:
        """What else the checkpoints are to hold, as JSON."""
        return {}

    @classmethod
    def open(cls: type[AnyRun], config: Any) -> AnyRun:
        """The run that `config` asks for: a new one, or the last checkpoint of config.out."""
        if config.resume:
            return cls._resume(config)
        if (config.out / "last.json").exists():
            raise UserError(f"{config.out} already holds a run: --resume continues it, another --out starts a new one")
        return cls.new(config)

    @classmethod
    @abstractmethod
    def new(cls: type[AnyRun], config: Any) -> AnyRun:
        """The run at its start."""

    @classmethod
    def _resume(cls: type[AnyRun], config: Any) -> AnyRun:
        path = config.out / "last.json"
        with reading(path, RESTORE):
            tensors, values = checkpoint.load(config.out, "last")
            saved = stored_config(cls.config_class, config.out, values)
            for name, kinds in _STORED.items():
                if not isinstance(values.get(name), kinds):
                    raise UserError(f"{name} is {values.get(name)!r}; {RESTORE}")
            iteration = values.get("iteration")
            if type(iteration) is not int or iteration < 0:
                raise UserError(f"iteration is {iteration!r}: it must be a number of steps; {RESTORE}")
        run = cls.new(config)
        for name, then in cls.fixed(saved).items():
            now = cls.fixed(config)[name]
            if now != then:
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"{config.out} was trained with {option} {then}, not {now}: give --out for a new run")
        if run.text_sha256 != values["text_sha256"]:
            raise UserError(_other_text(config, values))
        if config.max_iters < iteration:
            raise UserError(f"{config.out} is at iteration {iteration}: give a --max-iters of at least that")
        with reading(path, RESTORE):
            run._restore(tensors, values)
        return run

    def save(self, name: str) -> None:
        """Write the checkpoint `name` of config.out: "last" with all that going on needs, "best" with the weights."""
        values: dict[str, Any] = {
            "iteration": self.iteration,
            "best_val_loss": self.best_val_loss if math.isfinite(self.best_val_loss) else None,
            "seconds": self.seconds,
            "config": self.config.to_json(),
            "text_sha256": self.text_sha256,
            "python": _python_version(),
            **self.more_values(),
        }
        tensors = {f"model.{key}": value.numpy() for key, value in self.weights().items()}
        if name == "last":
            state = self.optimizer.state_dict()
            values["param_groups"] = state["param_groups"]
            for index, entries in state["state"].items():
                for key, value in entries.items():
                    tensors[f"optimizer.{index}.{key}"] = np.asarray(value)
            tensors.update(self.position())
            tensors["generator.default"] = tinytorch.get_rng_state().numpy()
        checkpoint.save(self.config.out, name, tensors, values)

    def _restore(self, tensors: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        self.load_weights(model_state(tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, array in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tinytorch.tensor(array)
        self.optimizer.load_state_dict({"state": state, "param_groups": values["param_groups"]})
        self.set_position(tensors)
        tinytorch.set_rng_state(tinytorch.tensor(tensors["generator.default"]))
        self.iteration, self.seconds = values["iteration"], float(values["seconds"])
        self.best_val_loss = math.inf if values["best_val_loss"] is None else float(values["best_val_loss"])


def _other_text(config: TrainSettings, values: dict[str, Any]) -> str:
    then, now = values.get("python", "another one"), _python_version()
    if config.data == PYDOC.name and then != now:
        return (
            f"{config.out} was trained on the {config.data} of Python {then}, which differs from that of Python {now}: "
            "go on with that Python"
        )
    return f"{config.out} was trained on another text than {config.data}: give that text with --data"


def _python_version() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def make_optimizer(model: nn.Module, config: TrainSettings) -> optim.AdamW:
    """AdamW on what is trained; it decays matrices and embeddings, not biases and gains."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return optim.AdamW(
        [group for group in groups if group["params"]], lr=config.learning_rate, betas=(config.beta1, config.beta2)
    )


def stored_config(config_class: type[Settings], folder: Path, values: dict[str, Any]) -> Settings:
    """The settings in a checkpoint's JSON, its folder being where it was found."""
    try:
        return dataclasses.replace(config_class.from_json(values["config"]), out=folder)
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        what = one_line(f"the settings in {folder} cannot be read ({error})")
        raise UserError(f"{what}: use the version that wrote them") from None


def model_state(tensors: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The weights among a checkpoint's tensors, under the model's names."""
    prefix = "model."
    return {name[len(prefix) :]: tinytorch.tensor(a) for name, a in tensors.items() if name.startswith(prefix)}
