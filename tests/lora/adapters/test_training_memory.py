from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lora import LoraConfig, add_adapter, save_adapter
from lora.__main__ import main
from lora.adapters.targets import find_targets
from lora.adapters.training_memory import PROGRAM, PROGRAM_BYTES, TrainingSettings, activations, training
from lora.model.config import LlamaConfig
from lora.model.llama import Llama
from tinytorch.engine.graph import topological_order
from tinytorch.training.memory import peak_memory

SHAPE = LlamaConfig(
    vocab_size=100,
    hidden_size=64,
    intermediate_size=160,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=24,
)


def kept(model: Llama, rows: int, length: int) -> int:
    """Numbers that the graph of a loss holds, parameters aside."""

    def memory(array: Any) -> Any:
        while isinstance(array.base, np.ndarray):
            array = array.base
        return array

    ids = np.zeros((rows, length), np.int64)
    loss = model.loss(ids, ids)
    own = {id(memory(p.array)) for p in model.parameters()}
    saved = [record for node in topological_order([loss.grad_fn])[0] for record in getattr(node, "_saved", None) or ()]
    arrays = {id(memory(array)): memory(array) for array, *_ in saved if array is not None}
    return sum(array.size for key, array in arrays.items() if key not in own)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"], ["v_proj", "down_proj"]])
def test_activations_are_what_the_graph_holds(targets: Any) -> None:
    model = Llama(SHAPE)
    config = LoraConfig(r=4, target_modules=targets)
    expected = activations(SHAPE, find_targets(model, config), checkpointing=False)
    add_adapter(model, config)
    # The logits' gradient comes later.
    assert kept(model, 2, 50) / 100 == pytest.approx(expected - SHAPE.vocab_size, rel=0.05)


@pytest.mark.parametrize("changes", [{}, {"use_dora": True}, {"r": 3, "target_modules": ["q_proj", "down_proj"]}])
def test_parameters_are_those_of_the_adapter(changes: dict[str, Any]) -> None:
    config = LoraConfig(**{"r": 5, "target_modules": "all-linear", **changes})
    result = training(SHAPE, 1000, config, TrainingSettings())
    model = add_adapter(Llama(SHAPE), config)
    assert result.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert result.total == sum(p.numel() for p in model.parameters())
    assert result.memory["weights as stored"] == 1000
    assert result.memory["adapter"] == 4 * result.trained
    assert result.memory[PROGRAM] == PROGRAM_BYTES
    assert result.memory["sum"] == sum(result.memory.values()) - result.memory["sum"]


def test_checkpointing_takes_less() -> None:
    config = LoraConfig(target_modules="all-linear")
    sums = [
        training(SHAPE, 0, config, TrainingSettings(checkpointing=checkpointing)).memory["sum"] - PROGRAM_BYTES
        for checkpointing in (False, True)
    ]
    assert sums[1] < 0.6 * sums[0]


def test_what_a_run_takes_is_near_what_info_says(small_folder: Path, tmp_path: Path) -> None:
    """Of a small model that is the interpreter and its libraries, above all."""
    if not peak_memory():
        pytest.skip("the system does not say how much memory a process has needed")
    data = tmp_path / "data.txt"
    data.write_text("The list is a sequence. " * 400)
    program = "from lora.__main__ import main; from tinytorch.training.memory import peak_memory\n"
    program += "main({}); print(peak_memory())"
    options = ["--batch-size=8", "--max-iters=2", "--eval-interval=2", "--rank=4"]
    command = ["train", "--model", str(small_folder), "--data", str(data), "--out", str(tmp_path / "run"), *options]
    done = subprocess.run(
        [sys.executable, "-c", program.format(command)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    measured = int(done.stdout.split()[-1])
    shape, config = LlamaConfig.load(small_folder), LoraConfig(r=4, target_modules="all-linear")
    expected = training(shape, 164_000, config, TrainingSettings(batch_size=8)).memory["sum"]
    assert 0.7 < expected / measured < 1.3


def test_info(small_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--model", str(small_folder), "--rank=2", "--targets", "q_proj"]) == 0
    shown = capsys.readouterr().out
    assert "memory, to train an adapter of rank 2" in shown
    assert "activations of 16 rows of 64 tokens, about" in shown
    assert "256 of 41,376 parameters are then trained (0.62%)" in shown
    model = add_adapter(Llama.from_pretrained(small_folder), LoraConfig(r=4, target_modules="all-linear"))
    save_adapter(model, tmp_path / "adapter")
    assert main(["info", "--model", str(small_folder), "--adapter", str(tmp_path / "adapter")]) == 0
    assert "3,712 of 44,832 parameters are then trained" in capsys.readouterr().out
    assert main(["info", "--model", str(small_folder), "--rank=0"]) == 2
    assert "r is 0: a rank is an integer above 0" in capsys.readouterr().err
