"""The settings of every command: what they are where nothing is given, and the first and last values that they take."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from lora import LoraConfig
from lora.commands.evaluate import EvalConfig
from lora.commands.generate import GenerateConfig
from lora.commands.info import InfoConfig
from lora.commands.pretrain import PretrainConfig
from lora.commands.qlora import QLoraConfig
from lora.commands.quantize import QuantizeConfig
from lora.commands.ranks import RanksConfig
from lora.commands.synthesize import SynthesizeConfig
from lora.commands.tune_config import TuneConfig
from lora.model.default_model import default_model
from tinytorch.cli.errors import UserError
from tinytorch.generation.sampling import Sampling

MODEL, PARROT = {"model": default_model()}, {"data": "parrot"}
SAMPLING = {
    "temperature": None, "top_k": None, "top_p": None, "min_p": None, "repetition_penalty": None, "greedy": False,
}  # fmt: skip
DEFAULTS: dict[type[Any], dict[str, Any]] = {
    TuneConfig: {
        **MODEL, **PARROT, "out": Path("runs/lora"), "resume": False, "seed": 1337, "batch_size": 16, "grad_accum": 1,
        "max_iters": 300, "learning_rate": 2e-4, "min_lr": 2e-5, "warmup_iters": 20, "beta1": 0.9, "beta2": 0.999,
        "weight_decay": 0.0, "grad_clip": 1.0, "eval_interval": 50, "save_every": 0, "eval_iters": 40,
        "eval_share": 0.1, "val_data": "", "rank": 16, "alpha": 32.0,
        "dropout": 0.0, "targets": ("all-linear",), "dora": False, "rslora": False, "max_tokens": 512,
        "packing": False, "checkpointing": False, "precision": "highest",
    },
    GenerateConfig: {
        **MODEL, "adapter": None, "tokenizer": None, "prompt": "", "raw": False, "system": "", "chat": False,
        "max_new_tokens": 200, "stop": (), "sampling": SAMPLING, "seed": 1337, "stats": False,
    },
    QLoraConfig: {
        **MODEL, **PARROT, "out": Path("runs/qlora"), "resume": False, "rank": 16, "max_iters": 200,
        "learning_rate": None, "batch_size": 16,
        "seed": 1337,
    },
    RanksConfig: {
        **MODEL, **PARROT, "out": Path("runs/ranks"), "resume": False, "ranks": (1, 2, 4, 8, 16, 32, 64),
        "max_iters": 300, "learning_rate": None, "full_learning_rate": None, "batch_size": 16, "seed": 1337,
    },
    EvalConfig: {
        **MODEL, **PARROT, "adapter": None, "part": "validation", "seed": None, "max_tokens": 512,
        "batch_size": 16,
    },
    InfoConfig: {
        **MODEL, "adapter": None,
        "training": {
            "rank": 16, "targets": ("all-linear",), "dora": False, "checkpointing": False, "batch_size": 16,
            "max_tokens": 512,
        },
    },
    SynthesizeConfig: {
        "like": "llama-3.2-1b", "dtype": "bf16", "out": None, "seed": 1337, "max_shard_size": "5GB",
    },
    LoraConfig: {  # PEFT's
        "r": 8, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": None, "exclude_modules": None,
        "layers_to_transform": None, "layers_pattern": None, "rank_pattern": {}, "alpha_pattern": {},
        "use_rslora": False, "use_dora": False, "bias": "none", "init_lora_weights": True, "inference_mode": False,
        "task_type": "CAUSAL_LM", "base_model_name_or_path": None, "revision": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("config", DEFAULTS, ids=lambda config: config.__name__)
def test_defaults(config: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no run is
    assert dataclasses.asdict(config()) == DEFAULTS[config]


def test_the_defaults_of_pretraining_made_the_model_that_ships() -> None:
    made = json.loads((default_model() / "training.json").read_text())["settings"]
    config = PretrainConfig()
    assert {name: getattr(config, name) for name in made} == made
    assert {**config.to_json(), **made} == config.to_json()
    assert (config.out, config.resume) == (Path("runs/tiny-llama"), False)


# name of a setting: (its class, values that are taken, values that are not, what is said of these)
LIMITS: list[tuple[Any, str, list[Any], list[Any], str]] = [
    (TuneConfig, "max_tokens", [2], [1], "it must be at least 2"),
    (TuneConfig, "eval_share", [0.01, 3.0], [0.0, -1.0], "it must be positive"),
    (TuneConfig, "targets", [("q_proj",)], [()], "targets names no layer"),
    (TuneConfig, "rank", [1], [0, -1], "a rank is an integer above 0"),
    (TuneConfig, "dropout", [0.0, 0.99], [-0.1, 1.0], "it must be at least 0 and below 1"),
    (TuneConfig, "batch_size", [1], [0], "it must be at least 1"),
    (PretrainConfig, "vocab_size", [262], [261], "bytes and special tokens take 262"),
    (PretrainConfig, "hidden_size", [132], [130], r"hidden_size \(130\) is not a multiple of heads \(4\)"),
    *((PretrainConfig, name, [1], [0], f"{name} is 0: it must be at least 1") for name in ("context", "layers")),
    *((PretrainConfig, name, [1], [0], f"{name} is 0: it must be at least 1") for name in ("heads", "kv_heads")),
    (PretrainConfig, "intermediate_size", [1], [0], "intermediate_size is 0: it must be at least 1"),
    (GenerateConfig, "max_new_tokens", [0], [-1], "it must not be negative"),
    (RanksConfig, "ranks", [(1,), (4, 1)], [(), (0,), (2, -1)], "give some, all above 0"),
    (SynthesizeConfig, "seed", [0], [-1], "it must not be negative"),
    (SynthesizeConfig, "max_shard_size", ["1", "0.001 KB"], ["0", "0.4", "0GB"], "it must be positive"),
    (SynthesizeConfig, "max_shard_size", ["5gib"], ["5TB", "-1", "GB", "1e3"], "give bytes or a size"),
    (EvalConfig, "max_tokens", [2], [1], "max_tokens is 1"),
    (EvalConfig, "batch_size", [1], [0], "batch_size is 0"),
    (Sampling, "temperature", [0.01], [0.0, -1.0, math.nan], r"must be positive \(--greedy is its limit at 0\)"),
    (Sampling, "top_k", [1, 0, None], [-1], "must be at least 0"),
    (Sampling, "top_p", [1.0, 0.01, None], [0.0, 1.01], r"must be in \(0, 1\]"),
    (Sampling, "min_p", [0.0, 1.0, None], [-0.01, 1.01], r"must be in \[0, 1\]"),
    (Sampling, "repetition_penalty", [0.01], [0.0], "must be positive"),
]


@pytest.mark.parametrize(("config", "name", "taken", "refused", "rule"), LIMITS)
def test_limits(
    config: Any, name: str, taken: list[Any], refused: list[Any], rule: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for value in taken:
        assert getattr(config(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(UserError, match=rule):
            config(**{name: value})


def test_what_is_derived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert SynthesizeConfig().folder == Path("runs/llama-3.2-1b-bf16")
    assert SynthesizeConfig(like="a/b", dtype="fp32").folder == Path("runs/b-fp32")
    assert SynthesizeConfig(out=Path("c")).folder == Path("c")
    assert QuantizeConfig(out=Path("c")) == QuantizeConfig(Path("c"), default_model(), "nf4", None)
    config = TuneConfig(model=Path("m"), rank=3, alpha=5.0, dropout=0.25, targets=("q", "v"), dora=True, rslora=True)
    assert config.lora_config() == LoraConfig(
        r=3, lora_alpha=5.0, lora_dropout=0.25, target_modules=["q", "v"], use_dora=True, use_rslora=True,
        base_model_name_or_path="m",
    )  # fmt: skip
    assert TuneConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert (LoraConfig().scaling(4, 6.0), LoraConfig(use_rslora=True).scaling(4, 6.0)) == (1.5, 3.0)


def test_the_runs_of_a_comparison(tmp_path: Path) -> None:
    """An alpha of twice the rank, a rate that falls to its tenth; each goes on where it left a checkpoint."""
    out = tmp_path / "ranks"
    config = RanksConfig(out=out, ranks=(2, 5), learning_rate=0.5, full_learning_rate=0.25, batch_size=3, max_iters=7)
    common = {"batch_size": 3, "max_iters": 7}
    assert config.runs() == {
        "2": TuneConfig(out=out / "rank-2", rank=2, alpha=4.0, learning_rate=0.5, min_lr=0.05, **common),
        "5": TuneConfig(out=out / "rank-5", rank=5, alpha=10.0, learning_rate=0.5, min_lr=0.05, **common),
        "all weights": TuneConfig(
            out=out / "all-weights", rank=1, alpha=2.0, learning_rate=0.25, min_lr=0.025, **common
        ),
    }
    (out / "rank-5").mkdir(parents=True)
    (out / "rank-5" / "last.json").write_text("{}")
    with pytest.raises(UserError, match="exists: continue with --resume, or give another --out"):
        RanksConfig(out=out)
    again = dataclasses.replace(config, resume=True)
    assert [run.resume for run in again.runs().values()] == [False, True, False]


def test_the_learning_rate_suits_the_model(tmp_path: Path) -> None:
    """One that teaches the small model that ships ruins a real one."""
    real = {"model": Path("m"), "out": tmp_path / "out"}
    ranks, qlora = RanksConfig(ranks=(2,), out=tmp_path / "out").runs(), QLoraConfig(out=tmp_path / "out")
    assert [run.learning_rate for run in ranks.values()] == [3e-3, 1e-3]
    assert [run.learning_rate for run in RanksConfig(ranks=(2,), **real).runs().values()] == [2e-4, 2e-4 / 3]
    assert [c.run("nf4").learning_rate for c in (qlora, QLoraConfig(**real))] == [5e-3, 2e-4]
    shipped = f"--model={default_model()}"
    for arguments, rate in (
        ([], 5e-3), (["--data=x"], 5e-3), ([shipped], 5e-3), (["--model", "m"], 2e-4), (["--model=m"], 2e-4),
        (["--model=m", "--learning-rate=1e-5"], 1e-5), (["--learning_rate", "1e-3"], 1e-3),
    ):  # fmt: skip
        config = TuneConfig.defaults(arguments)
        assert (config.learning_rate, config.min_lr) == (rate, rate / 10)
        assert (config.rank, config.alpha) == (16, 32.0)


def test_the_steps_suit_the_data(tmp_path: Path) -> None:
    """Five passes over the user's examples: twenty-seven teach a model of 135M parameters those by heart."""
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}", "completion": "x"}) + "\n" for i in range(200)))
    few = tmp_path / "few.jsonl"
    few.write_text(json.dumps({"prompt": "a", "completion": "b"}))
    for arguments, steps, warmup in (
        ([], 300, 20), ([f"--data={path}"], 63, 12),
        (["--data", str(path), "--batch-size=4", "--grad-accum=2"], 125, 20),
        ([f"--data={path}", "--max-iters=7"], 7, 1), ([f"--data={few}"], 20, 4), (["--data=absent.jsonl"], 300, 20),
        (["--data=x.txt"], 300, 20),
    ):  # fmt: skip
        config = TuneConfig.defaults(arguments)
        assert (config.max_iters, config.warmup_iters) == (steps, warmup), arguments


def test_the_runs_beside_each_base(tmp_path: Path) -> None:
    out = tmp_path / "qlora"
    config = QLoraConfig(model=Path("m"), out=out, rank=3, batch_size=5, max_iters=7, seed=2)
    common: dict[str, Any] = {"rank": 3, "alpha": 6.0, "batch_size": 5, "max_iters": 7, "seed": 2}
    common |= {"learning_rate": 2e-4, "min_lr": 2e-5}
    assert config.run("as stored") == TuneConfig(model=Path("m"), out=out / "beside-as-stored", **common)
    assert config.run("nf4") == TuneConfig(model=out / "nf4", out=out / "beside-nf4", **common)
    (out / "beside-nf4").mkdir(parents=True)
    (out / "beside-nf4" / "last.json").write_text("{}")
    with pytest.raises(UserError, match="exists: continue with --resume, or give another --out"):
        QLoraConfig(out=out)
    again = dataclasses.replace(config, resume=True)
    assert [again.run(name).resume for name in ("as stored", "int8", "nf4")] == [False, False, True]
