from __future__ import annotations

import gc
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import tinytorch
from lora import LoraConfig
from lora.__main__ import main
from lora.adapters.adapter_files import load_adapter, save_adapter
from lora.commands.loading import load
from lora.commands.quantize import quantize_folder
from lora.commands.rule import complete
from lora.commands.train import TuneRun
from lora.commands.tune_config import TuneConfig
from lora.model.llama import Llama
from lora.text import parrot
from lora.text.data import load_data
from lora.text.tokenizer import Tokenizer
from tinytorch.cli.errors import UserError
from tinytorch.kernels.gemm.pairs import PAIRS
from tinytorch.nn import functional as F
from tinytorch.safetensors import load_file
from tinytorch.training import checkpoint, metrics, report, trainer
from tinytorch.training.batches import IGNORED
from tinytorch.training.metrics import Step
from tinytorch.training.trainer import Result

WORDS = ["list", "tuple", "file", "name", "class", "type"]
Make = Callable[..., TuneConfig]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    records = [{"prompt": f"{a} {b}?", "completion": f" {b}! {a}."} for a in WORDS for b in WORDS]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


# Steps at which a rounding does not grow into another run. At 0.01 two runs may come 0.2 apart: whether they do
# depends on this Python's own texts, from which the tokenizer is made.
GENTLE: dict[str, Any] = {"max_iters": 30, "learning_rate": 0.003}


@pytest.fixture
def make(tmp_path: Path, data: Path, small_folder: Path) -> Make:
    """Settings of a run that takes a moment, in a folder of its own; keywords change them."""

    def config(name: str = "run", **changes: Any) -> TuneConfig:
        settings: dict[str, Any] = {"model": small_folder, "data": str(data), "out": tmp_path / name}
        settings |= {"learning_rate": 5e-3, "min_lr": 5e-4, "alpha": 16.0}
        settings |= {"batch_size": 4, "max_iters": 10, "warmup_iters": 2, "eval_interval": 4, "eval_iters": 2}
        return TuneConfig(**{**settings, "rank": 4, **changes})

    return config


def train(config: TuneConfig) -> Result:
    return trainer.train(TuneRun.open(config), Console(quiet=True))


def files_of(config: TuneConfig) -> dict[str, bytes]:
    """The adapters, and all that going on needs."""
    names = [f"{which}/adapter_model.safetensors" for which in ("best", "last")]
    tensors = checkpoint.load(config.out, "last")[0]
    return {name: (config.out / name).read_bytes() for name in names} | {k: v.tobytes() for k, v in tensors.items()}


def losses_of(config: TuneConfig) -> list[dict[str, Any]]:
    records = metrics.read(config.out / "metrics.jsonl")
    return [{key: value for key, value in record.items() if key != "tokens_per_s"} for record in records]


def command(config: TuneConfig, *options: str) -> list[str]:
    own = ["--model", str(config.model), "--data", config.data, "--out", str(config.out), "--rank", str(config.rank)]
    return ["train", *own, "--batch-size=4", "--warmup-iters=2", "--eval-iters=2", *options]


def test_a_run_learns_and_leaves_what_it_says(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config = make()
    options = ["--max-iters=60", "--eval-interval=20", "--learning-rate=0.02", "--min-lr=0.002"]
    assert main(command(config, *options)) == 0
    shown = capsys.readouterr().out
    # 7 layers of rank 4 in each of 2: q and o 32 + 32, k and v 32 + 16, three times 32 + 48
    trained = 2 * 4 * (2 * 64 + 2 * 48 + 3 * 80)
    assert f"adapter of rank 4 on 14 layers: {trained:,} of {trained + 41_120:,} parameters are trained" in shown
    assert "33 examples to train on, 3 to validate; every 20 steps 4 and 3 of them are evaluated" in shown
    assert re.search(r"validation loss \d\.\d+ \(perplexity [\d.]+\)", shown)
    assert f"--adapter {config.out / 'best'}" in shown
    assert {path.name for path in config.out.iterdir() if path.suffix != ".safetensors"} == {
        "best", "last", "last.json", "loss.png", "metrics.jsonl",
    }  # fmt: skip
    evaluations = [record for record in losses_of(config) if "val_loss" in record]
    assert [record["iter"] for record in evaluations] == [0, 20, 40, 60]
    assert evaluations[-1]["val_loss"] < 0.5 * evaluations[0]["val_loss"]
    settings = json.loads((config.out / "best" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["peft_type"]) == (4, 32.0, "LORA")
    assert settings["base_model_name_or_path"] == str(config.model)
    # the best one, by `lora eval` too
    best = min(record["val_loss"] for record in evaluations)
    adapter = ["--adapter", str(config.out / "best")]
    assert main(["eval", "--model", str(config.model), *adapter, "--data", config.data]) == 0
    shown = capsys.readouterr().out
    assert f"loss {best:.4f} nats per token, perplexity {math.exp(best):.4g}" in shown
    assert "3 examples" in shown


def test_a_run_that_is_dropped_frees_its_model_at_once(make: Make) -> None:
    """Where several follow one another, each would wait for the garbage collector."""
    run = TuneRun(make())
    trainer.training_step(run)
    alive = weakref.ref(run.model)
    gc.disable()
    try:
        del run
        assert alive() is None
    finally:
        gc.enable()


def test_the_loss_is_that_of_what_is_to_be_learned(make: Make) -> None:
    """Of each target once, whatever batch it is in; the prompt's tokens do not count."""
    config = make(grad_accum=3, eval_iters=100, eval_share=100.0)
    run = TuneRun.open(config)
    model = Llama.from_pretrained(config.model)
    losses = []
    assert len(run.data.examples["train"]) == 33
    for example in run.data.examples["train"]:
        logits = model(example.inputs[None])[0]
        counted = np.flatnonzero(example.targets != IGNORED)
        assert 0 < len(counted) < len(example.targets)
        losses += [F.cross_entropy(logits[i], tinytorch.tensor(int(example.targets[i]))).item() for i in counted]
    with trainer.StopSignal() as stop:
        assert trainer.evaluate(run, "train", stop) == pytest.approx(np.mean(losses), rel=1e-5)
    batches = [next(run.data.batches) for _ in range(3)]
    run.data.set_position({"position": np.array([0, 0])})
    learned = np.concatenate([batch[1].numpy()[batch[1].numpy() != IGNORED] for batch in batches])
    total = sum(run.loss(*b).item() * int((b[1].numpy() != IGNORED).sum()) for b in batches)
    loss, _, _, tokens = trainer.training_step(run)
    assert loss == pytest.approx(total / len(learned), rel=1e-5)
    rows = [row for batch in batches for row in batch[0].numpy()]
    assert tokens == sum(int(np.flatnonzero(row)[-1]) + 1 for row in rows)  # 0, the padding, begins a row only


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.3, "grad_accum": 2},
        {"dropout": 0.3, "checkpointing": True},
        {"packing": True, "max_tokens": 32, "batch_size": 2},
        {"dora": True, "targets": ("q_proj", "down_proj")},
    ],
    ids=["dropout", "checkpointing", "packing", "dora"],
)
def test_ten_steps_are_five_and_five(make: Make, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    whole, cut = make("whole", **changes), make("cut", **changes)
    train(whole)
    whole_step = trainer.training_step

    def step(run: TuneRun) -> Step:
        if run.iteration == 4:
            signal.raise_signal(signal.SIGINT)
        return whole_step(run)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "training_step", step)
        assert train(cut).interrupted
    assert checkpoint.load(cut.out, "last")[1]["iteration"] == 5
    assert files_of(cut) != files_of(whole)
    assert not train(make("cut", resume=True, **changes)).interrupted
    assert files_of(cut) == files_of(whole)
    assert losses_of(cut) == losses_of(whole)


def test_an_evaluation_takes_its_share_of_the_tokens(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps({"text": "a " * (1 + i % 20)}) + "\n" for i in range(2000)))
    run = TuneRun(make(data=str(path), eval_interval=50, max_iters=100, eval_iters=40))
    trained = [next(run.data.batches) for _ in range(50)]
    tokens = sum(trainer.count_tokens(batch) for batch in trained)
    taken = {}
    for split in ("train", "val"):
        batches = list(run.data.evaluation_batches(split))
        taken[split] = sum(trainer.count_tokens(batch) for batch in batches) / tokens
        assert sum(len(batch[0].numpy()) for batch in batches) == len(run.data.evaluated(split))
        again = run.data.evaluation_batches(split)  # the same ones
        assert all(np.array_equal(a[0].numpy(), b[0].numpy()) for a, b in zip(batches, again, strict=True))
    assert 0.065 < taken["val"] < 0.09
    assert 0.012 < taken["train"] < 0.03
    places = {id(example): i for i, example in enumerate(run.data.examples["val"])}
    assert max(places[id(example)] for example in run.data.evaluated("val")) > 100  # not the first ones
    few = TuneRun(make("few", data=str(path), eval_interval=1, eval_iters=1))
    assert len(few.data.evaluated("val")) == len(few.data.evaluated("train")) == 4  # a batch at least
    most = TuneRun(make("most", data=str(path), eval_interval=50, max_iters=100, eval_iters=2, eval_share=9.0))
    assert len(most.data.evaluated("val")) == 8


def test_validation_on_a_file_of_its_own(
    make: Make, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("prompt,completion\n" + "".join(f"{a} {a}?, {a}!\n" for a in WORDS))
    config = make(val_data=str(other))
    assert main(command(config, "--max-iters=2", "--eval-share=9", f"--val-data={other}")) == 0
    assert "36 examples to train on, 6 to validate" in capsys.readouterr().out
    run = TuneRun(make("again", val_data=str(other)))
    assert run.data.held_out == load_data(other, run.data.tokenizer, 64).records
    asked = ["eval", "--model", str(config.model), "--adapter", str(config.out / "best")]
    assert main([*asked, "--data", config.data]) == 2
    assert f"best was validated on {other}: give --data {other} --part all" in capsys.readouterr().err
    assert main([*asked, "--data", str(other), "--part=all"]) == 0
    best = min(record["val_loss"] for record in losses_of(config) if "val_loss" in record)
    assert f"loss {best:.4f} nats per token" in capsys.readouterr().out
    other.write_text("prompt,completion\na,b\n")
    assert main(["train", "--resume", "--out", str(config.out)]) == 2
    assert "was trained on a text other than" in capsys.readouterr().err


def test_eval_takes_what_training_held_out(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config = make(seed=7)
    run = TuneRun.open(config)
    trainer.train(run, Console(quiet=True))
    best = min(record["val_loss"] for record in losses_of(config) if "val_loss" in record)
    asked = ["eval", "--model", str(config.model), "--adapter", str(config.out / "best"), "--data", config.data]
    for option in ([], ["--seed=7"]):
        assert main([*asked, *option]) == 0
        assert f"loss {best:.4f} nats per token" in capsys.readouterr().out
    assert main([*asked, "--seed=8"]) == 0
    assert f"loss {best:.4f} nats per token" not in capsys.readouterr().out


def test_an_adapter_remembers_whether_it_was_trained_on_messages(
    make: Make, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = tmp_path / "talk.jsonl"
    pairs = [(line["prompt"], line["completion"]) for line in map(json.loads, data.read_text().splitlines())]
    turns = [[{"role": "user", "content": p}, {"role": "assistant", "content": c}] for p, c in pairs]
    talk.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in turns))
    configs = {"talk": make("talk", data=str(talk)), "text": make("text")}
    shown = {}
    for name, config in configs.items():
        train(config)
        how = json.loads((config.out / "best" / "training.json").read_text())
        assert how["chat_template"] is (name == "talk") and how["seed"] == config.seed
        asked = ["generate", "--model", str(config.model), "--adapter", str(config.out / "best")]
        assert main([*asked, "--prompt=list", "--max-new-tokens=4", "--greedy"]) == 0
        shown[name] = capsys.readouterr().out
    assert shown["text"].startswith("list") and not shown["talk"].startswith("list")  # only an answer
    merged = tmp_path / "merged"
    adapter = ["--adapter", str(configs["talk"].out / "best")]
    assert main(["merge", "--model", str(configs["talk"].model), *adapter, "--out", str(merged)]) == 0
    capsys.readouterr()
    assert main(["generate", "--model", str(merged), "--prompt=list", "--max-new-tokens=4", "--greedy"]) == 0
    assert capsys.readouterr().out == shown["talk"]
    model = load_adapter(Llama.from_pretrained(configs["talk"].model), configs["talk"].out / "best")
    save_adapter(model, configs["talk"].out / "best")  # from elsewhere: nothing is known of it any more
    assert not (configs["talk"].out / "best" / "training.json").exists()


def test_the_bar_says_what_is_done(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    update = report.Progress.update

    def record(self: Any, task: Any, **fields: Any) -> None:
        told.append(fields["doing"])
        update(self, task, **fields)

    monkeypatch.setattr(report.Progress, "update", record)
    train(make(max_iters=2, eval_interval=2))
    assert told[0] == told[-1] == "evaluating"
    assert all(re.fullmatch(r"loss \d+\.\d+ [\d,]+ tokens/s [\d,]+ MB", text) for text in told[1:-1])
    assert len(told) == 4


def test_checkpointing_changes_no_bit(make: Make) -> None:
    kept, again = make("kept", dropout=0.3), make("again", dropout=0.3, checkpointing=True)
    train(kept)
    train(again)
    assert losses_of(kept) == losses_of(again)
    assert files_of(kept) == files_of(again)


def test_packed_rows_have_the_same_loss(make: Make) -> None:
    losses = []
    for packing in (False, True):
        run = TuneRun.open(make(packing=packing, max_tokens=40, eval_iters=100, eval_share=100.0))
        with trainer.StopSignal() as stop:
            losses.append(trainer.evaluate(run, "train", stop))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_base_stays_as_it_is(make: Make) -> None:
    config = make()
    run = TuneRun.open(config)
    before = {name: array.tobytes() for name, array in load_file(config.model / "model.safetensors").items()}
    trainer.train(run, Console(quiet=True))
    state = run.model.state_dict()
    assert {name: state[name].numpy().tobytes() for name in before} == before
    adapters = {name for name in state if ".adapters." in name}
    assert set(run.weights()) == adapters == set(state) - set(before)
    assert len(adapters) == 2 * 2 * 7  # A and B of 7 layers of 2 blocks


def test_a_disk_that_is_full_leaves_what_was_there(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make()
    whole_save = checkpoint.save

    def save(folder: Path, name: str, tensors: dict[str, Any], values: dict[str, Any]) -> None:
        if values["iteration"] == 8:
            raise OSError(28, "No space left on device", str(folder))
        whole_save(folder, name, tensors, values)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(OSError, match="No space left"):
            train(config)
    whole = make("whole")
    train(whole)
    assert checkpoint.load(config.out, "last")[1]["iteration"] == 4
    train(make(resume=True))
    assert files_of(config) == files_of(whole)


def test_a_quantized_base_is_trained_in_the_same_way(make: Make, tmp_path: Path) -> None:
    losses = {}
    for scheme in ("", "int8", "nf4"):
        changes: dict[str, Any] = {}
        if scheme:
            quantize_folder(make().model, tmp_path / scheme, scheme)
            changes["model"] = tmp_path / scheme
        config = make(f"run{scheme}", **GENTLE, **changes)
        assert "of 44,832 parameters" in TuneRun(config).describe()
        losses[scheme] = train(config).val_loss
    assert losses["int8"] == pytest.approx(losses[""], abs=0.05)
    assert losses["nf4"] == pytest.approx(losses[""], abs=0.5)


def test_medium_precision_learns_as_well(make: Make, tmp_path: Path) -> None:
    quantize_folder(make().model, tmp_path / "int8", "int8")
    changes: dict[str, Any] = {"model": tmp_path / "int8", **GENTLE}
    exact, rounded = make("exact", **changes), make("rounded", precision="medium", **changes)
    assert train(rounded).val_loss == pytest.approx(train(exact).val_loss, abs=0.05)
    assert losses_of(exact)[0]["val_loss"] - losses_of(exact)[-1]["val_loss"] > 0.5
    assert tinytorch.get_float32_matmul_precision() == "highest"  # each run sets its own
    assert (losses_of(rounded) != losses_of(exact)) == PAIRS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resume": False}, "already holds a run: --resume continues it"),
        ({"rank": 2}, "was trained with --rank 4, not 2"),
        ({"batch_size": 2}, "was trained with --batch-size 4, not 2"),
        ({"targets": ("q_proj",)}, "was trained with --targets"),
        ({"max_iters": 8}, "is at iteration 10: give a --max-iters of at least that"),
    ],
)
def test_what_a_run_cannot_change(make: Make, changes: dict[str, Any], message: str) -> None:
    train(make())
    with pytest.raises(UserError, match=message):
        train(make(**{"resume": True, **changes}))


def test_what_is_wrong_with_the_settings(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*options: str) -> str:
        capsys.readouterr()
        assert main(command(make("new"), *options)) == 2
        error = capsys.readouterr().err
        assert re.fullmatch(r"error: .+\n", error)
        return error

    assert "r is 0: a rank is an integer above 0" in fails("--rank=0")
    assert "lora_dropout is 1.5" in fails("--dropout=1.5")
    assert "max_tokens is 1" in fails("--max-tokens=1")
    assert "targets names no layer" in fails("--targets")
    assert "target_modules ['x_proj']" in fails("--targets", "x_proj")
    assert "cannot read nowhere" in fails("--data=nowhere")
    assert "nowhere is not a folder" in fails("--model=nowhere")
    assert not make("new").out.exists()


def test_a_command_to_copy_is_quoted(make: Make) -> None:
    config = make("it's my $run")
    words = shlex.split(TuneRun(config).next_command().removeprefix("let it write: "))
    assert words[:3] == ["python", "-m", "lora"]
    assert {str(config.out / "best"), str(config.model)} <= set(words)


def test_long_examples_are_warned_of(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(make(), "--max-iters=1", "--max-tokens=9")) == 0
    assert re.search(r"warning: \d+ of 36 examples were cut to 9 tokens", capsys.readouterr().out)


def test_ctrl_c_saves_and_exits(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config = make()
    options = command(config, "--max-iters=1000000", "--eval-interval=1000000")
    process = subprocess.Popen(
        [sys.executable, "-m", "lora", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "COLUMNS": "120"},
    )
    log = config.out / "metrics.jsonl"
    try:
        for _ in range(1200):
            if log.exists() and log.read_text().count("\n") > 5:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    iteration = json.loads((config.out / "last.json").read_text())["iteration"]
    assert f"stopped at iteration {iteration}; continue with --resume" in stdout
    assert (config.out / "last" / "adapter_model.safetensors").exists()
    assert main(["train", "--resume", "--out", str(config.out), f"--max-iters={iteration + 2}"]) == 0
    assert f"resuming at iteration {iteration}" in capsys.readouterr().out


def test_answers_and_the_rule(small_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For the data that ships with the project; this model does not learn it in one step."""
    options = ["--max-iters=1", "--eval-iters=1", "--max-tokens=64"]
    assert main(["train", "--model", str(small_folder), "--out", str(tmp_path / "parrot"), *options]) == 0
    shown = capsys.readouterr().out
    assert shown.count("the rule holds for 0 of 64 prompts (0%)") == 2
    assert shown.count("? -> '") == 6
    model, tokenizer = load(small_folder)
    prompts = ["What is the list?", "a"]
    answers = complete(model, tokenizer, prompts, 8)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = tokenizer.encode(prompt)
        whole = model.generate([ids], 8, greedy=True).numpy()[0, len(ids) :].tolist()
        assert answer == tokenizer.decode(whole)
    assert model.training is False


def test_generate_and_merge_with_the_adapter(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make(max_iters=20, learning_rate=0.02, min_lr=0.002)
    train(config)
    model, adapter = ["--model", str(config.model)], ["--adapter", str(config.out / "best")]
    asked = ["--prompt=list tuple?", "--max-new-tokens=8", "--greedy"]
    assert main(["generate", *model, *asked]) == 0
    before = capsys.readouterr().out
    assert main(["generate", *model, *adapter, *asked]) == 0
    after = capsys.readouterr().out
    assert after != before
    merged = tmp_path / "merged"
    merged.mkdir()  # a folder that is there and empty will do
    assert main(["merge", *model, *adapter, "--out", str(merged)]) == 0
    capsys.readouterr()
    assert main(["generate", "--model", str(merged), *asked]) == 0
    assert capsys.readouterr().out == after
    assert {path.name for path in merged.iterdir()} == {path.name for path in config.model.iterdir()}
    ids = np.arange(20)[None]
    expected = load_adapter(Llama.from_pretrained(config.model), config.out / "best").eval()(ids).detach().numpy()
    np.testing.assert_allclose(Llama.from_pretrained(merged)(ids).detach().numpy(), expected, atol=1e-4)
    assert main(["merge", *model, *adapter, "--out", str(merged)]) == 2
    assert "exists: give a new or an empty folder" in capsys.readouterr().err
    assert main(["merge", *model, *adapter, "--out", str(merged / "config.json")]) == 2
    assert "config.json exists: give a new or an empty folder" in capsys.readouterr().err
    assert main(["merge", *model, "--adapter", str(tmp_path), "--out", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.oracle("torch", "transformers", "peft")
def test_peft_reads_the_adapter_and_transformers_the_merged_model(make: Make, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    config = make(dora=True, targets=("q_proj", "down_proj"))
    train(config)
    ids = np.arange(20)[None]
    ours = load_adapter(Llama.from_pretrained(config.model), config.out / "last").eval()(ids).detach().numpy()
    base = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    with torch.no_grad():
        theirs = PeftModel.from_pretrained(base, config.out / "last").eval()(torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    arguments = ["--model", str(config.model), "--adapter", str(config.out / "last")]
    assert main(["merge", *arguments, "--out", str(tmp_path / "merged")]) == 0
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_the_defaults() -> None:
    config = TuneConfig()
    assert config.data == parrot.NAME
    assert config.lora_config() == LoraConfig(
        r=16, lora_alpha=32.0, target_modules="all-linear", base_model_name_or_path=str(config.model)
    )
    tokenizer = Tokenizer.from_pretrained(config.model)
    data = load_data(parrot.default_data(), tokenizer, 256)
    assert data.warnings == [] and not data.chat
    assert TuneConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
