"""What adapter_config.json says of a low-rank adapter, under PEFT's names and with its defaults."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from programs.errors import UserError

CONFIG_NAME = "adapter_config.json"
DEFAULT_TARGETS = ("q_proj", "v_proj")  # PEFT's for Llama


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """How to adapt a model. A field means what it means in PEFT's LoraConfig; UserError where a value makes no sense.

    A layer computes y = base(x) + scaling * B(A(dropout(x))), with A (r, in) and B (out, r).
    """

    r: int = 8
    """The rank."""
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    """How much of the low-rank path's input is dropped in training."""
    target_modules: list[str] | str | None = None
    """Which layers: the ends of their names, a regular expression for whole names, or "all-linear" for every Linear but
    the head. None for q_proj and v_proj."""
    exclude_modules: list[str] | str | None = None
    """Which of those not: ends of names, or a regular expression."""
    layers_to_transform: list[int] | int | None = None
    """Only in the layers of these numbers, where the targets are a list."""
    layers_pattern: list[str] | str | None = None
    """What stands before such a number in a name; None for anything."""
    rank_pattern: dict[str, int] = field(default_factory=dict)
    """Other ranks: by the end of a name, or a regular expression for it. The first that matches counts."""
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    """Other values of lora_alpha, in the same way."""
    use_rslora: bool = False
    """scaling = lora_alpha / sqrt(r), not lora_alpha / r (Kalajdzievski 2023, arXiv:2312.03732)."""
    use_dora: bool = False
    """Train the length of each row of the weight apart from its direction (Liu et al. 2024, arXiv:2402.09353)."""
    bias: str = "none"
    """Which biases of the base are trained: none, all, or lora_only, those of the adapted layers."""
    init_lora_weights: bool | str = True
    """True: A uniform, B zeros. "gaussian": A normal, B zeros. False: both random, so that the output changes."""
    inference_mode: bool = False
    """Whether the adapter is not to be trained."""
    task_type: str | None = "CAUSAL_LM"
    base_model_name_or_path: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        for what, ranks in (("r", [self.r]), ("rank_pattern", self.rank_pattern.values())):
            if not all(isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 for rank in ranks):
                raise UserError(f"{what} is {getattr(self, what)!r}: a rank is an integer above 0")
        if not 0.0 <= self.lora_dropout < 1.0:
            raise UserError(f"lora_dropout is {self.lora_dropout}: it must be at least 0 and below 1")
        if self.bias not in ("none", "all", "lora_only"):
            raise UserError(f"bias is {self.bias!r}: it must be none, all or lora_only")
        if not isinstance(self.init_lora_weights, bool) and self.init_lora_weights != "gaussian":
            raise UserError(f"init_lora_weights is {self.init_lora_weights!r}: it must be true, false or gaussian")
        if isinstance(self.target_modules, str) and (self.layers_to_transform is not None or self.layers_pattern):
            raise UserError("layers_to_transform and layers_pattern need target_modules as a list of names")
        if self.layers_pattern and self.layers_to_transform is None:
            raise UserError("layers_pattern needs layers_to_transform: name the layers")
        for pattern in self._patterns():
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(f"{pattern!r} is no regular expression: {error}") from None

    def _patterns(self) -> list[str]:
        texts = [text for text in (self.target_modules, self.exclude_modules) if isinstance(text, str)]
        layers = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern or []
        return [*texts, *layers, *self.rank_pattern, *self.alpha_pattern]

    def scaling(self, r: int, alpha: float) -> float:
        """What B(A(x)) is multiplied by, for a layer's rank and alpha."""
        return alpha / math.sqrt(r) if self.use_rslora else alpha / r

    # The file ---------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> LoraConfig:
        """From the content of an adapter_config.json. Warns of keys that PEFT does not have either."""
        kind = given.get("peft_type")
        if kind != "LORA":
            raise UserError(f"peft_type is {json.dumps(kind)}: only LORA is supported")
        for name in _REFUSED:
            if given.get(name):
                raise UserError(f"{name} is {json.dumps(given[name])}: it is not supported")
        own = {f.name: f for f in fields(cls)}
        unknown = sorted(given.keys() - own.keys() - _REFUSED - _IGNORED)
        if unknown:
            warnings.warn(f"ignored in the adapter's configuration: {', '.join(unknown)}", stacklevel=2)
        # In a file an empty pattern may be null; the other fields that may not be null are never written so.
        nullable = {name for name, f in own.items() if f.default is None or name == "task_type"}
        values = {name: given[name] for name in own if name in given}
        return cls(**{name: value for name, value in values.items() if value is not None or name in nullable})

    @classmethod
    def load(cls, folder: Path) -> LoraConfig:
        """From folder/adapter_config.json."""
        path = folder / CONFIG_NAME
        given = read_json(path)
        try:
            return cls.from_dict(given)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except TypeError as error:
            raise UserError(f"{path}: a value is of the wrong type: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """The content of an adapter_config.json: nothing but what every PEFT since 0.10 knows."""
        fixed = {"peft_type": "LORA", "auto_mapping": None, "fan_in_fan_out": False, "modules_to_save": None}
        return fixed | asdict(self)

    def to_json(self) -> bytes:
        """The file, for inference, as PEFT writes it."""
        return json.dumps({**self.to_dict(), "inference_mode": True}, indent=2, sort_keys=True).encode()


# PEFT's fields for what there is not here; they may be there if they are null, false or empty.
_REFUSED = {
    "fan_in_fan_out", "modules_to_save", "lora_bias", "layer_replication", "target_parameters", "arrow_config",
    "trainable_token_indices", "alora_invocation_tokens", "use_qalora", "use_bdlora", "velora_config", "kasa_config",
    "monteclora_config", "megatron_config",
}  # fmt: skip
# Those that say how a training began, or who wrote the file.
_IGNORED = {
    "peft_type", "auto_mapping", "peft_version", "megatron_core", "loftq_config", "eva_config", "corda_config",
    "lora_ga_config", "qalora_group_size", "ensure_weight_tying", "runtime_config",
}  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of JSON; UserError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} has no {path.name}: give the folder of an adapter, one whose saving was not interrupted"
        ) from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}; get it anew") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; get it anew")
    return content
