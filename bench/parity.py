"""python -m bench.parity: how far our Llama is from transformers', for each variant of the architecture.

Both read the same folder of random weights and get the same batch of sequences of 70 tokens: whole ones, and ones
padded on the left or on the right. Compared are the logits of every position, the loss, and every gradient.

transformers computes norms, softmax, angles and the loss in float32 whatever the model's dtype. For the comparison with
our float64, its code runs those steps in float64 too.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.options import parser_of
from lora import Llama

T = 70

ROPES: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},  # from 64 positions on
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "yarn": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16},
}

SHAPES: dict[str, dict[str, Any]] = {
    "heads alike": {"num_key_value_heads": 4},
    "grouped, tied": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "one key head, biases": {"num_key_value_heads": 1, "attention_bias": True, "mlp_bias": True},
    "head_dim 16, padding token": {"num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0, "rms_norm_eps": 1e-3},
}

PADDINGS = ("none", "left", "right")
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


class Errors(NamedTuple):
    """The largest differences, relative to each tensor's largest element, or absolute if that is below 1."""

    logits: float
    loss: float
    gradient: float
    worst: str  # the parameter with the largest difference of gradients


def their_model(folder: Path, dtype: str, **settings: Any) -> Any:
    """A small LlamaForCausalLM with random weights, none of them 0 or 1, saved to a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    common = {
        "vocab_size": 99,
        "hidden_size": 32,
        "intermediate_size": 44,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "attn_implementation": "eager",
    }
    model = LlamaForCausalLM(LlamaConfig(**{**common, **settings})).to(getattr(torch, dtype))
    rng = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        mean, deviation = (1.0, 0.3) if "norm" in name else (0.0, 0.2)
        parameter.data.copy_(torch.from_numpy(rng.normal(mean, deviation, tuple(parameter.shape))))
    model.save_pretrained(folder)
    return model


def batch(padding: str, vocab_size: int = 99) -> tuple[Any, Any, Any]:
    """ids, labels and mask (3, T): if padded, rows of T, T - 9 and 33 tokens; some labels are left out."""
    rng = np.random.default_rng(1)
    ids = rng.integers(1, vocab_size, (3, T))
    lengths = np.array([[T], [T - 9], [33]] if padding != "none" else [[T]] * 3)
    places = np.arange(T)
    mask = (places >= T - lengths if padding == "left" else places < lengths).astype(np.int64)
    ids = np.where(mask, ids, 0)
    return ids, np.where(mask * (rng.random(ids.shape) > 0.2), ids, -100), mask


@contextmanager
def in_float64() -> Iterator[None]:
    """Make transformers' code use float64 where it uses float32, except for the rotary frequencies."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Double(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if func is torch.Tensor.float:
                func = torch.Tensor.double
            if func is torch.nn.functional.softmax:
                kwargs.pop("dtype", None)
            if func is torch.Tensor.to and args[0].dtype == torch.float64 and torch.float32 in (
                *args, kwargs.get("dtype")
            ):
                return args[0]
            return func(*args, **kwargs)

    with Double():
        yield


def compare(dtype: str, padding: str, **settings: Any) -> Errors:
    """Ours against theirs, for a LlamaConfig's settings."""
    import torch

    ids, labels, mask = batch(padding)
    with tempfile.TemporaryDirectory() as folder:
        theirs = their_model(Path(folder), dtype, **settings)
        ours = Llama.from_pretrained(folder, dtype=dtype)
    with in_float64() if dtype == "float64" else nullcontext():
        tensors = {"input_ids": ids, "labels": labels, "attention_mask": mask}
        out = theirs(**{name: torch.from_numpy(array) for name, array in tensors.items()})
        out.loss.backward()
    expected = {name: p.grad.numpy() for name, p in theirs.named_parameters()}

    given_mask = None if padding == "none" else mask
    logits, loss = ours(ids, given_mask), ours.loss(ids, labels, given_mask)
    loss.backward()
    found = {name: p.grad.numpy() for name, p in ours.named_parameters()}
    if list(found) != list(expected):
        raise AssertionError(f"our parameters are {list(found)}, theirs {list(expected)}")
    gradients = {name: difference(found[name], expected[name]) for name in expected}
    worst = max(gradients, key=lambda name: gradients[name])
    return Errors(
        difference(logits.detach().numpy(), out.logits.detach().numpy()),
        difference(loss.detach().numpy(), out.loss.detach().numpy()),
        gradients[worst],
        worst,
    )


def difference(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest element of theirs, or absolute if that is below 1."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        raise AssertionError(f"{ours.dtype} {ours.shape} instead of {theirs.dtype} {theirs.shape}")
    return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))


def main() -> int:
    """Print the table; the exit code is 1 if a difference exceeds the tolerance."""
    parser_of(__doc__).parse_args()
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title="Largest difference from transformers' LlamaForCausalLM")
    for column in ("rope", "shape", "dtype", "logits", "loss", "gradients"):
        table.add_column(column, justify="left" if column in ("rope", "shape", "dtype") else "right")
    good = True
    variants = [(rope, shape, dtype) for rope in ROPES for shape in SHAPES for dtype in TOLERANCE]
    for rope, shape, dtype in track(variants, "comparing", console=console, transient=True):
        settings = {"rope_parameters": dict(ROPES[rope]), **SHAPES[shape]}
        errors = [compare(dtype, padding, **settings) for padding in PADDINGS]
        largest = [max(error[i] for error in errors) for i in range(3)]
        good &= max(largest) <= TOLERANCE[dtype]
        table.add_row(rope, shape, dtype, *(f"{number:.1e}" for number in largest))
    console.print(table)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
