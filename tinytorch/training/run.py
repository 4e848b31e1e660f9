"""A training run: everything that a step changes, saved and restored as one unit."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

import tinytorch
from tinytorch import Tensor, nn, optim

from ..cli.errors import UserError
from ..cli.reading import one_line, reading
from . import checkpoint
from .batches import Batch
from .corpora import PROSE, PYDOC
from .settings import Settings, TrainSettings

# The values of a checkpoint that resuming needs, and their types.
_STORED: dict[str, Any] = {
    "seconds": (int, float), "best_val_loss": (int, float, type(None)), "text_sha256": str,
    "param_groups": list,
}  # fmt: skip
RESTORE = "restore it or train again"
AnyRun = TypeVar("AnyRun", bound="Run[Any]")


class Data(Protocol):
    """The data that a run trains on and is evaluated on, and its position there."""

    @property
    def batches(self) -> Iterator[Batch]:
        """The batches to train on, without end."""

    def evaluation_batches(self, split: str) -> Iterator[Batch]:
        """Batches of the split "train" or "val", the same ones every time. They do not change the position."""

    def position(self) -> dict[str, np.ndarray]:
        """The position of `batches` in the data, as named arrays for a checkpoint."""

    def set_position(self, tensors: dict[str, np.ndarray]) -> None:
        """Continue from a saved `position`, whose arrays are among these."""


class Run(ABC, Generic[Settings]):
    """Model, optimizer, random numbers and position, new from the seed or restored from the last checkpoint.

    A program's subclass builds the model and the data from its settings, and defines the loss.
    """

    config_class: ClassVar[type[TrainSettings]]
    unit: ClassVar[str] = "token"  # the loss is in nats per this

    def __init__(self, config: Settings, text: str, data: Data, compiled: bool = False) -> None:
        """`text` is the source of `data`, to recognise it when resuming; `compiled` suits batches of one shape."""
        self.config, self.data = config, data
        self.text_sha256 = hashlib.sha256(text.encode()).hexdigest()
        tinytorch.manual_seed(config.seed)
        self.model = self.build_model()
        self.optimizer = make_optimizer(self.model, config)
        self.iteration = 0  # optimizer steps done
        self.best_val_loss = math.inf
        self._opened = time.perf_counter()
        self.name = config.out.name  # the title of the progress bar and the plot
        self.extra_values: dict[str, Any] = {}  # further JSON values for the checkpoints
        if compiled:
            self.forward = tinytorch.compile(self.forward)  # type: ignore[method-assign]
            self.forward_backward = tinytorch.compile(self.forward_backward)  # type: ignore[method-assign]

    @abstractmethod
    def build_model(self) -> nn.Module:
        """A new model, with weights drawn from the default generator."""

    @abstractmethod
    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch: ids (B, T), and for each the id that follows, (B, T), or IGNORED."""

    def forward(self, *batch: Tensor) -> Tensor:
        """The loss of a batch."""
        return self.loss(*batch)

    def forward_backward(self, weight: Tensor, *batch: Tensor) -> Tensor:
        """The loss of a batch times its weight. Its gradients are added to the parameters' `.grad`."""
        loss = self.loss(*batch) * weight
        loss.backward()
        return loss

    def weights(self) -> dict[str, Tensor]:
        """The tensors that training changes, by name: all that a checkpoint needs of the model."""
        return self.model.state_dict()

    @abstractmethod
    def describe(self) -> str:
        """One line that says what is trained, and on what."""

    @abstractmethod
    def next_command(self) -> str:
        """What to do next with the result."""

    @property
    def seconds(self) -> float:
        """The seconds spent on the run so far, including evaluations."""
        return time.perf_counter() - self._opened

    @classmethod
    def open(cls: type[AnyRun], config: Any) -> AnyRun:
        """The run that `config` asks for: a new one, or one restored from the last checkpoint in config.out."""
        if config.resume:
            return cls._resume(config)
        if (config.out / "last.json").exists():
            raise UserError(f"{config.out} already holds a run: --resume continues it, another --out starts a new one")
        return cls._new(config)

    @classmethod
    def _new(cls: type[AnyRun], config: Any) -> AnyRun:
        make: Any = cls  # each subclass takes nothing but its settings
        return make(config)

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
        run = cls._new(config)
        for name, then in saved.fixed().items():
            now = config.fixed()[name]
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
        """Write the checkpoint `name` in config.out: "last" with all that resuming needs, "best" with weights only."""
        values: dict[str, Any] = {
            "iteration": self.iteration,
            "best_val_loss": self.best_val_loss if math.isfinite(self.best_val_loss) else None,
            "seconds": self.seconds,
            "config": self.config.to_json(),
            "text_sha256": self.text_sha256,
            "python": _python_version(),
            **self.extra_values,
        }
        tensors = {f"model.{key}": value.numpy() for key, value in self.weights().items()}
        if name == "last":
            state = self.optimizer.state_dict()
            values["param_groups"] = state["param_groups"]
            for index, entries in state["state"].items():
                for key, value in entries.items():
                    tensors[f"optimizer.{index}.{key}"] = np.asarray(value)
            tensors.update(self.data.position())
            tensors["generator.default"] = tinytorch.get_rng_state().numpy()
        checkpoint.save(self.config.out, name, tensors, values)

    def _restore(self, tensors: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        saved = model_state(tensors)
        for name, weight in self.weights().items():
            if saved[name].shape != weight.shape:
                raise UserError(f"{name} has shape {tuple(saved[name].shape)}, not {tuple(weight.shape)}; {RESTORE}")
            weight.copy_(saved[name])
        state: dict[int, dict[str, Tensor]] = {}
        for name, array in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tinytorch.tensor(array)
        self.optimizer.load_state_dict({"state": state, "param_groups": values["param_groups"]})
        self.data.set_position(tensors)
        tinytorch.set_rng_state(tinytorch.tensor(tensors["generator.default"]))
        self.iteration, self._opened = values["iteration"], time.perf_counter() - values["seconds"]
        self.best_val_loss = math.inf if values["best_val_loss"] is None else float(values["best_val_loss"])


def _other_text(config: TrainSettings, values: dict[str, Any]) -> str:
    then, now = values.get("python", "another one"), _python_version()
    if config.data in (PYDOC.name, PROSE.name) and then != now:
        return (
            f"{config.out} was trained on the {config.data} of Python {then}, which differs from that of Python {now}: "
            "resume it with that Python"
        )
    return f"{config.out} was trained on a text other than {config.data}: give that text with --data"


def _python_version() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def make_optimizer(model: nn.Module, config: TrainSettings) -> optim.AdamW:
    """AdamW on the parameters that require grad; it decays matrices and embeddings, not biases and gains."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return optim.AdamW(
        [group for group in groups if group["params"]], lr=config.learning_rate, betas=(config.beta1, config.beta2)
    )


def stored_config(config_class: type[Settings], folder: Path, values: dict[str, Any]) -> Settings:
    """The settings in a checkpoint's JSON, with `out` set to the folder that it was found in."""
    try:
        return dataclasses.replace(config_class.from_json(values["config"]), out=folder)
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        what = one_line(f"the settings in {folder} cannot be read ({error})")
        raise UserError(f"{what}: use the version that wrote them") from None


def model_state(tensors: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The weights among a checkpoint's tensors, by their names in the model."""
    prefix = "model."
    return {name[len(prefix) :]: tinytorch.tensor(a) for name, a in tensors.items() if name.startswith(prefix)}
