"""python -m bench.llama: loading, memory, generation and a LoRA step, measured on checkpoints of real size.

    python -m lora synthesize --like llama-3.2-1b --dtype bf16 --out runs/1b
    python -m lora quantize --model runs/1b --out runs/1b-nf4 --scheme nf4
    python -m bench.llama runs/1b runs/1b-nf4

Each figure comes from a process of its own that has loaded the folder. "resident" is the memory that this took beyond
the imports, including pages of mapped files. Decoding reads every weight once per token, so it is limited by the memory
bandwidth, which is measured in the same process; a step is limited by the machine's multiply-adds. "medium" is the
precision at which products round to bfloat16.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track

from bench.child import run as run_child
from bench.child import torch_on_all_cores
from bench.machine import describe, peak_flops
from bench.report import markdown
from bench.timing import OURS
from tinytorch.cli.options import parse
from tinytorch.training.memory import peak_memory


@dataclass(frozen=True)
class Settings:
    """Measure checkpoints of real size, and transformers on the same folders if it is installed."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of checkpoints; transformers is left out for quantized ones."""

    tokens: int = 8
    """Tokens to generate, after one that warms up."""

    length: int = 128
    """Tokens in the batch of one sequence that a LoRA step trains on."""

    steps: bool = False
    """Time LoRA steps too, r 8 on q_proj and v_proj (ours alone)."""

    out: Path = Path("bench/results/llama.md")
    """File for the table; a JSON file of the same name is written beside it."""


HEADINGS = [
    "folder", "files", "library", "load", "resident when loaded", "peak when generating", "tokens/s",
    "weights read, share of bandwidth", "LoRA step", "share of peak", "LoRA step, medium",
    "peak in the step",
]  # fmt: skip


def main() -> int:
    """Run what the command line asks for."""
    settings: Settings = parse(Settings, "python -m bench.llama", __doc__, sys.argv[1:])
    console = Console(width=None if sys.stdout.isatty() else 200)
    facts, peak = describe(), peak_flops()
    records: list[dict[str, Any]] = []
    for folder in track(settings.folders, console=console, transient=True):
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        quantized = "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
        for library in (OURS, "transformers"):
            if library != OURS and (quantized or importlib.util.find_spec("transformers") is None):
                continue
            record = {"folder": folder.name, "bytes": size, "library": library}
            record |= _child("generate", library, folder, settings.tokens)
            if library == OURS and settings.steps:
                record |= _child("step", library, folder, settings.length)
            records.append(record)
            console.print("  ".join(_cells(record, peak)), highlight=False)
    table = markdown(HEADINGS, [_cells(record, peak) for record in records])
    command = " ".join(["python -m bench.llama", *sys.argv[1:]])
    about = markdown(["machine", ""], [[key, value] for key, value in facts.items()])
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(f"Made by `{command}`.\n\n{about}\n{table}", encoding="utf-8")
    record_file = settings.out.with_suffix(".json")
    record_file.write_text(json.dumps({"machine": facts, "peak": peak, "rows": records}, indent=1), encoding="utf-8")
    console.print(f"written to {settings.out}", highlight=False, soft_wrap=True)
    return 0


def _cells(record: dict[str, Any], peak: float) -> list[str]:
    rate = record["bytes_a_token"] * record["tokens_a_second"]
    share = f"{rate / 1e9:.1f} GB/s, {rate / record['bandwidth']:.0%}"
    cells = [
        record["folder"], _gb(record["bytes"]), record["library"], f"{record['load']:.2f} s", _gb(record["resident"]),
        _gb(record["peak"]), f"{record['tokens_a_second']:.2f}", share,
    ]  # fmt: skip
    if "step_seconds" not in record:
        return [*cells, "", "", "", ""]
    share = record["step_flops"] / record["step_seconds"] / peak
    return [
        *cells, f"{record['step_seconds']:.1f} s", f"{share:.0%}", f"{record['medium_step_seconds']:.1f} s",
        _gb(record["step_peak"]),
    ]  # fmt: skip


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB"


def _child(what: str, library: str, folder: Path, amount: int) -> dict[str, float]:
    code = f"from bench.llama import child; child({what!r}, {library!r}, {str(folder)!r}, {amount})"
    return run_child(code)


def child(what: str, library: str, folder: str, amount: int) -> None:
    """In the child: measure one thing, print it."""
    if what == "step":
        figures = _step(Path(folder), amount)
    else:
        figures = (_ours if library == OURS else _theirs)(Path(folder), amount)
    print(json.dumps(figures))


def _ours(folder: Path, tokens: int) -> dict[str, float]:
    import psutil

    import tinytorch
    from lora import Llama
    from lora.commands.loading import bytes_read_a_token
    from lora.commands.speed import read_bandwidth
    from lora.model.generation import stream
    from tinytorch.generation.sampling import Sampling

    imported = psutil.Process().memory_info().rss
    start = time.perf_counter()
    model = Llama.from_pretrained(folder, dtype="auto").eval()
    load = time.perf_counter() - start
    resident = psutil.Process().memory_info().rss - imported
    steps = stream(model, tinytorch.tensor([[1, 2, 3, 4]]), tokens + 2, Sampling(greedy=True))
    next(steps), next(steps)
    start = time.perf_counter()
    for _ in range(tokens):
        next(steps)
    rate = tokens / (time.perf_counter() - start)
    peak = peak_memory() - imported
    return {
        "load": load, "resident": resident, "peak": peak, "tokens_a_second": rate,
        "bytes_a_token": bytes_read_a_token(model), "bandwidth": read_bandwidth(),
    }  # fmt: skip


def _theirs(folder: Path, tokens: int) -> dict[str, float]:
    import psutil
    import torch
    from transformers import LlamaForCausalLM

    from lora.commands.speed import read_bandwidth

    torch_on_all_cores()
    imported = psutil.Process().memory_info().rss
    start = time.perf_counter()
    model = LlamaForCausalLM.from_pretrained(folder, dtype="auto").eval()
    load = time.perf_counter() - start
    resident = psutil.Process().memory_info().rss - imported
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        seen = model(ids, use_cache=True)
        for i in range(tokens + 1):
            if i == 1:
                start = time.perf_counter()
            ids = seen.logits[:, -1:].argmax(-1)
            seen = model(ids, past_key_values=seen.past_key_values, use_cache=True)
    rate = tokens / (time.perf_counter() - start)
    peak = peak_memory() - imported
    embedding = model.get_input_embeddings().weight
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    if not model.config.tie_word_embeddings:
        weights -= embedding.numel() * embedding.element_size()
    return {
        "load": load, "resident": resident, "peak": peak, "tokens_a_second": rate,
        "bytes_a_token": weights, "bandwidth": read_bandwidth(),
    }  # fmt: skip


def _step(folder: Path, length: int) -> dict[str, float]:
    import psutil

    import tinytorch
    from lora import Llama, LoraConfig, add_adapter
    from lora.commands.synthesize import shape_of, weight_shapes

    imported = psutil.Process().memory_info().rss
    model = Llama.from_pretrained(folder, dtype="auto")
    add_adapter(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]))
    optimizer = tinytorch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = tinytorch.tensor(np.random.default_rng(0).integers(0, model.config.vocab_size, (1, length)))
    seconds = {}
    for precision in ("highest", "medium"):
        tinytorch.set_float32_matmul_precision(precision)
        for _ in range(2):  # the second one counts
            start = time.perf_counter()
            loss = model.loss(ids, ids)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seconds[precision] = time.perf_counter() - start
    config = shape_of(str(folder))
    shapes = weight_shapes(config).items()
    numbers = sum(float(np.prod(shape)) for name, shape in shapes if len(shape) == 2 and "embed" not in name)
    if config.tie_word_embeddings:
        numbers += config.vocab_size * config.hidden_size
    flops = 2 * 2 * numbers * length  # forward, and for the gradient of the input
    return {
        "step_seconds": seconds["highest"], "medium_step_seconds": seconds["medium"], "step_flops": flops,
        "step_peak": peak_memory() - imported,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
