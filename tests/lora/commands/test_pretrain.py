from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from lora.__main__ import main
from lora.commands.pretrain import PretrainConfig, PretrainRun
from lora.model.llama import Llama
from lora.text.bpe import SPECIAL, train_bpe
from lora.text.tokenizer import Tokenizer
from tinytorch.cli.errors import UserError
from tinytorch.training import checkpoint, metrics, trainer
from tinytorch.training.corpora import load_documents, load_text
from tinytorch.training.metrics import Step

TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind.\n" * 40
TINY = ["--vocab-size=300", "--context=8", "--hidden-size=16", "--intermediate-size=24", "--layers=2", "--heads=2"]
TINY += ["--kv-heads=1", "--batch-size=4", "--eval-iters=2", "--eval-interval=5", "--warmup-iters=2"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "text.txt").write_text(TEXT)
    return ["pretrain", "--data", str(tmp_path / "text.txt"), *TINY]


def test_a_run_leaves_a_checkpoint_that_the_other_commands_read(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    options = ["--max-iters=60", "--learning-rate=0.03", "--min-lr=0.003"]
    assert main([*command, "--out", str(out), *options]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"Llama of [\d,]+ parameters; .*text\.txt: [\d,]+ tokens, \d+ different", shown)
    evaluations = [record for record in metrics.read(out / "metrics.jsonl") if "val_loss" in record]
    losses = [record["val_loss"] for record in evaluations]
    assert losses[0] == pytest.approx(math.log(300), abs=0.3)
    assert losses[-1] < 1.0
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    how = json.loads((out / "model" / "training.json").read_text())
    assert how["text_sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert how["validation_loss"] == min(losses)
    assert how["settings"]["hidden_size"] == 16
    model, tokenizer = Llama.from_pretrained(out / "model"), Tokenizer.from_pretrained(out / "model")
    assert json.loads((out / "model" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.has_chat_template) == (0, (1, 4), True)
    best = checkpoint.load(out, "best")[0]
    embedding = model.model.embed_tokens.weight.detach().numpy()
    np.testing.assert_allclose(embedding, best["model.model.embed_tokens.weight"], rtol=2**-8)  # bfloat16's half step
    asked = ["--prompt=The quick", "--max-new-tokens=6", "--greedy"]
    assert main(["generate", "--model", str(out / "model"), *asked]) == 0
    assert capsys.readouterr().out.startswith("The quick brown fox")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_command_gives_the_same_files(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for out, more in [(first, []), (other, ["--seed=2"])]:
        assert main([*command, "--out", str(out), "--max-iters=10", *more]) == 0
    step = trainer.training_step

    def interrupted_step(run: PretrainRun) -> Step:
        if run.iteration == 3:
            signal.raise_signal(signal.SIGINT)
        return step(run)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "training_step", interrupted_step)
        assert main([*command, "--out", str(again), "--max-iters=10"]) == 130
    assert checkpoint.load(again, "last")[1]["iteration"] == 4
    assert not (again / "model").exists()
    assert main(["pretrain", "--resume", "--out", str(again)]) == 0  # the rest from the checkpoint
    assert files(first / "model") == files(again / "model")
    assert files(first / "model")["tokenizer.json"] == files(other / "model")["tokenizer.json"]
    assert files(first / "model")["model.safetensors"] != files(other / "model")["model.safetensors"]


def tiny(out: Path, data: Path) -> PretrainConfig:
    return PretrainConfig(data=str(data), out=out, vocab_size=300, context=8, hidden_size=16, heads=2, layers=1)


def test_every_window_begins_as_a_prompt_does(command: list[str], tmp_path: Path) -> None:
    run = PretrainRun(tiny(tmp_path / "out", tmp_path / "text.txt"))
    inputs, targets = next(run.data.batches)
    seen = []
    forward = run.model.forward
    run.model.forward = lambda ids: seen.append(ids.numpy().copy()) or forward(ids)  # type: ignore[method-assign, func-returns-value]
    expected = inputs.numpy().copy()
    loss = run.loss(inputs, targets)
    expected[:, 0] = SPECIAL.index("<|begin_of_text|>")
    assert np.array_equal(seen[0], expected)
    assert loss.item() == pytest.approx(math.log(run.model.config.vocab_size), abs=0.3)


def test_documents_are_framed(tmp_path: Path) -> None:
    documents = load_documents("pydoc")
    assert "\n".join(documents) == load_text("pydoc")
    run = PretrainRun(tiny(tmp_path / "out", Path("pydoc")))
    tokens = run.tokens
    assert (tokens[0], tokens[-1]) == (0, 1)
    assert (tokens == 0).sum() == (tokens == 1).sum() == len(documents)
    assert np.array_equal(np.flatnonzero(tokens == 1)[:-1] + 1, np.flatnonzero(tokens == 0)[1:])


def test_the_tokenizer_knows_every_byte() -> None:
    tokenizer = train_bpe(["aaaa"], 300)
    text = "".join(map(chr, range(300))) + "😀"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == list(range(6))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, r"hidden_size \(16\) is not a multiple of heads \(3\)"),
        ({"layers": 0}, "layers is 0"),
        ({"vocab_size": 100}, "vocab_size is 100: bytes and special tokens take 262"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, changes: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(tiny(tmp_path, tmp_path), **changes)


def test_what_a_run_cannot_change(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert main([*command, *out, "--max-iters=2"]) == 0
    assert main([*command, *out]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main([*command, *out, "--resume", "--layers=1"]) == 2
    assert "was trained with --layers 2, not 1" in capsys.readouterr().err
