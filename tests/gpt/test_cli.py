from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gpt.__main__ import main
from gpt.config import TrainConfig
from gpt.presets import PRESETS
from gpt.stage_table import StagesConfig, _table
from tinytorch.training.corpora import SHAKESPEARE
from tinytorch.training.trainer import Result

TINY = ["--block-size=8", "--n-layer=1", "--n-head=2", "--n-embd=8", "--batch-size=2", "--eval-iters=1"]


def test_presets_write_to_folders_of_their_own() -> None:
    assert [str(config.out) for config in PRESETS.values()] == [f"runs/{name}" for name in PRESETS]
    assert PRESETS["nano-cpu"] == TrainConfig()
    assert PRESETS["nano-cpu"].data == "pydoc"


@pytest.fixture
def trained(tmp_path: Path, text_file: Path) -> Path:
    out = tmp_path / "trained"
    assert main(["train", "--data", str(text_file), "--out", str(out), "--max-iters=3", *TINY]) == 0
    return out


def test_train_then_resume_then_sample(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "--out", str(trained), "--max-iters=5"]) == 0  # the rest from the checkpoint
    values = json.loads((trained / "last.json").read_text())
    assert values["iteration"] == 5
    assert values["config"]["model"]["n_embd"] == 8
    capsys.readouterr()
    command = ["sample", "--out", str(trained), "--prompt", "The ", "--max-new-tokens=20", "--top-k=5"]
    texts = []
    for seed in ("1", "1", "2"):
        assert main([*command, "--seed", seed]) == 0
        texts.append(capsys.readouterr().out)
    assert re.fullmatch(r"The (.|\n){20}\n", texts[0])
    assert texts[0] == texts[1] != texts[2]


def test_a_finished_run_says_so_when_it_is_resumed(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["train", "--resume", "--out", str(trained)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "is finished" in line]
    assert line.startswith(f"{trained} is finished: all 3 iterations are done; for more, ")
    more = shlex.split(line.partition("for more, ")[2])
    assert main(["train", *more]) == 0
    shown = capsys.readouterr().out
    assert "resuming at iteration 3" in shown
    assert "is finished" not in shown
    assert json.loads((trained / "last.json").read_text())["iteration"] == 6


def test_commands_and_paths_are_on_one_line(
    tmp_path: Path, text_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However narrow the terminal is: whoever copies a command copies all of it."""
    monkeypatch.setenv("COLUMNS", "30")
    out = tmp_path / ("a long name of a folder " * 4).strip()
    settings = ["--data", str(text_file), "--max-iters=1", *TINY]
    assert main(["train", "--out", str(out), *settings]) == 0
    assert main(["train", "--out", str(out), "--resume"]) == 0
    lines = capsys.readouterr().out.splitlines()
    folder = shlex.quote(str(out))
    assert sum(f"writing to {out}" in line for line in lines) == 2
    assert sum(line.endswith(f"python -m gpt sample --out {folder}") for line in lines) == 2
    assert sum(line.endswith(f"--resume --out {folder} --max-iters 2") for line in lines) == 1


def test_a_sample_without_prompt(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["sample", "--out", str(trained), "--checkpoint=last", "--max-new-tokens=7", "--greedy"]) == 0
    assert len(capsys.readouterr().out) == 8


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command prints on its way out with code 2."""
    capsys.readouterr()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"error: .+\n", captured.err)
    return captured.err


def test_errors_before_training(tmp_path: Path, text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    base = ["train", "--data", str(text_file), "--out", str(out)]
    assert "did you mean nano-cpu?" in fails(["train", "--preset=nano-cpo"], capsys)
    assert "choose one of nano-cpu, demo, nano-gpu, bigram" in fails(["train", "--preset=zzz"], capsys)
    assert "no file" in fails(["train", "--data", str(tmp_path / "missing"), "--out", str(out)], capsys)
    assert "no checkpoint" in fails(["train", "--resume", "--out", str(out)], capsys)
    assert "n_embd (10) is not a multiple" in fails([*base, "--n-embd=10"], capsys)
    assert "dropout is 1.0" in fails([*base, "--dropout=1"], capsys)
    assert "batch_size is 0" in fails([*base, "--batch-size=0"], capsys)
    assert "min_lr (0.1) is above" in fails([*base, "--min-lr=0.1"], capsys)
    too_long = fails([*base, "--block-size=200"], capsys)
    assert f"{text_file} (last 10%, to validate): " in too_long
    assert " tokens are too few for windows of 200" in too_long
    too_long = fails([*base, "--block-size=100000"], capsys)
    assert f"{text_file} (first 90%, to train on): " in too_long
    assert str(text_file) in fails(["train", "--data", str(text_file), "--out", str(text_file / "x"), *TINY], capsys)
    assert not out.exists()


def test_errors_about_runs(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(trained)]
    assert "already holds a run" in fails(["train", *out], capsys)
    assert "--n-layer 1, not 2" in fails(["train", "--resume", *out, "--n-layer=2"], capsys)
    assert "'Ω' (U+03A9" in fails(["sample", *out, "--prompt=Ω"], capsys)
    assert "temperature is 0.0" in fails(["sample", *out, "--temperature=0"], capsys)
    assert "top_k is -1" in fails(["sample", *out, "--top-k=-1"], capsys)
    assert "max_new_tokens is -1" in fails(["sample", *out, "--max-new-tokens=-1"], capsys)
    assert "no checkpoint" in fails(["sample", "--out", str(trained / "nothing")], capsys)
    (trained / "best.json").write_text("{")
    assert "best.json is damaged" in fails(["sample", *out], capsys)
    values = json.loads((trained / "last.json").read_text())
    del values["config"]["model"]
    (trained / "last.json").write_text(json.dumps(values))
    assert "cannot be read" in fails(["train", "--resume", *out], capsys)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": 3}, "best.json: a vocabulary is a string, not of type int"),
        ({"vocabulary": "abc"}, "but its vocabulary has another size"),
        ({"vocabulary": None}, "a vocabulary is a string"),
        ({"model": {"n_layer": 10**7}}, "of another size than its weights"),
        ({"model": {"n_embd": 10**6}}, "of another size than its weights"),
        ({"model": {"n_layer": 2}}, "best.json"),
        ({"architecture": "fly"}, "best.json"),
    ],
)
def test_checkpoints_that_say_something_else(
    changes: dict[str, Any], message: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained / "best.json"
    values = json.loads(path.read_text())
    for name, value in changes.items():
        place = values if name in values else values["config"]
        place[name] = {**place[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(values))
    assert message in fails(["sample", "--out", str(trained)], capsys)


@pytest.mark.parametrize(
    "changes", [{"iteration": "x"}, {"iteration": -1}, {"seconds": None}, {"param_groups": 3}, {"best_val_loss": []}]
)
def test_runs_that_say_something_else(
    changes: dict[str, Any], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained / "last.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert "last.json" in fails(["train", "--resume", "--out", str(trained)], capsys)


def test_other_errors(tmp_path: Path, text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "at least two" in fails(["examples", "x"], capsys)
    assert "block_size is 0" in fails(["examples", "xy", "--block-size=0"], capsys)
    assert "no stage is called 'gpt'" in fails(["stages", "--stages", "gpt"], capsys)
    assert "names no stage" in fails(["stages", "--stages"], capsys)


@pytest.mark.parametrize("arguments", [["train", "--no-such-option"], ["train", "--preset"], ["fly"]])
def test_unknown_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


@pytest.mark.parametrize("command", [[], ["train"], ["sample"], ["attend"], ["stages"], ["examples"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert "python -m gpt" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "…" not in shown


def test_help_shows_the_presets_values(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--preset", "nano-gpu", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "(default: 384)" in shown
    assert "(default: runs/nano-gpu)" in shown


def test_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples", "Your name is GPT-3", "--batch-size=2", "--block-size=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "vocabulary: 16 characters ' -3GPTYaeimnorsu'",
        "sequence: 18 characters, 17 examples",
        "  [6] -> 12   'Y' -> 'o'",
    ]
    assert lines[5] == "  [6, 12, 15, 13] -> 0   'Your' -> ' '"
    assert lines[18].endswith("'Your name is GPT-' -> '3'")
    assert lines[19] == "batch: inputs and targets of shape (2, 3), 6 examples"
    assert len(lines) == 20 + 2 * (1 + 3)
    for row in (lines[20:24], lines[24:28]):
        window = row[0].split("'")[1]
        contexts = [line.split("'")[1] for line in row[1:]]
        assert contexts == [window[:1], window[:2], window[:3]]
        assert window + row[3].split("'")[3] in "Your name is GPT-3"


def test_stages(
    tmp_path: Path, text_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bigram", "blocks"):
        monkeypatch.setitem(PRESETS, name, dataclasses.replace(PRESETS[name], eval_iters=2))
    command = ["stages", "--data", str(text_file), "--out", str(tmp_path / "stages"), "--max-iters=2"]
    command += ["--stages", "bigram", "blocks"]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert re.search(r"bigram .* 961 ", table)  # 31 x 31
    assert "loss expected" not in table  # those figures are for another text
    assert "already holds runs" in fails(command, capsys)
    assert main([*command, "--resume"]) == 0
    assert "bigram is finished: all 2 iterations are done" in capsys.readouterr().out


def test_the_table_has_the_expected_losses_of_tiny_shakespeare(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    expected = {
        "bigram": "2.49", "one-head": "2.40", "four-heads": "2.28", "feed-forward": "2.27", "blocks": "2.08",
        "layer-norm": "2.06", "scaled": "1.48",
    }  # fmt: skip
    result = Result(parameters=7553, train_loss=2.1, val_loss=2.2, seconds=3.0, interrupted=False)
    Console(width=100).print(_table({name: result for name in expected}, is_shakespeare=True))
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"stage .*parameters .*loss reached .*loss expected .*time", lines[1])
    for line, (name, loss) in zip(lines[3:-1], expected.items(), strict=True):
        assert re.search(rf"{name} .*7,553 .*2\.200 .*{loss} .*3 s", line)


def test_all_stages_but_the_large_one_are_trained_unless_others_are_named() -> None:
    assert StagesConfig().stages == ("bigram", "one-head", "four-heads", "feed-forward", "blocks", "layer-norm")


def test_the_expected_losses_are_shown_for_tiny_shakespeare_alone(
    tmp_path: Path, text_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "bigram", dataclasses.replace(PRESETS["bigram"], eval_iters=1))
    text = text_file.read_text()
    for number, of in enumerate((text, text + " ")):
        known = dataclasses.replace(SHAKESPEARE, sha256=hashlib.sha256(of.encode()).hexdigest())
        monkeypatch.setattr("gpt.stage_table.SHAKESPEARE", known)
        command = ["stages", "--data", str(text_file), "--out", str(tmp_path / str(number)), "--max-iters=1"]
        assert main([*command, "--stages", "bigram"]) == 0
        assert ("loss expected" in capsys.readouterr().out) == (of == text)


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_and_its_like_save_and_exit(
    tmp_path: Path, text_file: Path, capsys: pytest.CaptureFixture[str], sent: str
) -> None:
    out = tmp_path / "my run's"
    command = [sys.executable, "-m", "gpt", "train", "--data", str(text_file), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--max-iters=1000000", "--eval-interval=1000000", *TINY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "COLUMNS": "120"},
        preexec_fn=lambda: signal.signal(getattr(signal, sent), signal.SIG_DFL),  # nohup has it ignored
    )
    try:
        for _ in range(1200):
            if (out / "metrics.jsonl").exists() and (out / "metrics.jsonl").read_text().count("\n") > 20:
                break
            time.sleep(0.1)
        second = ["train", "--data", str(text_file), "--out", str(out)]
        assert f"process {process.pid} on " in fails(second, capsys)
        process.send_signal(getattr(signal, sent))
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    iteration = json.loads((out / "last.json").read_text())["iteration"]
    assert iteration > 0
    assert f"stopped at iteration {iteration}; continue with --resume --out {shlex.quote(str(out))}\n" in stdout
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    assert main(["train", "--resume", "--out", str(out), f"--max-iters={iteration + 2}"]) == 0
    assert f"resuming at iteration {iteration}" in capsys.readouterr().out


def test_a_run_goes_on_when_its_output_is_cut_off(tmp_path: Path, text_file: Path) -> None:
    """As `train | head -1` does."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "gpt", "train", "--data", str(text_file), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--max-iters=30", "--eval-interval=5", *TINY], stdout=-1, stderr=-1, cwd=Path(__file__).parents[2]
    )
    process.stdout.readline()
    process.stdout.close()
    stderr = process.stderr.read()
    assert (process.wait(timeout=60), stderr) == (0, b"")
    assert json.loads((out / "last.json").read_text())["iteration"] == 30
