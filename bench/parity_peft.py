"""python -m bench.parity_peft: how far our adapters are from PEFT's, over a grid of configurations.

Both have the same small Llama with random weights, and an adapter with random values that PEFT wrote. What is compared:

    logits    with the adapter that PEFT wrote and we read
    back      logits with the adapter that we wrote and PEFT read
    trained   the adapter, and biases if trained, after 20 steps of AdamW
    merged    every weight of the model after that adapter was merged
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.options import parser_of
from bench.parity import TOLERANCE, batch, difference, in_float64, their_model
from lora import Llama, load_adapter, merge, save_adapter
from lora.adapters.adapter_files import adapter_state
from tinytorch import optim

STEPS, LEARNING_RATE = 20, 3e-4
# Adam divides each element of a gradient by its own size, so where a gradient cancels up to rounding, the rounding
# error becomes a full step: shifting all keys alike changes no softmax, so k_proj has a bias gradient only through the
# rotation by position. An error d of the gradient moves a parameter by at most STEPS * LEARNING_RATE * d / EPS; with
# d = 1e-6 that is 6e-6, below the tolerance, whereas PyTorch's default eps of 1e-8 would allow anything.
EPS = 1e-3
BASE = {"num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True}

RANKS: dict[str, dict[str, Any]] = {
    "r 8, alpha 8": {},
    "r 1, alpha 16": {"r": 1, "lora_alpha": 16},
    "r 4, alpha 8, rsLoRA": {"r": 4, "lora_alpha": 8, "use_rslora": True},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "DoRA": {"use_dora": True},
    "all biases": {"bias": "all"},
    "DoRA, own biases": {"use_dora": True, "bias": "lora_only"},
}
TARGETS: dict[str, dict[str, Any]] = {
    "by default": {},
    "all-linear": {"target_modules": "all-linear"},
    "expression": {"target_modules": r".*\.(self_attn\.[ko]|mlp\.up)_proj"},
    "excluded": {"target_modules": ["q_proj", "gate_proj", "down_proj"], "exclude_modules": ["layers.0.mlp.gate_proj"]},
    "one layer": {"target_modules": ["o_proj", "up_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    "embedding, head": {"target_modules": ["embed_tokens", "v_proj", "lm_head"]},
    "patterns": {
        "target_modules": ["q_proj", "k_proj", "v_proj"],
        "rank_pattern": {"layers.0.self_attn.q_proj": 3, r"^model\.layers\.1.*v_proj": 5},
        "alpha_pattern": {"k_proj": 24},
    },
}


class Errors(NamedTuple):
    """The largest differences, relative to each tensor's largest element, or absolute if that is below 1."""

    logits: float
    back: float
    trained: float
    merged: float


def their_adapter(theirs: Any, settings: dict[str, Any], seed: int = 0) -> Any:
    """A PeftModel around a model, with random values in the adapter, the same ones each time."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)  # PEFT draws the initial values of A
    model = get_peft_model(theirs, LoraConfig(task_type="CAUSAL_LM", **settings))
    rng = np.random.default_rng(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data += torch.from_numpy(0.05 * rng.standard_normal(tuple(parameter.shape)))
    return model


def compare(dtype: str, **settings: Any) -> Errors:
    """Ours against theirs, for a LoraConfig's settings."""
    import torch
    from peft import PeftModel

    ids, labels, _ = (array[:, :24] for array in batch("none"))
    given = {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
    with tempfile.TemporaryDirectory() as name, in_float64() if dtype == "float64" else nullcontext(), quiet():
        folder = Path(name)
        theirs = their_adapter(their_model(folder / "base", dtype, **BASE), settings)
        theirs.save_pretrained(folder / "theirs")
        ours = load_adapter(Llama.from_pretrained(folder / "base", dtype), folder / "theirs", trainable=True)
        logits = difference(array(ours(ids)), array(theirs(**given).logits))
        save_adapter(ours, folder / "ours")
        again = PeftModel.from_pretrained(their_model(folder / "base", dtype, **BASE), str(folder / "ours"))
        back = difference(array(ours(ids)), array(again(**given).logits))

        optimizer = torch.optim.AdamW([p for p in theirs.parameters() if p.requires_grad], LEARNING_RATE, eps=EPS)
        ours_optimizer = optim.AdamW([p for p in ours.parameters() if p.requires_grad], LEARNING_RATE, eps=EPS)
        for _ in range(STEPS):
            optimizer.zero_grad()
            theirs(**given).loss.backward()
            optimizer.step()
            ours_optimizer.zero_grad()
            ours.loss(ids, labels).backward()
            ours_optimizer.step()
        theirs.save_pretrained(folder / "trained")
        expected = load_adapter(Llama.from_pretrained(folder / "base", dtype), folder / "trained")
        trained = _largest(adapter_state(ours, "default"), adapter_state(expected, "default"))

        state = {name: value for name, value in merge(ours).state_dict().items() if ".adapters." not in name}
        merged = _largest(state, theirs.merge_and_unload().state_dict())
    return Errors(logits, back, trained, merged)


def quiet() -> Any:
    """Silence PEFT about the embeddings it saves; names missing from a file remain an error."""
    context = warnings.catch_warnings()
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", message="Found missing adapter keys")
    return context


def array(tensor: Any) -> Any:
    """A NumPy array of our tensor or theirs."""
    return tensor.detach().numpy()


def _largest(ours: Any, theirs: Any) -> float:
    if ours.keys() != theirs.keys():
        raise AssertionError(f"only one side has {sorted(ours.keys() ^ theirs.keys())}")
    return max(difference(array(ours[name]), array(theirs[name])) for name in ours)


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
    table = Table(title=f"Largest difference from PEFT, {STEPS} steps of AdamW")
    labels = ("targets", "variant", "rank", "dtype")
    for column in (*labels, *Errors._fields):
        table.add_column(column, justify="left" if column in labels else "right")
    good = True
    grid = list(itertools.product(TARGETS, VARIANTS, RANKS, TOLERANCE))
    for targets, variant, rank, dtype in track(grid, "comparing", console=console, transient=True):
        errors = compare(dtype, **TARGETS[targets], **VARIANTS[variant], **RANKS[rank])
        good &= max(errors) <= TOLERANCE[dtype]
        table.add_row(targets, variant, rank, dtype, *(f"{number:.1e}" for number in errors))
    console.print(table)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
