from __future__ import annotations

import dataclasses
import json
import math
import platform
import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gpt.config import TrainConfig
from gpt.run import Run, load_model
from tinytorch.cli.errors import UserError
from tinytorch.optim.lr_scheduler import warmup_cosine
from tinytorch.training import checkpoint, metrics, trainer
from tinytorch.training.metrics import Step
from tinytorch.training.resuming import settings_to_change
from tinytorch.training.stopping import StopSignal
from tinytorch.training.trainer import Result

MakeConfig = Callable[..., TrainConfig]


def train(config: TrainConfig) -> Result:
    return trainer.train(Run.open(config), Console(quiet=True))


def tensors_of(config: TrainConfig) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in checkpoint.load(config.out, "last")[0].items()}


def losses_of(config: TrainConfig) -> list[dict[str, Any]]:
    records = metrics.read(config.out / "metrics.jsonl")
    return [{key: value for key, value in record.items() if key != "tokens_per_s"} for record in records]


def interrupt_at(monkeypatch: pytest.MonkeyPatch, iteration: int) -> None:
    """Press Ctrl-C in the middle of that step."""
    whole_step = trainer.training_step

    def step(run: Run) -> Step:
        if run.iteration == iteration:
            signal.raise_signal(signal.SIGINT)
        return whole_step(run)

    monkeypatch.setattr(trainer, "training_step", step)


def test_a_run_learns_and_leaves_what_it_says(tiny_config: MakeConfig) -> None:
    config = tiny_config(max_iters=60, eval_interval=20, learning_rate=1e-2, min_lr=1e-3)
    result = train(config)
    assert not result.interrupted
    assert {path.suffix for path in config.out.iterdir()} == {".json", ".safetensors", ".jsonl", ".png"}
    assert (config.out / "loss.png").read_bytes().startswith(b"\x89PNG")
    records = losses_of(config)
    evaluations = [record for record in records if "val_loss" in record]
    assert [record["iter"] for record in evaluations] == [0, 20, 40, 60]
    assert evaluations[0]["val_loss"] == pytest.approx(math.log(31), abs=0.2)
    assert result.val_loss == evaluations[-1]["val_loss"] < 2.9
    assert [record["iter"] for record in records if "loss" in record] == list(range(60))
    best = json.loads((config.out / "best.json").read_text())
    assert best["best_val_loss"] == min(record["val_loss"] for record in evaluations)
    model, tokenizer = load_model(config.out, "best")
    assert tokenizer.vocab_size == model.config.vocab_size == 31
    assert not model.training


@pytest.mark.parametrize("architecture", ["gpt", "layer-norm"])
@pytest.mark.parametrize("stop", [3, 4])
def test_a_resumed_run_has_the_same_bits(
    tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, architecture: str, stop: int
) -> None:
    whole, cut = (tiny_config(name, architecture=architecture, grad_accum=2) for name in ("whole", "cut"))
    train(whole)
    with monkeypatch.context() as patch:
        interrupt_at(patch, stop)
        assert train(cut).interrupted
    assert checkpoint.load(cut.out, "last")[1]["iteration"] == stop + 1
    assert tensors_of(cut) != tensors_of(whole)
    assert not train(dataclasses.replace(cut, resume=True)).interrupted
    assert tensors_of(cut) == tensors_of(whole)
    assert losses_of(cut) == losses_of(whole)


def test_resuming_from_before_the_last_metrics_forgets_them(
    tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = tiny_config("whole"), tiny_config("killed")
    train(whole)

    def die(*arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        whole_step = trainer.training_step
        patch.setattr(trainer, "training_step", lambda run: whole_step(run) if run.iteration < 5 else die())
        with pytest.raises(MemoryError):
            train(killed)
    with open(killed.out / "metrics.jsonl", "a") as file:
        file.write('{"iter": 5, "lo')
    assert checkpoint.load(killed.out, "last")[1]["iteration"] == 3
    train(dataclasses.replace(killed, resume=True))
    assert losses_of(killed) == losses_of(whole)
    assert tensors_of(killed) == tensors_of(whole)


def test_what_a_crash_costs_is_what_save_every_says(tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = tiny_config("whole"), tiny_config("killed", save_every=2, eval_interval=7)
    train(dataclasses.replace(whole, eval_interval=7))
    saved: list[tuple[str, int]] = []
    whole_step, save = trainer.training_step, Run.save

    def step(run: Run) -> Step:
        if run.iteration == 5:
            raise MemoryError
        return whole_step(run)

    def counted(run: Run, name: str) -> None:
        saved.append((name, run.iteration))
        save(run, name)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "training_step", step)
        patch.setattr(Run, "save", counted)
        with pytest.raises(MemoryError):
            train(killed)
    assert saved == [("best", 0), ("last", 0), ("last", 2), ("last", 4)]
    assert checkpoint.load(killed.out, "last")[1]["iteration"] == 4
    train(dataclasses.replace(killed, resume=True))
    assert tensors_of(killed) == tensors_of(whole)
    assert losses_of(killed) == losses_of(whole)


def test_resuming_a_finished_run_repeats_its_result(tiny_config: MakeConfig) -> None:
    config = tiny_config()
    first = train(config)
    before = tensors_of(config)
    again = train(dataclasses.replace(config, resume=True))
    assert (again.train_loss, again.val_loss) == (first.train_loss, first.val_loss)
    assert tensors_of(config) == before


def test_accumulated_gradients_are_those_of_the_mean_loss(tiny_config: MakeConfig) -> None:
    config = tiny_config(grad_accum=3, grad_clip=0.0, model={"dropout": 0.0})
    run, twin = Run(config), Run(config)
    loss, norm, _, _ = trainer.training_step(run)
    total = 0.0
    for _ in range(3):
        total = total + twin.model(*next(twin.data.batches))[1] / 3
    total.backward()
    assert loss == pytest.approx(total.item(), rel=1e-6)
    squares = 0.0
    for parameter, expected in zip(run.model.parameters(), twin.model.parameters(), strict=True):
        np.testing.assert_allclose(parameter.grad.numpy(), expected.grad.numpy(), rtol=1e-4, atol=1e-7)
        squares += float((expected.grad.numpy().astype(np.float64) ** 2).sum())
    assert norm == pytest.approx(math.sqrt(squares), rel=1e-4)


def test_clipping_bounds_the_gradient(tiny_config: MakeConfig) -> None:
    run = Run(tiny_config(grad_clip=0.01))
    _, norm, _, _ = trainer.training_step(run)
    clipped = math.sqrt(sum(float((p.grad.numpy() ** 2).sum()) for p in run.model.parameters()))
    assert norm > 0.1
    assert clipped == pytest.approx(0.01, rel=1e-3)


def test_only_matrices_decay(tiny_config: MakeConfig) -> None:
    decayed, plain = Run(tiny_config(model={"bias": True})).optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert {p.dim() for p in decayed["params"]} == {2}
    assert {p.dim() for p in plain["params"]} == {1}


def test_evaluation_leaves_the_run_alone(tiny_config: MakeConfig) -> None:
    run = Run(tiny_config())
    with StopSignal() as stop:
        first, again = (trainer.evaluate(run, "val", stop) for _ in range(2))
    assert first == again
    assert run.model.training
    inputs, _ = next(run.data.batches)
    assert np.array_equal(inputs.numpy(), next(Run(run.config).data.batches)[0].numpy())


def test_the_rates_are_those_of_the_schedule(tiny_config: MakeConfig) -> None:
    config = tiny_config(learning_rate=1e-3, min_lr=1e-4, warmup_iters=2, max_iters=6)
    train(config)
    rates = [record["lr"] for record in losses_of(config) if "lr" in record]
    assert rates == [warmup_cosine(step, 2, 6, 1e-3, 1e-4) for step in range(6)]


def test_a_diverging_run_says_so_and_keeps_its_checkpoint(
    tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    whole_step = trainer.training_step

    def diverging(run: Run) -> Step:
        return whole_step(run)._replace(loss=math.nan if run.iteration == 4 else 1.0)

    monkeypatch.setattr(trainer, "training_step", diverging)
    with pytest.raises(UserError, match="the loss is nan at iteration 4: lower --learning-rate"):
        train(config)
    assert checkpoint.load(config.out, "last")[1]["iteration"] == 3


def test_a_run_that_evaluates_to_nan_does_not_save_it(tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config()
    whole = trainer.evaluate
    monkeypatch.setattr(trainer, "evaluate", lambda run, *rest: math.inf if run.iteration == 6 else whole(run, *rest))
    with pytest.raises(UserError, match="the loss is inf at iteration 6"):
        train(config)
    assert checkpoint.load(config.out, "last")[1]["iteration"] == 3


def test_damaged_metrics_are_an_error_on_one_line(tiny_config: MakeConfig) -> None:
    config = tiny_config()
    train(config)
    (config.out / "metrics.jsonl").write_text('{"iter": 0}\n{"iter"\n{"iter": 1}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        train(dataclasses.replace(config, resume=True))


@pytest.mark.parametrize("line", [b"\xff", b"[]", b'"iter"', b"{}", b'{"iter": "0"}', b"[" * 100_000])
def test_whatever_metrics_hold_it_is_one_line(tiny_config: MakeConfig, line: bytes) -> None:
    config = tiny_config()
    train(config)
    (config.out / "metrics.jsonl").write_bytes(b'{"iter": 0}\n' + line + b"\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged \(line 2: [^\n]*\): repair it"):
        train(dataclasses.replace(config, resume=True))


@pytest.mark.parametrize(
    "change",
    [
        *({key: None} for key in ("iteration", "seconds", "text_sha256", "param_groups", "config", "tensors")),
        {"iteration": "5"},
        {"best_val_loss": "x"},
        {"param_groups": [5]},
        {"param_groups": []},
        {"config": []},
        {"config": {"model": 5}},
        {"config": {"batch_size": "x"}},
        {"config": {"data": 5}},
        {"config": {"eval_interval": 2.5}},
        {"config": {"model": {"n_layer": None}}},
    ],
)
def test_whatever_last_json_holds_it_is_one_line(tiny_config: MakeConfig, change: dict[str, Any]) -> None:
    config = tiny_config()
    train(config)
    path = config.out / "last.json"
    values = json.loads(path.read_text())
    stored = values["config"]
    values |= change
    if isinstance(values["config"], dict):
        values["config"] = {**stored, **values["config"]}
        if isinstance(values["config"]["model"], dict):
            values["config"]["model"] = {**stored["model"], **values["config"]["model"]}
    path.write_text(json.dumps(values))
    with pytest.raises(UserError) as caught:
        settings = settings_to_change(["--resume", "--out", str(config.out)], TrainConfig())
        train(settings)
    assert "\n" not in str(caught.value) and str(config.out) in str(caught.value)


@pytest.mark.parametrize("change", ["other", "missing"])
def test_weights_of_another_model_are_refused(tiny_config: MakeConfig, change: str) -> None:
    config, name = tiny_config(), "model.transformer.ln_f.weight"
    train(config)
    tensors, values = checkpoint.load(config.out, "last")
    if change == "other":
        tensors[name] = tensors[name][:1]  # which would broadcast
    else:
        del tensors[name]
    checkpoint.save(config.out, "last", tensors, {k: v for k, v in values.items() if k not in ("tensors", "sha256")})
    with pytest.raises(UserError, match=r"last\.json.*transformer\.ln_f\.weight[^\n]*restore it"):
        train(dataclasses.replace(config, resume=True))


def test_ctrl_c_before_the_first_evaluation(tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = tiny_config("whole"), tiny_config("cut")
    train(whole)
    evaluate = trainer.evaluate

    def interrupted(run: Run, split: str, stop: StopSignal) -> float:
        if not stop.requested:
            signal.raise_signal(signal.SIGINT)
        return evaluate(run, split, stop)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "evaluate", interrupted)
        result = train(cut)
    assert result.interrupted
    assert math.isnan(result.val_loss)
    train(dataclasses.replace(cut, resume=True))
    assert tensors_of(cut) == tensors_of(whole)
    assert losses_of(cut) == losses_of(whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resume": False}, "already holds a run: --resume continues it"),
        ({"seed": 2}, "was trained with --seed 1337, not 2"),
        ({"model": {"n_layer": 1}}, "was trained with --n-layer 2, not 1"),
        ({"data": "pydoc"}, "was trained on a text other than pydoc"),
        ({"max_iters": 8}, "is at iteration 9: give a --max-iters of at least that"),
    ],
)
def test_what_a_run_cannot_change(tiny_config: MakeConfig, changes: dict[str, Any], message: str) -> None:
    config = tiny_config()
    train(config)
    before = sorted((path.name, path.read_bytes()) for path in config.out.iterdir())
    with pytest.raises(UserError, match=message):
        train(tiny_config(**{"resume": True, **changes}))
    assert sorted((path.name, path.read_bytes()) for path in config.out.iterdir()) == before


@pytest.mark.parametrize("name", ["pydoc", "pydoc-prose"])
def test_the_text_that_ships_with_python_may_be_another_versions(
    tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    texts = [Path(tiny_config().data).read_text() + end for end in ("", "!")]
    monkeypatch.setattr("gpt.run.load_text", lambda name: texts[0])
    config = tiny_config(data=name)
    train(config)
    texts.reverse()
    with pytest.raises(UserError, match=f"was trained on a text other than {name}"):
        train(dataclasses.replace(config, resume=True))
    then = ".".join(platform.python_version_tuple()[:2])
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "99", "0"))
    with pytest.raises(UserError, match=rf"{name} of Python {then}, which differs from that of Python 3\.99: resume"):
        train(dataclasses.replace(config, resume=True))


def test_a_command_to_copy_is_quoted(tiny_config: MakeConfig) -> None:
    config = tiny_config("it's my $run")
    [command] = re.findall("let it write: (.*)", Run(config).next_command())
    assert shlex.split(command) == ["python", "-m", "gpt", "sample", "--out", str(config.out)]


def test_a_text_too_short_writes_nothing(tiny_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("too short a text" * 5)
    with pytest.raises(UserError, match="too few"):
        train(tiny_config(data=str(tmp_path / "short.txt")))
    assert not tiny_config().out.exists()
