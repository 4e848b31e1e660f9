"""A LoRA training step at the shapes of a small Llama, beside transformers with PEFT: time (P7, P8) and peak memory.

Two layers of TinyLlama, B1 T256, r 8 on q_proj and v_proj. Ours keeps the frozen base as the file has it (bfloat16,
8 or 4 bits); PEFT runs in float32 and in bfloat16, the latter compared with ours at "medium" precision.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.child import run as run_child
from bench.child import torch_on_all_cores
from bench.timing import OURS, Case, Row, Sides
from tinytorch.training.memory import peak_memory

SECTION = "lora"
_FOLDER = "TINYTORCH_BENCH_LLAMA"  # environment variable that tells the sides where the model is
_SHAPE, _TOKENS, _RANK = "tinyllama-1.1b", 256, 8
_TURNS = 5
_SECONDS = 4.0  # for which a process of its own times steps


def run(sides: Sides, quick: bool) -> Iterator[Row]:
    """Write the models, then measure; `quick` leaves out PEFT in bfloat16, which takes minutes in software."""
    peft = "torch" in sides.names and importlib.util.find_spec("peft") is not None
    with tempfile.TemporaryDirectory() as folder:
        bases = _write_models(Path(folder))
        os.environ[_FOLDER] = str(bases["bfloat16"])
        in_float32, in_bfloat16 = cases(quick=False)
        with Sides(["torch"] if peft else [], _TURNS) as own:
            yield own.measure(in_float32)
        ours = {base: _child(OURS, path, "highest") for base, path in bases.items()}
        theirs = {"float32": _child("torch", bases["bfloat16"], "float32")} if peft else {}
        yield _memory_row("base in bfloat16", ours["bfloat16"], theirs.get("float32"), "P7 memory")
        if not quick:
            with Sides(["torch"] if peft else [], _TURNS) as own:
                yield own.measure(in_bfloat16)
        for base in ("int8", "nf4"):
            yield Row(SECTION, f"{NAME}, base in {base}", {OURS: ours[base]["seconds"]}, {}, flops=_flops())
            rounded = _child(OURS, bases[base], "medium")
            yield Row(SECTION, f"{NAME}, base in {base}, medium", {OURS: rounded["seconds"]}, {})
            yield _memory_row(f"base in {base}", ours[base], None, "")


NAME = f"LoRA step, 2 layers of TinyLlama, B1 T{_TOKENS} r{_RANK}"


def cases(quick: bool) -> list[Case]:
    """The step on both sides, in float32 and in bfloat16; the environment variable says where the model is."""
    folder = Path(os.environ[_FOLDER])
    exact = {OURS: partial(_ours, folder, "highest"), "torch": partial(_theirs, folder, "float32")}
    rounded = {OURS: partial(_ours, folder, "medium"), "torch": partial(_theirs, folder, "bfloat16")}
    return [
        Case(SECTION, f"{NAME}, base in bfloat16, PEFT in float32", exact, "P7", flops=_flops()),
        Case(SECTION, f"{NAME}, base in bfloat16, medium, PEFT in bfloat16", rounded, "P8"),
    ]


def _flops() -> float:
    """Operations in the products with frozen weights: forward, and for the gradient of the input."""
    from lora.commands.synthesize import shape_of, weight_shapes

    shapes = weight_shapes(replace(shape_of(_SHAPE), num_hidden_layers=2)).items()
    numbers = sum(float(np.prod(shape)) for name, shape in shapes if len(shape) == 2 and "embed" not in name)
    return 2 * 2 * numbers * _TOKENS


def _write_models(folder: Path) -> dict[str, Path]:
    """The same random weights in bfloat16, 8 bits and 4 bits."""
    from lora.commands.quantize import quantize_folder

    paths = {"bfloat16": write_base(folder), "int8": folder / "int8", "nf4": folder / "nf4"}
    for scheme in ("int8", "nf4"):
        quantize_folder(paths["bfloat16"], paths[scheme], scheme)
    return paths


def write_base(folder: Path) -> Path:
    """Write the folder of a model with random weights in bfloat16."""
    from lora.commands.synthesize import SynthesizeConfig, shape_of, write

    path = folder / "bfloat16"
    write(SynthesizeConfig(out=path), replace(shape_of(_SHAPE), num_hidden_layers=2), lambda done: None)
    return path


def _ids() -> Any:
    return np.random.default_rng(0).integers(0, 32000, (1, _TOKENS))


def _ours(folder: Path, precision: str) -> Callable[[], Any]:
    """A call that runs one step: forward, backward, AdamW over the adapter."""
    return model_and_step(folder, precision)[1]


def model_and_step(folder: Path, precision: str) -> tuple[Any, Callable[[], Any]]:
    """The model, and the call that trains its adapter."""
    import tinytorch
    from lora import Llama, LoraConfig, add_adapter

    tinytorch.set_float32_matmul_precision(precision)
    config = LoraConfig(r=_RANK, lora_alpha=2 * _RANK, target_modules=["q_proj", "v_proj"])
    model = add_adapter(Llama.from_pretrained(folder, dtype="auto"), config)
    optimizer = tinytorch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = tinytorch.tensor(_ids())

    def call() -> None:
        loss = model.loss(ids, ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return model, call


def _theirs(folder: Path, dtype: str) -> Callable[[], Any]:
    """The same with transformers and PEFT."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    base = LlamaForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    config = LoraConfig(r=_RANK, lora_alpha=2 * _RANK, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    ids = torch.from_numpy(_ids())

    def call() -> None:
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return call


def _child(library: str, folder: Path, numbers: str) -> dict[str, float]:
    """Seconds of a step and peak bytes beyond the imports, in a process of its own.

    numbers: our precision, or PyTorch's dtype.
    """
    code = f"from bench.lora import child; child({library!r}, {str(folder)!r}, {numbers!r})"
    return run_child(code)


def child(library: str, folder: str, numbers: str) -> None:
    """In the child: import, note the resident size, make the model, run two or more steps for some seconds, print."""
    import psutil

    if library == OURS:
        import lora  # noqa: F401
    else:
        import peft  # noqa: F401

        torch_on_all_cores()
    imported = psutil.Process().memory_info().rss
    call = (_ours if library == OURS else _theirs)(Path(folder), numbers)
    call()
    seconds: list[float] = []
    while sum(seconds) < _SECONDS:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(seconds), "peak": peak_memory() - imported}))


def _memory_row(what: str, ours: dict[str, float], theirs: dict[str, float] | None, target: str) -> Row:
    sizes = {OURS: ours["peak"], **({"torch": theirs["peak"]} if theirs else {})}
    ratios = {"torch": (theirs["peak"] / ours["peak"],) * 3} if theirs else {}
    return Row(SECTION, f"{NAME}, {what}, peak memory", sizes, ratios, target, unit="bytes")
