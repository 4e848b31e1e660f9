"""The pages in Chromium: what they show is what the engine computed, whatever is pressed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch.study import Trace
from tinytorch.study.__main__ import main
from tinytorch.study.page.pages import PATH, write_page, write_site
from tinytorch.study.subjects import SUBJECTS, Sizes, in_float64, trace_of

RIGHT, LEFT, SPACE = "\ue014", "\ue012", " "  # keys, as WebDriver names them
TABLES = """return [...document.querySelectorAll('#tables td.number')].map(
    (cell) => [cell.dataset.kind, cell.dataset.name, cell.dataset.index, cell.dataset.number])"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all pages."""
    folder = tmp_path_factory.mktemp("pages")
    write_site(folder)
    return folder


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test that opens a page: no complaint on its console, and nothing asked for over the network."""
    yield
    if "browser" in request.fixturenames:
        opened = request.getfixturevalue("browser")
        assert opened.errors() == []
        assert opened.requests() == []


def engine(subject: str, sizes: Sizes) -> Trace:
    """The trace that a page shows."""
    with in_float64():
        return trace_of(subject, sizes)


def compare_tables(browser: Any, t: Trace) -> int:
    """Compare the numbers in the tables with a trace's; how many there are."""
    cells = browser.run(TABLES)
    for kind, name, index, text in cells:
        shown = float(text)
        value = next(v for v in t.values if v.name == name)
        at = tuple(int(i) for i in index.split(",") if i)
        if kind == "value":
            expected = value.array[at]
        elif kind == "gradient" or len(value.summands) == 1:
            expected = value.gradient.total[at]  # type: ignore[union-attr]
        else:
            assert any(np.isclose(shown, part.array[at], 1e-12, 1e-14) for part in value.summands), (kind, name, at)
            continue
        np.testing.assert_allclose(shown, float(expected), 1e-11, 1e-13, err_msg=f"{kind} {name} {at}")
    return len(cells)


def click(browser: Any, kind: str, name: str, index: str) -> None:
    """Choose a number."""
    browser.run(
        "document.querySelector(`td[data-kind='${arguments[0]}'][data-name='${arguments[1]}']"
        "[data-index='${arguments[2]}']`).focus()", kind, name, index,
    )  # fmt: skip


def slide(browser: Any, slider: str, to: float) -> None:
    """Move a slider."""
    browser.run(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('input'))",
        slider, to,
    )  # fmt: skip


def put(browser: Any, field: str, text: str) -> str:
    """Type a number into a field of the panel, press enter; what it answers."""
    browser.run("const f = document.getElementById(arguments[0]); f.value = ''; f.focus()", field)
    browser.press(text, "\ue007")
    return str(browser.run("return document.querySelector('#act .answer')?.textContent ?? ''"))


@pytest.mark.parametrize("subject", PATH)
def test_the_whole_walk_shows_the_engines_numbers(browser: Any, pages: Path, subject: str) -> None:
    t = engine(subject, Sizes(causal=PATH[subject].causal))
    browser.open(pages / f"{subject}.html")
    assert float(browser.run("return document.body.dataset.deviation")) < 1e-12
    browser.run("document.getElementById('step-title').focus()")
    count = len(t.steps) + len(t.walked)
    seen = numbers = 0
    hashes = set()
    for press in range(count):
        numbers += compare_tables(browser, t)
        hashes.add(browser.run("return location.hash"))
        seen += 1
        browser.press(RIGHT if press % 2 else SPACE)
    assert len(hashes - {""}) >= count - 1 and numbers > 2 * seen
    assert hashes >= {f"#step-{len(t.steps)}-backward", f"#step-{len(t.steps)}-forward"}
    browser.press("f")
    assert browser.run("return location.hash").endswith("-forward")
    browser.press(RIGHT, "b")
    assert browser.run("return location.hash").endswith("-backward")
    browser.press(LEFT)
    assert browser.run("return location.hash") == "#step-3-backward" or subject != "attention"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_screen_and_axe_finds_no_fault(
    browser: Any, pages: Path, axe: str, width: int, dark: bool
) -> None:
    for subject in ("attention", "embedding", "block"):
        browser.open(pages / f"{subject}.html", width=width, dark=dark, at="#step-5-backward")
        browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert browser.run("return document.documentElement.scrollWidth") <= width
        browser.run(axe)
        assert browser.serious_faults() == []


def test_axe_finds_no_fault_on_the_way(browser: Any, pages: Path, axe: str) -> None:
    for subject in ("cross_entropy", "head"):
        browser.open(pages / f"{subject}.html", width=360)
        browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        browser.run("document.getElementById('choice-fused').click()")
        browser.run(axe)
        for place in range(int(browser.run("return document.getElementById('place').max")) + 1):
            slide(browser, "place", place)
            assert browser.serious_faults() == []


def test_a_changed_number_changes_all_as_the_engine_does(browser: Any, pages: Path) -> None:
    browser.open(pages / "attention.html", at="#step-2-forward")
    click(browser, "value", "q", "1,2")
    assert put(browser, "new-number", "2.25") == ""
    assert browser.run("return document.getElementById('changed').hidden") is False
    moved = browser.run("return [...document.querySelectorAll('.moved')].map((c) => c.dataset.name + c.dataset.index)")
    assert moved == ["q1,2", "matmul_11,0", "matmul_11,1", "matmul_11,2", "matmul_11,3"]
    q, k, v = (engine("attention", Sizes(causal=True))[name].value for name in "qkv")
    q.array[1, 2] = 2.25
    with Trace() as t:
        q, k, v = (x.requires_grad_() for x in (q, k, v))
        scores = q @ k.mT / np.sqrt(3.0)
        hidden = torch.tensor(np.triu(np.ones((4, 4), np.bool_), 1))
        masked = scores.masked_fill(hidden, -np.inf)
        p = masked.softmax(-1)
        y = p @ v
        loss = y.square().sum()
    t.backward(loss)
    for step in range(8):
        for phase in ("forward", "backward"):
            browser.run("location.hash = arguments[0]", f"#step-{step + 1}-{phase}")
            browser.run("return new Promise((done) => requestAnimationFrame(() => done()))")
            compare_tables(browser, t)
    browser.run("document.getElementById('reset').click()")
    browser.run("location.hash = '#step-8-backward'")
    compare_tables(browser, engine("attention", Sizes(causal=True)))
    del scores, p


def test_a_changed_score_goes_down_from_there(browser: Any, pages: Path) -> None:
    browser.open(pages / "softmax.html", at="#step-1-forward")
    click(browser, "value", "p", "0,0")
    put(browser, "new-number", "0.5")
    p = engine("softmax", Sizes())["p"].array.copy()
    p[0, 0] = 0.5
    browser.run("location.hash = '#step-3-forward'")
    total = float(browser.run("return document.getElementById('total').dataset.number"))
    np.testing.assert_allclose(total, (p * p).sum(), 1e-14)
    click(browser, "value", "loss", "")
    assert "a number" in put(browser, "new-number", "much")


def test_a_gradient_that_is_constant_along_a_row_gives_zero(browser: Any, pages: Path) -> None:
    browser.open(pages / "attention.html", at="#step-5-backward")
    for column in range(4):
        click(browser, "gradient", "p", f"3,{column}")
        put(browser, "new-number", "0.7")
    cells = browser.run(TABLES)
    row = [float(n) for kind, name, index, n in cells if (kind, name) == ("sent", "masked") and index[0] == "3"]
    np.testing.assert_allclose(row, 0, atol=1e-15)


def test_a_number_is_taken_apart_as_why_does(browser: Any, pages: Path) -> None:
    t = engine("attention", Sizes(causal=True))
    browser.open(pages / "attention.html", at="#step-5-backward")
    click(browser, "sent", "masked", "2,1")
    said = browser.run("return document.getElementById('explanation').innerText").replace("−", "-")
    why = t.why("masked[2,1]")
    assert f"{why.total:.6g}" in said
    for term in why.terms:
        assert f"{term.product:.6g}" in said and term.names[0] in said
    p, g = t["p"].array[2], t["p"].gradient.total[2]  # type: ignore[union-attr]
    assert f"({g[1]:.6g} - " in said and f"{p[1]:.6g} × (" in said
    lit = browser.run("return [...document.querySelectorAll('td.lit')].map((c) => c.dataset.kind + c.dataset.index)")
    assert set(lit) == {f"{kind}2,{k}" for kind in ("gradient", "value") for k in range(3)}  # not the masked one
    browser.run("location.hash = '#step-6-backward'")
    click(browser, "sent", "v", "1,0")
    lit = browser.run("return [...document.querySelectorAll('td.lit')].map((c) => c.dataset.name + c.dataset.index)")
    assert {"p3,1", "y3,0"} <= set(lit)
    browser.run("location.hash = '#step-4-backward'")
    click(browser, "sent", "scores", "0,3")
    assert "exactly 0" in browser.run("return document.getElementById('explanation').innerText")


def test_pointing_at_a_number_shows_it_for_as_long(browser: Any, pages: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser.open(pages / "linear.html", at="#step-2-forward")
    click(browser, "value", "linear_1.y", "0,0")
    headline = "return document.querySelector('#explanation .headline').textContent"
    assert browser.run(headline).startswith("linear_1.y[0,0] = ")
    find = browser.driver.find_element
    over = find("css selector", "td[data-name='linear_1.y'][data-index='2,1']")
    ActionChains(browser.driver, duration=0).move_to_element(over).perform()
    assert browser.run(headline).startswith("linear_1.y[2,1] = ")
    lit = browser.run("return [...document.querySelectorAll('td.lit')].map((c) => c.dataset.name + c.dataset.index)")
    assert set(lit) == {*(f"x2,{k}" for k in range(3)), *(f"w.mT{k},1" for k in range(3))}
    ActionChains(browser.driver, duration=0).move_to_element(find("id", "step-title")).perform()
    assert browser.run(headline).startswith("linear_1.y[0,0] = ")


def test_predict(browser: Any, pages: Path) -> None:
    t = engine("attention", Sizes(causal=True))
    browser.open(pages / "attention.html", at="#step-5-backward")
    browser.run("document.getElementById('predict').click()")
    blank = browser.run("return [...document.querySelectorAll('td.blank')].map((c) => c.dataset.name)")
    assert blank == ["masked"] * 16
    right = t["masked"].gradient.total[3, 2]  # type: ignore[union-attr]
    p, g = t["p"].array[3, 2], t["p"].gradient.total[3, 2]  # type: ignore[union-attr]
    click(browser, "sent", "masked", "3,2")
    shown = browser.run("return document.getElementById('number').innerText").replace("−", "-")
    assert f"{right:.4g}" not in shown
    assert "the sign is wrong" in put(browser, "answer", f"{-right:.3f}")
    assert "the sum in the derivative of softmax is left out" in put(browser, "answer", f"{p * g:.5f}")
    assert "the derivative of softmax is left out" in put(browser, "answer", f"{g:.5f}")
    assert "none of the usual" in put(browser, "answer", "17.123")
    assert put(browser, "answer", f"{right:.4f}") == "Right."
    assert browser.run("return document.querySelectorAll('td.blank').length") == 15
    browser.run("location.hash = '#step-3-backward'")
    click(browser, "sent", "matmul_1", "1,0")
    scaled = t["matmul_1"].gradient.total[1, 0]  # type: ignore[union-attr]
    assert "the factor 1/1.732 is missing" in put(browser, "answer", f"{scaled * np.sqrt(3):.6f}")
    browser.run("document.getElementById('show').click()")
    assert browser.run("return document.querySelectorAll('td.blank').length") == 15


def test_a_lesson(browser: Any, pages: Path) -> None:
    """One score is changed, and dL/dk[1,2] worked out by hand from there."""
    browser.open(pages / "attention.html", at="#step-3-forward")
    click(browser, "value", "scores", "3,1")
    put(browser, "new-number", "0.9")
    t = engine("attention", Sizes(causal=True))
    q, v, masked = (t[name].array for name in ("q", "v", "masked"))
    masked = masked.copy()
    masked[3, 1] = 0.9
    p = np.exp(masked) / np.exp(masked).sum(1, keepdims=True)
    dp = 2 * (p @ v) @ v.T
    ds = p * (dp - (p * dp).sum(1, keepdims=True))
    dk = ds.T @ q / np.sqrt(3)
    browser.run("document.getElementById('predict').click(); location.hash = '#step-1-backward'")
    click(browser, "sent", "k", "1,2")
    assert "the sign is wrong" in put(browser, "answer", f"{-dk[1, 2]:.3g}")
    assert "the factor 1/1.732 is missing" in put(browser, "answer", f"{dk[1, 2] * np.sqrt(3):.4g}")
    assert put(browser, "answer", f"{dk[1, 2]:.3g}") == "Right."


def test_predict_knows_a_transpose_and_a_path(browser: Any, pages: Path) -> None:
    t = engine("attention", Sizes())
    browser.open(pages / "attention.html", at="#step-4-backward")
    browser.run("document.getElementById('choice-causal').click(); document.getElementById('predict').click()")
    click(browser, "sent", "scores", "2,1")
    wrong = t["scores"].gradient.total[1, 2]  # type: ignore[union-attr]
    assert "it is transposed: that is dL/dscores[1,2]" in put(browser, "answer", f"{wrong:.6f}")
    assert "none of the usual" in put(browser, "answer", "0.777777")
    t = engine("layernorm", Sizes())
    step = 1 + [step.name for step in t.steps].index("mean_1")
    browser.open(pages / "layernorm.html", at=f"#step-{step}-backward")
    browser.run("document.getElementById('predict').click()")
    click(browser, "gradient", "x", "1,2")
    parts = t["x"].summands
    assert len(parts) == 2
    said = put(browser, "answer", f"{parts[0].array[1, 2]:.6f}")
    assert "path through" in said and "is left out" in said


def test_predict_knows_a_missing_sum_and_a_missing_path(browser: Any, pages: Path) -> None:
    t = engine("linear", Sizes())
    step = 1 + [step.name for step in t.steps].index(t["y"].step.name)  # type: ignore[union-attr]
    browser.open(pages / "linear.html", at=f"#step-{step}-backward")
    browser.run("document.getElementById('predict').click()")
    click(browser, "sent", "b", "1")
    g = t["y"].gradient.total  # type: ignore[union-attr]
    assert "the sum is missing" in put(browser, "answer", f"{g[2, 1]:.6f}")
    assert "the mean of 4 terms" in put(browser, "answer", f"{g[:, 1].sum() / 4:.6f}")
    assert put(browser, "answer", f"{g[:, 1].sum():.4g}") == "Right."


def test_the_choices_open_other_traces_of_the_engine(browser: Any, pages: Path) -> None:
    browser.open(pages / "attention.html", at="#step-4-forward")
    browser.run("document.getElementById('choice-causal').click()")
    compare_tables(browser, engine("attention", Sizes(causal=False)))
    slide(browser, "choice-D", 5)
    assert compare_tables(browser, engine("attention", Sizes(D=16))) > 0
    browser.open(pages / "head.html")
    browser.run("document.getElementById('choice-fused').click()")
    assert compare_tables(browser, engine("head", Sizes(causal=True, unfold=False))) > 0
    browser.run("location.hash = '#step-4-backward'")
    assert browser.run("return document.getElementById('step-title').textContent") == (
        "Backward through y = attention(q, k, v)"
    )
    browser.run("document.getElementById('choice-fused').click()")  # the same value, where its parts make it
    assert "Backward through y = matmul(" in browser.run("return document.getElementById('step-title').textContent")


def test_the_scale_sharpens_the_weights(browser: Any, pages: Path) -> None:
    browser.open(pages / "attention.html")
    numbers = "return [...document.querySelectorAll('#meter-numbers td')].map((c) => Number(c.dataset.number))"
    t = engine("attention", Sizes(causal=True))
    p = t["p"].array
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum() / 4
    before = browser.run(numbers)
    expected = [t["scores"].array.std(), entropy, np.linalg.norm(t["scores"].gradient.total)]  # type: ignore[union-attr]
    np.testing.assert_allclose(before, expected, 1e-12)
    slide(browser, "scale", -1.5)
    after = browser.run(numbers)
    assert after[0] > 10 * before[0] and after[1] < before[1] / 2 and after[2] < before[2] / 2


def test_the_dial_shows_slope_and_gradient_meet_and_part(browser: Any, pages: Path) -> None:
    browser.open(pages / "attention.html", at="#step-1-forward")
    click(browser, "value", "k", "1,2")
    browser.run("document.getElementById('dial').open = true")

    def error(exponent: float) -> tuple[float, float, float]:
        slide(browser, "dial-h", exponent)
        browser.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        rows = browser.run("return [...document.querySelectorAll('#dial-numbers td')].map((c) => c.textContent)")
        gradient, one, central = (float(re.sub("−", "-", rows[n])) for n in (4, 5, 6))
        return gradient, one, central

    gradient, coarse, central = error(1)
    exact = engine("attention", Sizes(causal=True))["k"].gradient.total[1, 2]  # type: ignore[union-attr]
    np.testing.assert_allclose(gradient, exact, 1e-12)
    _, good, _ = error(8)
    _, fine, _ = error(15)
    assert central < coarse and good < coarse / 1e3 and fine > 100 * good
    assert browser.run("return document.querySelectorAll('#dial-plot path').length") == 2


def test_three_depths_agree(browser: Any, pages: Path) -> None:
    t = engine("attention", Sizes(causal=True))
    expected = t["masked"].gradient.total  # type: ignore[union-attr]
    browser.open(pages / "attention.html")
    for width in (1, 2, 3, 4):
        slide(browser, "width", width)
        slide(browser, "block", 99)
        for box in ("ds-steps", "ds-fused", "ds-tiled"):
            shown = browser.run("return [...document.querySelectorAll('#' + arguments[0] + ' td.number')].map("
                                "(c) => Number(c.dataset.number))", box)  # fmt: skip
            np.testing.assert_allclose(np.reshape(shown, (4, 4)), expected, 1e-12, 1e-15)
    slide(browser, "block", 0)
    assert browser.run("return document.getElementById('block-name').textContent").startswith("forward, keys 0")


HOSTILE = '''
import tinytorch as torch
from tinytorch import study

def loss():
    x = study.named("</script><img src=x onerror=alert(1)>", torch.randn(2, 3, requires_grad=True))
    y = study.named("<b>bold</b>\\u2028'\\"&amp;", x * 2)  # </script><script>alert(2)</script>
    z = torch.cumsum(y, 0)
    return z.sum()
'''


def test_hostile_names_are_text_and_unknown_operations_are_shown(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostile_page.py").write_text(HOSTILE, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["hostile_page:loss", "-o", "own.html"]) == 0
    browser.open(tmp_path / "own.html", at="#step-1-forward")
    assert browser.run("return document.querySelectorAll('img, b, script:not(#data):not(:last-of-type)').length") == 0
    names = browser.run("return [...document.querySelectorAll('#tables .label')].map((l) => l.textContent)")
    assert "</script><img src=x onerror=alert(1)>" in names and "<b>bold</b>\\u2028'\"&amp;" in names
    assert "alert(2)" in browser.run("return document.getElementById('line').textContent")
    assert "does not know cum_sum" in browser.run("return document.getElementById('read-only').textContent")
    assert browser.run("return document.getElementById('new-number')") is None
    assert browser.run("return document.getElementById('reset').hidden") is True


def test_pages_are_small_and_need_nothing(pages: Path) -> None:
    for page in pages.iterdir():
        text = page.read_text("utf-8")
        assert len(text.encode()) < 1_000_000
        assert "default-src 'none'" in text and not re.search(r"(src|href)=\"(https?:|//)", text)
    assert set(PATH) == set(SUBJECTS)
    index = (pages / "index.html").read_text("utf-8")
    assert re.findall(r'href="([^"]*)"', index) == [f"{subject}.html" for subject in PATH]


def test_a_large_page_has_fewer_choices_and_is_still_small(browser: Any, tmp_path: Path) -> None:
    out = tmp_path / "a.html"
    write_page("attention", Sizes(T=24, D=20), out)
    assert out.stat().st_size < 1_000_000
    browser.open(out, at="#step-3-backward")
    assert browser.run("return [...document.querySelectorAll('#choices input')].map((c) => c.id)") == ["choice-causal"]
    assert compare_tables(browser, engine("attention", Sizes(T=24, D=20))) > 570


def test_the_command_line_says_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["nothing", "-o", str(tmp_path / "a.html")]) == 2
    assert "no subject 'nothing'" in capsys.readouterr().err
    assert main(["block", "--T", "400", "-o", str(tmp_path / "a.html")]) == 2
    assert "a page shows up to" in capsys.readouterr().err
    assert main(["attention", "--heads", "0", "-o", str(tmp_path / "a.html")]) == 2
    assert not list(tmp_path.iterdir())
    assert main(["attention", "--heads", "2", "--causal", "-o", str(tmp_path / "a.html")]) == 0
    assert (tmp_path / "a.html").exists()


def test_heads_have_a_table_each(browser: Any, tmp_path: Path) -> None:
    write_page("attention", Sizes(heads=2, causal=True), tmp_path / "a.html")
    browser.open(tmp_path / "a.html", at="#step-5-backward")
    compare_tables(browser, engine("attention", Sizes(heads=2, causal=True)))
    names = browser.run("return [...document.querySelectorAll('#tables table')].map((t) => t.ariaLabel)")
    assert "dL/dp[1,:,:]" in names


OWN = '''
import tinytorch as torch
from tinytorch import nn

model = nn.Sequential(nn.Linear(2, 3), nn.Tanh())

def loss():
    x = torch.tensor([[0.5, -1.0]])
    return model(x)[:, 1:].square().mean()
'''


def test_a_function_of_ones_own_can_be_changed_too(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_page.py").write_text(OWN, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["own_page:loss", "-o", "own.html"]) == 0
    browser.open(tmp_path / "own.html")
    assert float(browser.run("return document.body.dataset.deviation")) < 1e-6  # the engine's numbers are in float32
    assert browser.run("return document.getElementById('read-only').hidden")
    before = browser.run("return document.getElementById('total').textContent")
    click(browser, "value", "model.0.weight", "1,0")
    assert put(browser, "new-number", "3") == ""
    assert browser.run("return document.getElementById('total').textContent") != before


def test_a_changed_gradient_says_so(browser: Any, pages: Path) -> None:
    browser.open(pages / "linear.html", at="#step-1-backward")
    browser.run("document.querySelector('#tables .group:nth-child(2) td.number').focus()")
    assert put(browser, "new-number", "12") == ""
    said = browser.run("return document.getElementById('explanation').innerText")
    assert "= 12" in said and "You have changed it" in said
    assert browser.run("return document.activeElement.dataset.number") == "12"


def test_the_index_is_a_page_too(browser: Any, pages: Path, axe: str) -> None:
    browser.open(pages / "index.html", width=360, dark=True)
    assert browser.run("return document.documentElement.scrollWidth") <= 360
    browser.run(axe)
    assert browser.serious_faults() == []


def test_a_number_of_a_large_step_is_taken_apart_too(browser: Any, tmp_path: Path) -> None:
    sizes = Sizes(T=12, D=9)
    write_page("attention", sizes, tmp_path / "a.html")
    t = engine("attention", sizes)
    for step, name, index in ((2, "q", "3,4"), (4, "scores", "7,2"), (5, "v", "11,8")):
        browser.open(tmp_path / "a.html", at=f"#step-{step}-backward")
        click(browser, "sent", name, index)
        said = browser.run("return document.getElementById('explanation').innerText").replace("−", "-")
        why = t.why(f"{name}[{index}]")
        assert f"{why.total:.6g}" in said
        shown = browser.run("return document.querySelectorAll('#explanation .terms tr').length")
        assert shown == len(why.terms) <= 12
