from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lora.__main__ import main
from lora.commands import COMMANDS
from lora.speed import Speed, read_bandwidth

ROOT = Path(__file__).parents[2]


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command prints on its way out with code 2."""
    capsys.readouterr()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"error: .+\n", captured.err)
    return captured.err


@pytest.fixture
def own(small_folder: Path, tmp_path: Path) -> Path:
    """A copy of the small model, to damage."""
    return Path(shutil.copytree(small_folder, tmp_path / "own"))


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=str)
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    assert "python -m lora" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["generate", "--no-such-option"], ["generate", "--model"], ["fly"]])
def test_unknown_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


# generate -------------------------------------------------------------------------------------------


def test_generate(small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", str(small_folder), "--prompt", "The dict", "--max-new-tokens=12", "--top-k=20"]
    texts = []
    for seed in ("1", "1", "2"):
        assert main([*command, "--seed", seed]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        texts.append(captured.out)
    assert texts[0].startswith("The dict") and texts[0].endswith("\n")
    assert texts[0] == texts[1] != texts[2]
    assert main(["generate", "--model", str(small_folder), "--max-new-tokens=5", "--greedy"]) == 0
    assert len(capsys.readouterr().out) > 1  # from the token that begins a text


def test_generate_says_when_the_context_is_full(small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--model", str(small_folder), "--prompt=A", "--max-new-tokens=500"]) == 0
    assert "(the context of 64 tokens is full)" in capsys.readouterr().err


def test_generate_stops_at_a_string(small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", str(small_folder), "--prompt", "The", "--max-new-tokens=30", "--greedy"]
    assert main(command) == 0
    text = capsys.readouterr().out.removesuffix("\n")
    stop = text[8:10]
    assert main([*command, "--stop", stop, "never in it"]) == 0
    assert capsys.readouterr().out == "The" + text[3:].split(stop)[0] + "\n"


def test_generate_reports_its_speed(small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--model", str(small_folder), "--prompt=A", "--max-new-tokens=9", "--stats"]) == 0
    report = capsys.readouterr().err
    number = r"[\d,.]+"
    assert re.fullmatch(
        rf"prompt: \d tokens, {number} tokens/s; text: [1-8] tokens, {number} tokens/s; "
        rf"{number} GB/s of weights read; the memory gives {number} GB/s: {number} tokens/s\n",
        report,
    )


def test_the_speed_is_of_the_steps_alone() -> None:
    speed = Speed()
    for _ in speed.timed(7, iter(range(4))):
        time.sleep(0.01)  # the caller's own time
    assert (speed.prompt_tokens, speed.tokens) == (7, 3)
    assert speed.seconds + speed.prompt_seconds < 0.01
    speed = Speed(prompt_tokens=10, prompt_seconds=2.0, tokens=50, seconds=5.0)
    assert speed.report(weight_bytes=2 * 10**9, bandwidth=40e9) == (
        "prompt: 10 tokens, 5 tokens/s; text: 50 tokens, 10.0 tokens/s; 20.00 GB/s of weights read; "
        "the memory gives 40.0 GB/s: 20.0 tokens/s"
    )
    assert Speed().report(1) == "prompt: 0 tokens, 0 tokens/s; text: 0 tokens, 0.0 tokens/s"
    assert 1e8 < read_bandwidth(1 << 22) < 1e13


def test_a_tokenizer_from_elsewhere(own: Path, byte_level: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "tokenizer.json").unlink()
    command = ["generate", "--model", str(own), "--prompt=The", "--max-new-tokens=3"]
    assert "has neither tokenizer.json nor tokenizer.model" in fails(command, capsys)
    assert main([*command, "--tokenizer", str(byte_level)]) == 0


def test_a_conversation(
    small_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\nWhy?\n"))
    command = ["generate", "--model", str(small_folder), "--chat", "--max-new-tokens=8", "--prompt=A"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert captured.out.count("> ") >= 3  # two answers from the keyboard, then its end
    assert "forgetting the oldest message: the context is 64 tokens" in captured.err
    assert re.search(r"^prompt: \d+ tokens, .* text: \d+ tokens, .*\n\Z", captured.err, re.M)


def test_a_conversation_looks_at_what_was_said(small_folder: Path) -> None:
    """Keeping the cache between answers gives the texts that computing all anew gives."""
    from lora.generate import GenerateConfig, Writer
    from lora.generation import Sampling

    config = GenerateConfig(model=small_folder, max_new_tokens=6, sampling=Sampling(greedy=True))
    writer = Writer(config)
    talk = [{"role": "user", "content": "Hi"}]
    for _ in range(2):
        ids = writer.tokenizer.apply_chat_template(talk, add_generation_prompt=True)
        answer = "".join(writer.write(ids))
        assert answer == "".join(Writer(config).write(ids))
        talk += [{"role": "assistant", "content": answer}, {"role": "user", "content": "So"}]
    assert writer.speed.prompt_tokens < len(ids) + 12  # the second prompt was not read from its beginning


def test_ctrl_c_stops_an_answer_only(small_folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lora", "generate", "--model", str(small_folder), "--chat", "--max-new-tokens=40"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("Hi\n")
        process.stdin.flush()
        assert process.stdout.read(3)  # the answer has begun
        process.send_signal(signal.SIGINT)
        out, err = process.communicate("So\n", timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert out.count("> ") >= 2
    assert "tokens/s" in err


# info -----------------------------------------------------------------------------------------------


def test_info(small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--model", str(small_folder)]) == 0
    shown = capsys.readouterr().out
    assert "2 layers of 32 channels, 4 heads of 8 (2 of keys and values), feed-forward 48, a head of its own" in shown
    assert "context 64; 400 tokens, a chat template" in shown
    rows = {
        cells[0]: cells[1:]
        for cells in ([cell.strip() for cell in line.strip("│┃").split("│")] for line in shown.splitlines())
        if len(cells) > 1
    }
    # q, k, v, o: 32 x 32, 2 of 16 x 32, 32 x 32; three of 48 x 32; in two layers
    assert rows["attention"] == ["8", "6,144", "24.6 kB"]
    assert rows["feed-forward"] == ["6", "9,216", "36.9 kB"]
    assert rows["embedding"] == rows["head"] == ["1", "12,800", "51.2 kB"]
    assert rows["normalisation"] == ["5", "160", "640 bytes"]
    assert rows["F32"] == rows["all"] == ["21", "41,120", "164 kB"]
    assert rows["weights as stored"] == rows["weights in float32"] == ["164 kB"]
    assert rows["keys and values of 64 positions"] == ["16.4 kB"]  # 2 x 2 layers x 2 heads x 8 x 64 x 4 bytes
    assert rows["AdamW's two means, to train all weights"] == ["329 kB"]


def test_info_without_a_tokenizer(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "tokenizer.json").unlink()
    assert main(["info", "--model", str(own)]) == 0
    assert "context 64; no tokenizer" in capsys.readouterr().out


def test_info_reads_headers_only(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of 40 GB, all of it a hole, takes no longer than a small one."""
    path = own / "model.safetensors"
    header = json.dumps(
        {"lm_head.weight": {"dtype": "BF16", "shape": [200_000, 100_000], "data_offsets": [0, 40 * 10**9]}}
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    try:
        os.truncate(path, 8 + len(header) + 40 * 10**9)
    except OSError:
        pytest.skip("no sparse files here")
    assert main(["info", "--model", str(own)]) == 0
    assert "20,000,000,000" in capsys.readouterr().out


# What is wrong with a folder ------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["generate", "info"])
def test_damaged_folders(own: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    def failure(model: Path = own) -> str:
        return fails([command, "--model", str(model)], capsys)

    assert "is not a folder" in failure(own / "config.json")
    assert "is not a folder" in failure(own / "nothing")
    weights = (own / "model.safetensors").read_bytes()
    (own / "model.safetensors").write_bytes(weights[:-1])
    assert "model.safetensors" in failure()
    (own / "model.safetensors").unlink()
    assert str(own) in failure()
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
    (own / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00001.safetensors" in failure()
    (own / "model.safetensors.index.json").unlink()
    (own / "model.safetensors").write_bytes(weights)
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "vocab_size": 399}))
    assert "embedding" in failure()
    (own / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    assert "gpt2" in failure()
    (own / "config.json").write_text("{")
    assert "config.json" in failure()
    (own / "config.json").unlink()
    assert "no config.json" in failure()


def test_prompts_that_do_not_fit(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", str(own)]
    assert "the model's context is 64: shorten it" in fails([*command, "--prompt", "a b c d " * 20], capsys)
    assert "the model's context is 64: shorten it" in fails([*command, "--chat", "--prompt", "a b c " * 30], capsys)
    assert "max_new_tokens is -1" in fails([*command, "--max-new-tokens=-1"], capsys)
    assert "temperature is 0.0" in fails([*command, "--temperature=0"], capsys)
    tokenizer = json.loads((own / "tokenizer.json").read_text())
    (own / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}))
    assert "the prompt is empty" in fails(command, capsys)
    (own / "tokenizer_config.json").unlink()
    assert "has no chat template" in fails([*command, "--chat", "--prompt=Hi"], capsys)
