"""`python -m gpt attend`: the weights are those that the model computes with, and its page shows them."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch
from gpt.__main__ import main
from gpt.attention import weights as module
from gpt.attention.characters import mark, spoken
from gpt.attention.page import packed
from gpt.attention.picture import picture
from gpt.attention.weights import Array, Looks, embedding, look, nearest
from gpt.config import GPTConfig
from gpt.language_model import LanguageModel
from gpt.model import CausalSelfAttention
from gpt.presets import build_model
from gpt.run import load_model
from gpt.stages import Head
from tinytorch.cli.errors import UserError

TINY = ["--block-size=24", "--n-layer=2", "--n-head=2", "--n-embd=16", "--batch-size=2", "--eval-iters=1"]
HOSTILE = "</script><img src=x onerror=alert(1)> $a$ \\frac 'q' \"z\" &amp;\t\u2028\u00e9\u05d0\u65e5\n"
LEFT, RIGHT, HOME, END = "\ue012", "\ue014", "\ue011", "\ue010"  # keys, as WebDriver names them
LAYERS, HEADS = 2, 2
STAGES = ["one-head", "four-heads", "feed-forward", "blocks", "layer-norm"]


def sharpened(architecture: str, **changes: Any) -> LanguageModel:
    """A model whose attention prefers some positions, where a new model's is nearly even."""
    tinytorch.manual_seed(5)
    shape = {"vocab_size": 11, "block_size": 9, "n_layer": 3, "n_head": 2, "n_embd": 16, **changes}
    model = build_model(architecture, GPTConfig(**shape))
    with tinytorch.no_grad():
        for layer in model.modules():
            if isinstance(layer, CausalSelfAttention):
                layer.c_attn.weight.mul_(30)
            if isinstance(layer, Head):
                layer.query.weight.mul_(6)
    return model.eval()


IDS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.mark.parametrize("bias", [False, True])
def test_the_fused_attention_uses_these_weights(bias: bool) -> None:
    """What it puts out is the weights times the values."""
    model = sharpened("gpt", bias=bias, dropout=0.3)
    if bias:
        with tinytorch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("c_attn.bias"):
                    tinytorch.nn.init.normal_(parameter)
    qkv: list[Array] = []
    outputs: list[Array] = []
    for layer in model.modules():
        if isinstance(layer, CausalSelfAttention):
            layer.c_attn.register_forward_hook(lambda _, inputs, output: qkv.append(output.numpy()[0]))
            layer.c_proj.register_forward_pre_hook(lambda _, inputs: outputs.append(inputs[0].numpy()[0]))
    looks = look(model, IDS)
    assert looks.weights.shape == (3, 2, 8, 8) and len(qkv) == len(outputs) == 3
    for weights, made, output in zip(looks.weights, qkv, outputs, strict=True):
        values = made[:, 32:].reshape(8, 2, 8).swapaxes(0, 1)  # (H, T, D)
        np.testing.assert_allclose((weights @ values).swapaxes(0, 1).reshape(8, 16), output, 1e-4, 1e-5)
    check_weights(looks.weights)


def check_weights(weights: Array) -> None:
    """They add up to 1, look at nothing ahead, and prefer something."""
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    assert not weights[..., ~np.tri(weights.shape[-1], dtype=bool)].any()
    assert weights[..., -1, :].max() > 0.3


@pytest.mark.parametrize("stage", STAGES)
def test_so_do_the_heads_of_the_stages(stage: str) -> None:
    model = sharpened(stage, dropout=0.3)
    values: list[Array] = []
    outputs: list[Array] = []
    for head in model.modules():
        if isinstance(head, Head):
            head.value.register_forward_hook(lambda _, inputs, output: values.append(output.numpy()[0]))
            head.register_forward_hook(lambda _, inputs, output: outputs.append(output.numpy()[0]))
    looks = look(model, IDS)
    layers, heads = (3 if stage in ("blocks", "layer-norm") else 1), (1 if stage == "one-head" else 2)
    assert looks.weights.shape == (layers, heads, 8, 8)
    np.testing.assert_allclose(looks.weights.reshape(-1, 8, 8) @ np.array(values), np.array(outputs), 1e-4, 1e-5)
    check_weights(looks.weights)


def test_the_losses_are_the_models() -> None:
    model = sharpened("gpt")
    losses = look(model, IDS).losses
    _, mean = model(tinytorch.tensor([IDS[:-1]]), tinytorch.tensor([IDS[1:]]))
    assert mean is not None and losses.shape == (7,)
    np.testing.assert_allclose(losses.mean(), mean.item(), rtol=1e-5)
    probabilities = tinytorch.softmax(model.logits(tinytorch.tensor([IDS]))[0, 4], dim=-1)
    np.testing.assert_allclose(np.exp(-losses[4]), probabilities[IDS[5]].item(), rtol=1e-5)


def test_a_model_keeps_no_hooks() -> None:
    for architecture in ("gpt", "four-heads"):
        model = sharpened(architecture)
        look(model, IDS)
        with pytest.raises(UserError):
            look(model, IDS * 2)
        assert [part for part in model.modules() if part._hooks] == []


@pytest.mark.parametrize("architecture", ["gpt", "layer-norm"])
def test_numbers_that_are_none_are_an_error(architecture: str) -> None:
    model = sharpened(architecture)
    with tinytorch.no_grad():
        next(iter(model.parameters())).fill_(float("nan"))
    with pytest.raises(UserError, match="NaN"):
        look(model, IDS)


def test_a_page_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 6 * 10)  # three layers of two heads, four characters each
    assert look(sharpened("gpt"), IDS[:4]).weights.shape == (3, 2, 4, 4)
    with pytest.raises(UserError, match=r"5 characters; of 6 heads a page shows up to 4\b"):
        look(sharpened("gpt"), IDS[:5])


def test_nearest_characters() -> None:
    table = np.array([[1, 0], [2, 0.1], [0, 3], [-1, 0], [0, 0]], np.float32)
    found = nearest(table, 2)
    assert [[other.id for other in row] for row in found] == [[1, 2], [0, 2], [1, 0], [2, 4], [0, 1]]
    assert found[0][0].cosine == pytest.approx(2 / np.hypot(2, 0.1)) and found[4][0].cosine == 0
    assert [len(row) for row in nearest(table)] == [4] * 5
    gpt, stage = sharpened("gpt", tied_head=False), sharpened("one-head")
    assert np.array_equal(embedding(gpt), gpt.state_dict()["transformer.wte.weight"].numpy())
    assert np.array_equal(embedding(stage), stage.state_dict()["token_embedding.weight"].numpy())


def test_what_cannot_be_seen_has_a_mark() -> None:
    assert [mark(c) for c in " \n\tx<\u2028\u00a0\ud800"] == ["␣", "↵", "⇥", "x", "<", "U+2028", "U+00A0", "U+D800"]
    assert [spoken(c) for c in " \n\tx\u2028"] == ["space", "line feed", "tab", "x", "U+2028"]


def test_packed_weights_leave_out_what_lies_ahead() -> None:
    weights = look(sharpened("gpt"), IDS).weights
    stored = np.frombuffer(base64.b64decode(packed(weights)), "<u2").reshape(3, 2, 36)
    np.testing.assert_allclose(stored / 65535, weights[(..., *np.tril_indices(8))], atol=1e-5)


def test_pictures_of_any_size_can_be_drawn() -> None:
    sizes = {}
    for layers, heads, T in ((1, 1, 1), (2, 3, 5), (1, 2, 150)):
        png = picture("$" * T, np.full((layers, heads, T, T), 1 / T, np.float32), "$x_{$ \\frac")
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        sizes[T] = struct.unpack(">II", png[16:24])
    assert sizes[1] < sizes[5] < sizes[150]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a text with all kinds of characters, in a folder whose name has some, too."""
    folder = tmp_path_factory.mktemp("runs")
    text = folder / "text.txt"
    text.write_text(HOSTILE * 20, encoding="utf-8")
    out = folder / "<b>a run&amp;"
    assert main(["train", "--data", str(text), "--out", str(out), "--max-iters=3", *TINY]) == 0
    return out


def attended(run: Path, to: Path, prompt: str) -> Path:
    """The page that the command writes."""
    assert main(["attend", "--out", str(run), "--to", str(to), "--prompt", prompt]) == 0
    return to / "attention.html"


def looks_of(run: Path, prompt: str) -> Looks:
    model, tokenizer = load_model(run, "best")
    return look(model, tokenizer.encode(prompt))


def test_a_picture_and_a_page_are_written(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    for prompt in ("src=x\n", "src"):  # the second time, what is there is replaced
        capfd.readouterr()
        assert main(["attend", "--out", str(trained), "--prompt", prompt]) == 0
        folder = trained / "attend"
        written = [folder / "attention.png", folder / "attention.html"]
        captured = capfd.readouterr()
        assert captured.out.splitlines() == [f"written: {path}" for path in written]
        assert captured.err == ""
        assert sorted(folder.iterdir()) == sorted(written)
    assert f"{looks_of(trained, 'src').losses.mean():.3f} nats" in (folder / "attention.html").read_text("utf-8")
    assert {path: path.read_bytes() for path in trained.iterdir() if path.is_file()} == before


def test_the_page_runs_its_own_script_only(trained: Path, tmp_path: Path) -> None:
    text = attended(trained, tmp_path, HOSTILE[:24]).read_text("utf-8")
    assert not re.search(r"(src|href)=\"|https?:|//[a-z]+\.", text)
    style, *_ = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    script, *_ = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script)]
    policy = f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in text
    assert "<b>" not in text and "<img" not in text and text.count("</script>") == 2


def test_another_checkpoint_can_be_looked_at(trained: Path, tmp_path: Path) -> None:
    command = ["attend", "--out", str(trained), "--to", str(tmp_path / "a/b"), "--prompt", "x", "--checkpoint=last"]
    assert main(command) == 0
    text = (tmp_path / "a/b/attention.html").read_text("utf-8")
    assert "run&amp;amp;, last model</p>" in text  # one character has no loss, and there is no mean


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command prints on its way out with code 2."""
    capsys.readouterr()
    assert main(["attend", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"error: .+\n", captured.err)
    return captured.err


def test_errors_leave_nothing_behind(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "to"
    arguments = ["--out", str(trained), "--to", str(to), "--prompt"]
    assert "the prompt is empty" in fails([*arguments, ""], capsys)
    assert "'Ω' (U+03A9, position 1)" in fails([*arguments, "sΩ"], capsys)
    assert "has 25 characters, and the model's context is of 24" in fails([*arguments, "s" * 25], capsys)
    assert "no checkpoint" in fails(["--out", str(tmp_path / "nothing"), "--prompt=s"], capsys)
    assert not (tmp_path / "nothing").exists() and not to.exists()
    to.write_text("a file")
    assert str(to) in fails([*arguments, "s"], capsys)
    assert to.read_text() == "a file"


def test_a_bigram_model_has_no_attention(tmp_path: Path, text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bigram"
    small = ["--preset=bigram", "--max-iters=1", "--eval-iters=1", "--batch-size=2"]
    assert main(["train", "--data", str(text_file), "--out", str(out), *small]) == 0
    assert "a bigram model has no attention" in fails(["--out", str(out), "--prompt=The"], capsys)
    assert not (out / "attend").exists()


def test_a_stage_can_be_looked_at(tmp_path: Path, text_file: Path) -> None:
    out = tmp_path / "stage"
    small = ["--preset=four-heads", "--max-iters=1", "--eval-iters=1", "--batch-size=2"]
    assert main(["train", "--data", str(text_file), "--out", str(out), *small]) == 0
    assert main(["attend", "--out", str(out), "--prompt=The fox"]) == 0
    assert '"layers":1,"heads":4,' in (out / "attend/attention.html").read_text("utf-8")


@pytest.fixture
def window(browser: Any) -> Iterator[Any]:
    """The browser. In the end nothing has been complained about, nor asked for over the network."""
    yield browser
    assert browser.errors() == []
    assert browser.requests() == []


CELLS = """return [...document.querySelectorAll('#heads .cells')].map((box) => [...box.querySelectorAll('span')].map(
    (cell) => [cell.textContent, cell.className, cell.title, getComputedStyle(cell).backgroundColor]))"""
CHOSEN = (
    "return [...document.querySelectorAll('#text span')].map((c) => c.getAttribute('aria-selected')).indexOf('true')"
)


def check_cells(window: Any, prompt: str, looks: Looks, t: int) -> None:
    """Each head's panel shows where position t looks."""
    panels = window.run(CELLS)
    assert len(panels) == LAYERS * HEADS
    for cells, weights in zip(panels, looks.weights[:, :, t].reshape(-1, len(prompt)), strict=True):
        assert [text for text, *_ in cells] == [mark(c) for c in prompt]
        assert [kind for _, kind, *_ in cells] == [""] * t + ["now"] + ["ahead"] * (len(prompt) - t - 1)
        for s, (_, _, title, _) in enumerate(cells):
            if s > t:
                assert title == ""
            else:
                name, shown = title.rsplit(": ", 1)
                assert name == f"{spoken(prompt[s])} ({s + 1})"
                assert float(shown.removesuffix("%")) == pytest.approx(100 * weights[s], abs=0.06)


def test_the_page_shows_where_each_head_looks(window: Any, trained: Path, tmp_path: Path) -> None:
    prompt = "<img src=x\n\t$\u2028\u05d0\u65e5 'q'&"
    looks = looks_of(trained, prompt)
    window.open(attended(trained, tmp_path, prompt))
    last = len(prompt) - 1
    assert window.run(CHOSEN) == last
    window.press("\t")  # from the top of the page to the text
    assert window.run("return document.activeElement.getAttribute('aria-label')") == f"& ({last + 1})"
    window.press(HOME)
    for t in range(len(prompt)):
        assert window.run(CHOSEN) == t
        check_cells(window, prompt, looks, t)
        reading = window.run("return document.getElementById('reading').textContent")
        assert reading.startswith(f"{spoken(prompt[t])}, character {t + 1} of {last + 1}: ")
        assert (f"a loss of {looks.losses[t - 1]:.3f} nats" in reading) is (t > 0)
        window.press(RIGHT)
    assert window.run(CHOSEN) == last
    window.press(LEFT)
    assert window.run(CHOSEN) == last - 1
    window.press(HOME, LEFT)
    assert window.run(CHOSEN) == 0
    window.press(END)
    assert window.run(CHOSEN) == last
    assert window.run("return document.querySelectorAll('main img, main b:not(figcaption b)').length") == 0
    window.run("return document.querySelector('[role=option]').focus()")
    assert window.run("return document.querySelector('.about').textContent").startswith(f"{trained}, best model: ")


def test_pointing_is_enough(window: Any, trained: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    window.open(attended(trained, tmp_path, "src=x onerror"))
    spans = window.driver.find_elements("css selector", "#text span")
    for t in (3, 8, 1):
        ActionChains(window.driver, duration=0).move_to_element(spans[t]).perform()
        assert window.run(CHOSEN) == t
    check_cells(window, "src=x onerror", looks_of(trained, "src=x onerror"), 1)
    caption = window.run("return document.querySelector('figcaption').textContent")
    assert re.fullmatch(r"Head 1[sr] \(\d\) \d+\.\d%, [sr] \(\d\) \d+\.\d%", caption)


def test_colours_follow_losses_and_weights(window: Any, trained: Path, tmp_path: Path) -> None:
    prompt = "src=x onerror=al"
    looks = looks_of(trained, prompt)
    window.open(attended(trained, tmp_path, prompt))
    size = len(load_model(trained, "best")[1].vocabulary)
    strengths = window.run(
        "return [...document.querySelectorAll('#text span')].map((c) => c.style.getPropertyValue('--strength'))"
    )
    assert strengths[0] == ""
    shown = [float(strength.removesuffix("%")) for strength in strengths[1:]]
    np.testing.assert_allclose(shown, 100 * np.minimum(1, looks.losses / np.log(size)), rtol=1e-4)
    colours = {colour for cells in window.run(CELLS) for *_, colour in cells}
    assert len(colours) > 1


def test_the_table_of_nearest_characters(window: Any, trained: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(trained, "best")
    found = nearest(embedding(model))
    window.open(attended(trained, tmp_path, "src"))
    rows = window.run(
        "return [...document.querySelectorAll('#nearest tr')].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    names = [spoken(c) for c in tokenizer.vocabulary]
    assert [name for name, _ in rows] == names
    for (_, shown), row in zip(rows, found, strict=True):
        assert [part.rsplit(" ", 1)[0] for part in shown.split(", ")] == [names[other.id] for other in row]
        cosines = [float(part.rsplit(" ", 1)[1]) for part in shown.split(", ")]
        assert cosines == pytest.approx([other.cosine for other in row], abs=0.006)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_fault_and_nothing_is_too_wide(
    window: Any, trained: Path, tmp_path: Path, axe: str, width: int, dark: bool
) -> None:
    window.open(attended(trained, tmp_path, "src=x\n onerror=alert(1)"), width=width, dark=dark)
    assert window.run("return document.documentElement.scrollWidth") <= width
    window.run(axe)
    for key in (HOME, RIGHT):
        window.press("\t", key)
        assert window.serious_faults() == []
