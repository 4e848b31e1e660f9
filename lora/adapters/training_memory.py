"""The memory that training an adapter takes, computed from the model's shape before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lora.adapters.adapter_config import LoraConfig
from lora.adapters.layers import kind
from lora.adapters.targets import Target, find_targets
from lora.model.config import LlamaConfig
from lora.model.llama import Llama
from tinytorch.training.settings import check

FLOAT32 = 4
PROGRAM = "Python, its libraries, compiled kernels, about"
PROGRAM_BYTES = 210_000_000  # measured with Python 3.11 on Linux, with an empty model


@dataclass(frozen=True)
class TrainingSettings:
    """Report the memory for training an adapter of this rank, or --adapter; options as in `python -m lora train`."""

    rank: int = 16
    """Rank r of the adapter."""

    targets: tuple[str, ...] = ("all-linear",)
    """Layers to adapt, by the ends of their names; all-linear for all but the head."""

    dora: bool = False
    """Train the lengths of the weights' rows separately from their directions (DoRA)."""

    checkpointing: bool = False
    """Keep only the layers' inputs for backward, and recompute the rest."""

    batch_size: int = 16
    """Rows B in a batch."""

    max_tokens: int = 512
    """The most tokens in a row, or the model's context if that is shorter."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_tokens"):
            check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: it must be at least 1")

    def lora_config(self, adapter: Path | None) -> LoraConfig:
        """The adapter's own configuration, or that of these settings."""
        if adapter is not None:
            return LoraConfig.load(adapter)
        targets = "all-linear" if self.targets == ("all-linear",) else list(self.targets)
        return LoraConfig(r=self.rank, target_modules=targets, use_dora=self.dora)


class Training(NamedTuple):
    """Counts of numbers, and bytes."""

    total: int
    trained: int
    memory: dict[str, int]


def training(shape: LlamaConfig, weight_bytes: int, config: LoraConfig, settings: TrainingSettings) -> Training:
    """The memory that training an adapter of this configuration takes, beside `weight_bytes` of weights."""
    model = Llama(shape, initialize=False)  # memory that is never written to costs nothing
    targets = find_targets(model, config)
    base = sum(p.numel() for p in model.parameters())
    trained = sum(_numbers(target, config.use_dora) for target in targets.values())
    length = min(settings.max_tokens, shape.max_position_embeddings)
    tokens = settings.batch_size * length
    memory = {
        PROGRAM: PROGRAM_BYTES,
        "weights as stored": weight_bytes,
        "adapter": trained * FLOAT32,
        "its gradients": trained * FLOAT32,
        "AdamW's two means of them": 2 * trained * FLOAT32,
        f"activations of {settings.batch_size} rows of {length} tokens, about": tokens
        * activations(shape, targets, settings.checkpointing)
        * FLOAT32,
    }
    return Training(base + trained, trained, {**memory, "sum": sum(memory.values())})


def activations(shape: LlamaConfig, targets: dict[str, Target], checkpointing: bool) -> int:
    """How many numbers forward keeps for each token: what the layers save, and the logits with their gradient."""
    layers = [_layer(shape, targets, f"model.layers.{i}.") for i in range(shape.num_hidden_layers)]
    kept = shape.hidden_size * len(layers) + max(layers) if checkpointing else sum(layers)
    return kept + shape.hidden_size + 2 * shape.vocab_size


def _layer(shape: LlamaConfig, targets: dict[str, Target], prefix: str) -> int:
    """The same for one layer. A frozen Linear saves nothing, an adapter its input (shared ones once) and A's output."""
    ranks = {name.removeprefix(prefix): target.r for name, target in targets.items() if name.startswith(prefix)}
    C, I = shape.hidden_size, shape.intermediate_size  # noqa: E741 - as in the model
    D, H, Hkv = shape.head_dim, shape.num_attention_heads, shape.num_key_value_heads
    norms = 2 * C
    attention = 2 * H * D + 2 * Hkv * D + 2 * H  # queries and outputs, keys and values, two sums per row
    mlp = 2 * I  # gate and up
    inputs = 0
    for names, size in (("self_attn.q self_attn.k self_attn.v", C), ("mlp.gate mlp.up", C), ("mlp.down", I)):
        if any(f"{name}_proj" in ranks for name in names.split()):
            inputs += size
    return norms + attention + mlp + inputs + sum(ranks.values())


def _numbers(target: Target, dora: bool) -> int:
    shapes = kind(target.layer).shapes(target.layer, target.r, dora)
    total = 0
    for rows, *columns in shapes.values():
        total += rows * (columns[0] if columns else 1)
    return total
