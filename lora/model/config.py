"""A Llama's config.json: read as transformers 4.x and 5.x write it, and written so that both can read it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lora.model.foreign_settings import check_foreign
from lora.model.quantized import Quantization
from lora.model.rope import RopeScaling, check_frequencies
from tinytorch.cli.errors import UserError
from tinytorch.cli.reading import read_object, reading
from tinytorch.files import atomic_write

ARCHITECTURE = "LlamaForCausalLM"
_ARCHITECTURES = (ARCHITECTURE, "LLaMAForCausalLM")  # the second name is from the first conversions, in 2023
DEFAULT_THETA = 10000.0


@dataclass(frozen=True)
class LlamaConfig:
    """The shape of a Llama, under transformers' names and with its defaults. UserError if no model can have it."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int = 0
    """Heads of keys and values; 0 for as many as query heads."""
    head_dim: int = 0
    """Size of a head; 0 for hidden_size / num_attention_heads."""
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = DEFAULT_THETA
    rope_scaling: RopeScaling = field(default_factory=RopeScaling)
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    pad_token_id: int | None = None
    """A token whose embedding row is not trained."""
    other: Mapping[str, Any] = field(default_factory=dict)
    """The other keys of config.json (bos_token_id, eos_token_id, ...), kept as they are."""

    def __post_init__(self) -> None:
        # This is how a frozen dataclass sets its own fields.
        object.__setattr__(self, "num_key_value_heads", self.num_key_value_heads or self.num_attention_heads)
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
            self._require(name, "positive", getattr(self, name) > 0)
        object.__setattr__(self, "head_dim", self.head_dim or self.hidden_size // self.num_attention_heads)
        for name in ("num_key_value_heads", "head_dim", "max_position_embeddings", "rope_theta", "rms_norm_eps"):
            self._require(name, "positive", getattr(self, name) > 0)
        for name in ("rope_theta", "rms_norm_eps", "initializer_range"):
            self._require(name, "finite", math.isfinite(getattr(self, name)))
        self._require("initializer_range", "at least 0", self.initializer_range >= 0)
        self._require("attention_dropout", "at least 0 and below 1", 0 <= self.attention_dropout < 1)
        for name, most in _MOST.items():
            self._require(name, f"at most {most}", getattr(self, name) <= most)
        if self.num_attention_heads % self.num_key_value_heads:
            raise UserError(
                f"num_attention_heads is {self.num_attention_heads}: "
                f"it must be a multiple of num_key_value_heads, {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise UserError(f"head_dim is {self.head_dim}: rotary embeddings turn pairs, so it must be even")
        check_frequencies(self.head_dim, self.rope_theta, self.rope_scaling, self.max_position_embeddings)
        pad = self.pad_token_id
        if pad is not None and not -self.vocab_size <= pad < self.vocab_size:
            raise UserError(f"pad_token_id is {pad}, but vocab_size is {self.vocab_size}: set it to null")

    def _require(self, name: str, rule: str, good: bool) -> None:
        if not good:
            raise UserError(f"{name} is {getattr(self, name)}: it must be {rule}")

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens that end a text."""
        return token_ids("eos_token_id", self.other.get("eos_token_id"))

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> LlamaConfig:
        """Build from the content of a config.json. UserError names what is missing, malformed or not supported."""
        _refuse_other_models(given)
        for name in ("bos_token_id", "eos_token_id"):
            token_ids(name, given.get(name))
        values: dict[str, Any] = {}
        for f in fields(cls):
            if f.name in ("rope_theta", "rope_scaling", "other"):
                continue
            value = given.get(f.name)
            if value is not None:
                values[f.name] = _of_type(f.name, value, str(f.type))
            elif f.name in _REQUIRED:
                raise UserError(f"{f.name} is missing: it is needed to build the model")
        length = values.get("max_position_embeddings", cls.max_position_embeddings)
        values["rope_theta"], values["rope_scaling"] = _rope(given, length)
        own = {f.name for f in fields(cls)} - {"other"}
        config = cls(
            **values, other={name: value for name, value in given.items() if name not in own | _WRITTEN_ANEW}
        )
        check_foreign(given, own)
        return config

    @classmethod
    def load(cls, folder: Path) -> LlamaConfig:
        """Read folder/config.json."""
        path = folder / "config.json"
        if not path.exists():
            raise UserError(f"{folder} has no config.json: give a folder in Hugging Face's format")
        given = read_object(path)
        with reading(path):
            return cls.from_dict(given)

    def to_dict(self, dtype: str) -> dict[str, Any]:
        """The content of a config.json for weights of this dtype, in the 4.x format, which 5.x reads too."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("rope_scaling", "other")}
        return {
            "architectures": [ARCHITECTURE],
            "model_type": "llama",
            "hidden_act": "silu",
            "torch_dtype": dtype,
            **own,
            "rope_scaling": self.rope_scaling.to_dict(),
            **self.other,
        }

    def to_json(self, dtype: str) -> bytes:
        """The bytes of config.json."""
        return (json.dumps(self.to_dict(dtype), indent=2, sort_keys=True) + "\n").encode()

    def save(self, folder: Path, dtype: str) -> None:
        """Write folder/config.json."""
        with atomic_write(folder / "config.json") as file:
            file.write(self.to_json(dtype))


_REQUIRED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
# Keys that `to_dict` sets itself, or that describe the version that wrote the file.
_WRITTEN_ANEW = {
    "architectures", "model_type", "hidden_act", "torch_dtype", "dtype", "rope_parameters", "transformers_version",
}  # fmt: skip
_JSON_TYPES = {"int": (int,), "float": (int, float), "bool": (bool,)}


# No Llama comes near these limits, and larger values overflow.
_MOST = {
    "vocab_size": 2**31, "hidden_size": 2**24, "intermediate_size": 2**28, "num_hidden_layers": 2**20,
    "num_attention_heads": 2**20, "num_key_value_heads": 2**20, "head_dim": 2**16, "max_position_embeddings": 2**31,
}  # fmt: skip


def _of_type(name: str, value: Any, type_name: str) -> Any:
    expected = type_name.removesuffix(" | None")
    if not isinstance(value, _JSON_TYPES[expected]) or (isinstance(value, bool) and expected != "bool"):
        raise UserError(f"{name} is {json.dumps(value)}: expected {expected}")
    try:
        return float(value) if expected == "float" else value
    except OverflowError:
        raise UserError(f"{name} is {value}: it must be finite") from None


def token_ids(name: str, value: Any) -> tuple[int, ...]:
    """None, an id or a list of ids, as transformers' files have them, as a tuple; UserError for anything else."""
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(id, int) and not isinstance(id, bool) and 0 <= id < 2**31 for id in ids):
        raise UserError(f"{name} is {json.dumps(value)}: expected a token's id, a list of ids or null")
    return tuple(ids)


def _refuse_other_models(given: Mapping[str, Any]) -> None:
    architectures = given.get("architectures") or []
    if not isinstance(architectures, list):
        raise UserError(f"architectures is {json.dumps(architectures)}: expected a list of names")
    model_type = given.get("model_type", "llama")
    if architectures and not any(name in _ARCHITECTURES for name in architectures):
        raise UserError(f"architecture {architectures[0]} is not supported: only {ARCHITECTURE} is")
    if model_type != "llama":
        raise UserError(f"model_type {model_type} is not supported: only llama is")
    activation = given.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise UserError(f"hidden_act {activation} is not supported: only silu is")
    Quantization.of(given)


def _rope(given: Mapping[str, Any], length: int) -> tuple[float, RopeScaling]:
    """The base and the scaling. 5.x has both in rope_parameters, 4.x separately, and before 4.31 there was no base.

    If someone has added rope_scaling to a 5.x file, as model cards advise, transformers uses only that.
    """
    for name in ("rope_scaling", "rope_parameters"):
        if not isinstance(given.get(name), (dict, type(None))):
            raise UserError(f"{name} is {json.dumps(given[name])}: expected an object or null")
    parameters = given.get("rope_parameters")
    scaling = dict(given.get("rope_scaling") or parameters or {})
    theta = scaling.pop("rope_theta", None)
    if theta is None:
        theta = given.get("rope_theta")
    passed_over = parameters.get("rope_theta") if parameters and given.get("rope_scaling") else None
    if theta is None and passed_over is not None:
        if passed_over != DEFAULT_THETA:
            raise UserError(
                f"rope_scaling takes the place of rope_parameters, and of its rope_theta {json.dumps(passed_over)}: "
                "add rope_theta to rope_scaling"
            )
        theta = passed_over
    if theta is None:
        version = str(given.get("transformers_version", "4"))
        if parameters is not None or not version.startswith(("3", "4")):
            raise UserError('rope_theta is missing: add "rope_theta": 10000.0, or the base the model was trained with')
        theta = DEFAULT_THETA
    return _of_type("rope_theta", theta, "float"), RopeScaling.from_dict(scaling, length)
