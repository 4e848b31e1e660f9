"""The content of adapter_config.json, under PEFT's names and with its defaults."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lora.adapters.patterns import check_pattern
from tinytorch.cli.errors import UserError
from tinytorch.cli.reading import one_line, read_object, reading

CONFIG_NAME = "adapter_config.json"
DEFAULT_TARGETS = ("q_proj", "v_proj")  # PEFT's for Llama


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """How to adapt a model. Fields mean what they mean in PEFT's LoraConfig; a senseless value raises UserError.

    A layer computes y = base(x) + scaling * B(A(dropout(x))), with A (r, in) and B (out, r).
    """

    r: int = 8
    """The rank."""
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    """The probability of dropping an input of the low-rank path in training."""
    target_modules: list[str] | str | None = None
    """The layers to adapt: the ends of their names, a regular expression that matches whole names, or "all-linear" for
    every Linear but the head. None means q_proj and v_proj."""
    exclude_modules: list[str] | str | None = None
    """Layers to leave out: the ends of their names, or a regular expression."""
    layers_to_transform: list[int] | int | None = None
    """Adapt only the layers with these numbers; needs target_modules as a list."""
    layers_pattern: list[str] | str | None = None
    """What precedes the layer's number in its name; None for anything."""
    rank_pattern: dict[str, int] = field(default_factory=dict)
    """Ranks for particular layers, by the end of a name or a regular expression. The first that matches counts."""
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    """Values of lora_alpha for particular layers, in the same way."""
    use_rslora: bool = False
    """Use scaling = lora_alpha / sqrt(r), not lora_alpha / r (Kalajdzievski 2023, arXiv:2312.03732)."""
    use_dora: bool = False
    """Train the length of each row of the weight separately from its direction (Liu et al. 2024, arXiv:2402.09353)."""
    bias: str = "none"
    """Which biases of the base are trained: none, all, or lora_only, those of the adapted layers."""
    init_lora_weights: bool | str = True
    """True: A uniform, B zeros. "gaussian": A normal, B zeros. False: both random, so that the output changes.
    "eva", "orthogonal" and "mica" say how an adapter was initialised elsewhere; a new one cannot be."""
    inference_mode: bool = False
    """True if the adapter is only for inference and must not be trained."""
    task_type: str | None = "CAUSAL_LM"
    base_model_name_or_path: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        for name, (is_right, expected) in _RULES.items():
            value = getattr(self, name)
            if not is_right(value):
                raise UserError(f"{name} is {value!r}: {expected}")
        if _kind(self.init_lora_weights) in _CHANGE_THE_BASE:
            raise UserError(
                f"init_lora_weights is {self.init_lora_weights!r}, which changes the weights of the base too: convert "
                "the adapter to a plain one by PEFT's save_pretrained(..., path_initial_model_for_weight_conversion)"
            )
        if isinstance(self.target_modules, str) and (self.layers_to_transform is not None or self.layers_pattern):
            raise UserError("layers_to_transform and layers_pattern need target_modules as a list of names")
        if self.layers_pattern and self.layers_to_transform is None:
            raise UserError("layers_pattern needs layers_to_transform: name the layers")
        for pattern in self._patterns():
            check_pattern(pattern)

    def check_can_begin(self) -> None:
        """UserError if a new adapter cannot be initialised as init_lora_weights says."""
        if _kind(self.init_lora_weights) not in (True, False, "gaussian"):
            raise UserError(
                f"init_lora_weights is {self.init_lora_weights!r}: such adapters can be loaded, but "
                "a new one must begin with true, false or gaussian"
            )

    def _patterns(self) -> list[str]:
        texts = [text for text in (self.target_modules, self.exclude_modules) if isinstance(text, str)]
        layers = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern or []
        return [*texts, *layers, *self.rank_pattern, *self.alpha_pattern]

    def scaling(self, r: int, alpha: float) -> float:
        """The factor of B(A(x)), for a layer's rank and alpha."""
        return alpha / math.sqrt(r) if self.use_rslora else alpha / r

    # The file ---------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> LoraConfig:
        """Build from the content of an adapter_config.json. Warns about keys that PEFT does not know either."""
        kind = given.get("peft_type")
        if kind != "LORA":
            raise UserError(f"peft_type is {json.dumps(kind)}: only LORA is supported")
        for name in _REFUSED:
            if given.get(name):
                raise UserError(f"{name} is {json.dumps(given[name])}: it is not supported")
        own = {f.name: f for f in fields(cls)}
        unknown = sorted(given.keys() - own.keys() - _REFUSED - _IGNORED)
        if unknown:
            warnings.warn(one_line(f"ignored in the adapter's configuration: {', '.join(unknown)}"), stacklevel=2)
        # In a file an empty pattern may be null; other fields that must not be null are never written as null.
        nullable = {name for name, f in own.items() if f.default is None or name == "task_type"}
        values = {name: given[name] for name in own if name in given}
        return cls(**{name: value for name, value in values.items() if value is not None or name in nullable})

    @classmethod
    def load(cls, folder: Path) -> LoraConfig:
        """Read folder/adapter_config.json."""
        path = folder / CONFIG_NAME
        given = read_config(path)
        with reading(path):
            return cls.from_dict(given)

    def to_dict(self) -> dict[str, Any]:
        """The content of an adapter_config.json, with only the keys that every PEFT since 0.10 knows."""
        fixed = {"peft_type": "LORA", "auto_mapping": None, "fan_in_fan_out": False, "modules_to_save": None}
        return fixed | asdict(self)

    def to_json(self) -> bytes:
        """The bytes of adapter_config.json, in inference mode, as PEFT writes it."""
        return json.dumps({**self.to_dict(), "inference_mode": True}, indent=2, sort_keys=True).encode()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _MOST


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _is_mapping(value: Any, is_right: Callable[[Any], bool]) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) and is_right(value[key]) for key in value)


def _kind(how: Any) -> Any:
    """The kind of an init_lora_weights: "pissa_niter_4" is of the kind "pissa"."""
    return how.lower().partition("_niter_")[0] if isinstance(how, str) else how


_MOST = 2**53  # the largest number allowed: floats hold it exactly, and NaN and infinities fail the comparison
_TEXTS = (_is_texts, "it must be a list of names, a text or null")
_TEXT = (_is_text, "it must be a text or null")
_BOOL = (_is_bool, "it must be true or false")
_PLAIN = (True, False, "gaussian", "eva", "orthogonal", "mica")
_CHANGE_THE_BASE = ("olora", "pissa", "corda", "loftq", "lora_ga")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "r": (_is_rank, "a rank is an integer above 0"),
    "rank_pattern": (lambda value: _is_mapping(value, _is_rank), "a rank is an integer above 0"),
    "lora_alpha": (_is_number, "it must be a finite number"),
    "alpha_pattern": (lambda value: _is_mapping(value, _is_number), "it must map patterns to finite numbers"),
    "lora_dropout": (lambda value: _is_number(value) and 0.0 <= value < 1.0, "it must be at least 0 and below 1"),
    "target_modules": _TEXTS,
    "exclude_modules": _TEXTS,
    "layers_pattern": _TEXTS,
    "layers_to_transform": (
        lambda value: value is None or all(map(_is_index, value if isinstance(value, list) else [value])),
        "it must be the number of a layer, a list of them or null",
    ),
    "bias": (lambda value: value in ("none", "all", "lora_only"), "it must be none, all or lora_only"),
    "init_lora_weights": (
        lambda value: isinstance(value, (bool, str)) and _kind(value) in _PLAIN + _CHANGE_THE_BASE,
        "it must be true, false, gaussian, eva, orthogonal or mica",
    ),
    "use_rslora": _BOOL,
    "use_dora": _BOOL,
    "inference_mode": _BOOL,
    "task_type": _TEXT,
    "base_model_name_or_path": _TEXT,
    "revision": _TEXT,
}

# PEFT's fields for features that are missing here; allowed if they are null, false or empty.
_REFUSED = {
    "fan_in_fan_out", "modules_to_save", "lora_bias", "layer_replication", "target_parameters", "arrow_config",
    "trainable_token_indices", "alora_invocation_tokens", "use_qalora", "use_bdlora", "velora_config", "kasa_config",
    "monteclora_config", "megatron_config",
}  # fmt: skip
# Fields that say how training began, or who wrote the file.
_IGNORED = {
    "peft_type", "auto_mapping", "peft_version", "megatron_core", "loftq_config", "eva_config", "corda_config",
    "lora_ga_config", "qalora_group_size", "ensure_weight_tying", "runtime_config",
}  # fmt: skip


def read_config(path: Path) -> dict[str, Any]:
    """The content of an adapter's configuration file; UserError if there is none."""
    if not path.exists():
        raise UserError(
            f"{path.parent} has no {path.name}: give the folder of an adapter, one whose saving was not interrupted"
        )
    return read_object(path)
