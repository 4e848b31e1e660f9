"""python -m bench.stored: how much memory a loaded model takes, compared with the size of its file.

Weights stay as they are stored, in the mapped file. After one pass over a few tokens, which reads every layer, the
resident size has grown by about the file's size. Only a small part of that is not mapped but private (on Linux).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.child import run as run_child
from bench.options import parser_of

_TOKENS = 8


def resident(folder: Path) -> dict[str, int]:
    """Bytes of the folder's weights, what loading and a pass add to the resident size, and how much is not mapped."""
    code = f"from bench.stored import child; child({str(folder)!r})"
    figures = run_child(code)
    return {"file": sum(path.stat().st_size for path in folder.glob("*.safetensors")), **figures}


def child(folder: str) -> None:
    """In the child: import everything, load the kernels with a tiny model of the same kind, then measure and print."""
    import numpy as np

    from lora import Llama
    from lora.model.config import LlamaConfig
    from lora.model.quantized import Quantization, make_quantized
    from tinytorch import bfloat16

    config = LlamaConfig.load(Path(folder))
    tiny = Llama(LlamaConfig(64, 64, 128, 1, 2, other=config.other)).to(bfloat16).requires_grad_(False)
    if (quantization := Quantization.of(config.other)) is not None:
        make_quantized(tiny, quantization)
    tiny(np.zeros((1, _TOKENS), np.int64))
    before = _sizes()
    model = Llama.from_pretrained(folder, dtype="auto")
    model(np.arange(_TOKENS)[None] % config.vocab_size)
    after = _sizes()
    print(json.dumps({name: after[name] - before[name] for name in after}))


def _sizes() -> dict[str, int]:
    import psutil

    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    own = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)
    return {"resident": psutil.Process().memory_info().rss, "own": own}


def main(arguments: Sequence[str]) -> None:
    """Print a table."""
    parser = parser_of(__doc__)
    parser.add_argument("folder", nargs="+", type=Path, help="a folder of a checkpoint")
    table = Table("model", "file", "resident", "resident / file", "not mapped")
    for folder in parser.parse_args(arguments).folder:
        sizes = resident(folder)
        megabytes = [f"{sizes[name] / 1e6:,.0f} MB" for name in ("file", "resident", "own")]
        ratio = f"{sizes['resident'] / sizes['file']:.2f}"
        table.add_row(folder.name, *megabytes[:2], ratio, megabytes[2])
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
