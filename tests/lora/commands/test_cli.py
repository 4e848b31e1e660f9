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
from collections.abc import Callable
from pathlib import Path

import pytest

from lora.__main__ import main
from lora.commands.foreign_options import FOREIGN
from lora.commands.speed import Speed, read_bandwidth
from lora.commands.table import COMMANDS
from lora.model.training_record import remember
from lora.text.tokenizer import Tokenizer

ROOT = Path(__file__).parents[3]


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
def test_help(command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert "python -m lora" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "…" not in shown


@pytest.mark.parametrize("arguments", [["generate", "--no-such-option"], ["generate", "--model"], ["fly"]])
def test_unknown_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


@pytest.mark.parametrize(
    ("command", "option", "advice"),
    [
        ("train", "--lr=1e-4", "--lr has another name here: give --learning-rate "),
        ("train", "--r=4", "--r has another name here: give --rank "),
        ("train", "--lora_alpha", "give --alpha "),
        ("train", "--target-modules", "give --targets "),
        ("train", "--epochs", "give --max-iters, which counts steps: an epoch is the number of examples"),
        ("train", "--num_train_epochs=3", "--num_train_epochs has another name here: give --max-iters, which"),
        ("train", "--gradient-accumulation-steps", "give --grad-accum "),
        ("train", "--bf16", "give nothing: weights stay as they are stored"),
        ("train", "--per_device_train_batch_size", "give --batch-size "),
        ("train", "--iters", "give --max-iters "),
        ("train", "--adapter-path", "give --out "),
        ("train", "--load-in-4bit", "give a quantized folder: python -m lora quantize"),
        ("generate", "--max-tokens=9", "give --max-new-tokens "),
        ("generate", "--temp", "give --temperature "),
        ("generate", "--adapter-path", "give --adapter "),
        ("eval", "--model-name-or-path", "give --model "),
        ("merge", "--save-path", "give --out "),
        ("quantize", "--q-bits=4", "give --scheme, int8 or nf4 "),
    ],
)
def test_names_that_options_have_elsewhere(
    capsys: pytest.CaptureFixture[str], command: str, option: str, advice: str
) -> None:
    assert advice in fails([command, option], capsys)


def test_our_options_are_not_taken_for_others(capsys: pytest.CaptureFixture[str]) -> None:
    for command, foreign in FOREIGN.items():
        with pytest.raises(SystemExit):
            main([command, "--help"])
        ours = set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out))
        assert len(ours) >= 4 and not ours & foreign.keys()
        for advice in foreign.values():  # what they say exists
            named = set(re.findall(r"--[a-z0-9-]+", advice.split("python -m lora")[0]))
            assert named <= ours, (command, advice)


@pytest.mark.parametrize("command", ["generate", "train", "eval", "info", "quantize"])
def test_a_models_name_is_no_folder(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def message_for(model: str) -> str:
        out = ["--out", str(tmp_path / "out")] if command in ("train", "quantize") else []
        assert main([command, "--model", model, *out]) == 2
        return capsys.readouterr().err

    message = message_for("HuggingFaceTB/SmolLM2-135M-Instruct")
    download = "hf download HuggingFaceTB/SmolLM2-135M-Instruct --local-dir SmolLM2-135M-Instruct"
    assert f"if it is a model's name on Hugging Face, download it first ({download})" in message
    assert "a/b/c is not a folder: give one that holds config.json, weights" in message_for("a/b/c")


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


@pytest.mark.parametrize("option", [["--prompt=caf\udce9"], ["--prompt=A", "--system=caf\udce9"]])
def test_bytes_that_are_no_text(small_folder: Path, capsys: pytest.CaptureFixture[str], option: list[str]) -> None:
    """The command line of a C locale gives bytes that are no UTF-8 as halves of surrogate pairs."""
    message = fails(["generate", "--model", str(small_folder), *option], capsys)
    assert r"the text is not valid Unicode, it has '\udce9'" in message


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
    from lora.commands.generate import GenerateConfig, Writer
    from lora.commands.sampling_options import SamplingOptions

    config = GenerateConfig(model=small_folder, max_new_tokens=6, sampling=SamplingOptions(greedy=True))
    writer = Writer(config)
    talk = [{"role": "user", "content": "Hi"}]
    for _ in range(2):
        ids = writer.tokenizer.apply_chat_template(talk, add_generation_prompt=True)
        answer = "".join(writer.write(ids))
        assert answer == "".join(Writer(config).write(ids))
        talk += [{"role": "assistant", "content": answer}, {"role": "user", "content": "So"}]
    assert writer.speed.prompt_tokens < len(ids) + 12  # the second prompt was not read from its beginning


def test_an_empty_line_is_no_message(
    small_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for typed in ("Hi\n", "\n  \nHi\n\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert main(["generate", "--model", str(small_folder), "--chat", "--max-new-tokens=4"]) == 0
        shown.append(capsys.readouterr().out.replace("> ", ""))
    assert shown[0] == shown[1]


def test_the_system_message_is_not_forgotten(
    small_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    template = Tokenizer.apply_chat_template

    def record(self: Tokenizer, messages: list[dict[str, str]], **settings: bool) -> list[int]:
        asked.append([message["content"] for message in messages])
        return template(self, messages, **settings)

    monkeypatch.setattr(Tokenizer, "apply_chat_template", record)
    monkeypatch.setattr(sys, "stdin", io.StringIO("a b c d\ne f g h\ni j\n"))
    assert main(["generate", "--model", str(small_folder), "--chat", "--max-new-tokens=8", "--system=Be"]) == 0
    assert "forgetting the oldest message" in capsys.readouterr().err
    assert all(contents[0] == "Be" for contents in asked)
    assert asked[-1][-1] == "i j"


@pytest.fixture
def remembering(own: Path) -> Callable[[bool | None], Path]:
    """The small model, which says whether it was trained on messages, or does not."""

    def folder(chat: bool | None) -> Path:
        (own / "training.json").unlink(missing_ok=True)
        if chat is not None:
            remember(own, {"chat_template": chat})
        return own

    return folder


def test_a_prompt_is_a_message_where_training_was_on_messages(
    remembering: Callable[[bool | None], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def text(model: Path, *options: str) -> str:
        command = ["generate", "--model", str(model), "--max-new-tokens=6", "--greedy", "--prompt=The list", *options]
        assert main(command) == 0
        return capsys.readouterr().out

    continued = text(remembering(False))
    answered = text(remembering(True))
    assert continued.startswith("The list") and not answered.startswith("The list")
    assert text(remembering(None)) == answered  # the tokenizer has a template
    assert text(remembering(True), "--raw") == continued
    told = text(remembering(True), "--system=Be brief.")
    assert told != answered and text(remembering(False), "--system=Be brief.") == told
    (remembering(None) / "tokenizer_config.json").unlink()
    assert text(remembering(None)).startswith("The list")  # there is no template


def test_what_a_prompt_cannot_be(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", str(own), "--prompt=The"]
    assert "--chat needs the chat template, which --raw leaves out" in fails([*command, "--chat", "--raw"], capsys)
    assert "--system needs the chat template" in fails([*command, "--system=Be brief.", "--raw"], capsys)
    (own / "tokenizer_config.json").unlink()
    assert "has no chat template" in fails([*command, "--system=Be brief."], capsys)
    (own / "generation_config.json").write_text('{"temperature": "hot"}')
    assert "generation_config.json: temperature is 'hot': it must be a number" in fails(command, capsys)


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
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    entries, small = json.loads(content[8 : 8 + length]), len(content) - 8 - length
    large = 40 * 10**9
    entries["model.extra"] = {"dtype": "BF16", "shape": [large // 2], "data_offsets": [small, small + large]}
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    try:
        os.truncate(path, 8 + len(header) + small + large)
    except OSError:
        pytest.skip("no sparse files here")
    assert main(["info", "--model", str(own)]) == 0
    assert "20,000,041," in capsys.readouterr().out


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
    assert "model.embed_tokens.weight" in failure()
    for name in ("num_hidden_layers", "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads"):
        (own / "config.json").write_text(json.dumps({**config, name: 2**20}))
        assert "config.json" in failure()  # at once: nothing of that size is built
    (own / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    assert "gpt2" in failure()
    (own / "config.json").write_text("{")
    assert "config.json" in failure()
    (own / "config.json").unlink()
    assert "no config.json" in failure()


def test_a_token_without_a_row(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Added to a tokenizer and never learned: said, and refused only where a prompt has it."""
    path = own / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"].append({**content["added_tokens"][0], "id": 400, "content": "[PAD]"})
    path.write_text(json.dumps(content))
    command = ["generate", "--model", str(own), "--max-new-tokens=2"]
    assert main([*command, "--prompt=The"]) == 0
    warned = capsys.readouterr().err
    assert re.fullmatch(r"warning: the tokenizer of .* has 401 tokens, the model's embedding only 400 .*\n", warned)
    assert main([*command, "--prompt=a[PAD]"]) == 2
    assert "error: the token '[PAD]' has the id 400, but the model's embedding only 400" in capsys.readouterr().err
    assert main(["info", "--model", str(own)]) == 0


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
