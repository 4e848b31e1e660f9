"""Pictures of graphs: what they say, to readers of screens too, and that no name is ever taken for markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch.study.drawing import KINDS, LONGEST, Card, dot, shown, svg

CARDS = [
    Card("x", "x", ("input", "(2, 3)"), "input"),
    Card("w", "fc.weight", ("parameter", "(3, 3)"), "parameter"),
    Card("y", "y", ("matmul", "(2, 3)"), note="0.5 1.5\n2.5 3.5"),
    Card("loss", "loss", ("sum", "()", "3.5"), "output"),
]
EDGES = [("x", "y"), ("w", "y", "wᵀ"), ("y", "loss")]
NAMESPACE = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert('1')</script>\"& ]]> \\N \n\x00\x1b[31m\u202e"


def test_every_box_and_edge_is_drawn() -> None:
    root = ElementTree.fromstring(svg(CARDS, EDGES, title="a layer"))
    texts = [text.text for text in root.iter(f"{NAMESPACE}text")]
    assert texts == [
        *("wᵀ", "x", "input", "(2, 3)", "fc.weight", "parameter", "(3, 3)"),
        *("y", "matmul", "(2, 3)", "loss", "sum", "()", "3.5"),
    ]
    paths = [path.get("class") for path in root.iter(f"{NAMESPACE}path")]
    assert paths == ["edge", "tip"] * 3
    assert [group.get("class") for group in root.findall(f"{NAMESPACE}g")] == [
        "edges",
        *("input", "parameter", "operation", "output"),
    ]


def test_it_is_read_aloud() -> None:
    root = ElementTree.fromstring(svg(CARDS, EDGES, title="a layer"))
    assert root.get("aria-label") == "a layer" and root.find(f"{NAMESPACE}title").text == "a layer"  # type: ignore[union-attr]
    edges, *boxes = root.findall(f"{NAMESPACE}g")
    assert edges.get("aria-hidden") == "true"  # what leads to a box is said of the box
    assert boxes[2].get("aria-label") == "operation y; matmul; (2, 3); from x, fc.weight"
    assert boxes[2].find(f"{NAMESPACE}title").text == "y\nmatmul\n(2, 3)\n0.5 1.5\n2.5 3.5"  # type: ignore[union-attr]


def test_it_scales_and_follows_the_screen() -> None:
    picture = svg(CARDS, EDGES)
    root = ElementTree.fromstring(picture)
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    light, _, dark = picture.partition("@media (prefers-color-scheme:dark)")
    for kind in KINDS:
        colours = [re.findall(rf"\.{kind} rect{{fill:(#\w+)}}", half) for half in (light, dark)]
        assert colours[0] != colours[1] and all(len(found) == 1 for found in colours)


def test_nothing_is_fetched() -> None:
    picture = svg(CARDS, EDGES).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|url\(|href|@import|<image|<script", picture)


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text(), st.text(), st.text())
def test_any_text_is_shown_as_text(title: str, line: str, note: str, label: str) -> None:
    check_text(title, line, note, label)


@pytest.mark.parametrize("text", [HOSTILE, "", "\ud800", "名前" * 30, "a" * 1000])
def test_hostile_text_is_shown_as_text(text: str) -> None:
    check_text(text, text, text, text)


def check_text(title: str, line: str, note: str, label: str) -> None:
    cards = [Card(0, title, (line,), note=note), Card(1, "end")]
    root = ElementTree.fromstring(svg(cards, [(0, 1, label)], title=title).encode())
    expected = [*([label] if label else []), title, line, "end"]
    short = [t if len(t) <= LONGEST else t[: LONGEST - 1] + "…" for t in map(shown, expected)]
    assert [text.text or "" for text in root.iter(f"{NAMESPACE}text")] == short
    assert {element.tag.removeprefix(NAMESPACE) for element in root.iter()} <= {
        *("svg", "title", "style", "rect", "g", "path", "text")
    }
    assert root.get("aria-label") == shown(title)

    strings = re.findall(r'"(?:[^"\\]|\\.)*"', dot(cards, [(0, 1, label)], title=title))
    rest = re.sub(r'"(?:[^"\\]|\\.)*"', "S", dot(cards, [(0, 1, label)], title=title))
    edge = "  n0 -> n1 [label=S];" if label else "  n0 -> n1;"
    assert rest.splitlines()[-4:] == ["  n0 [label=S];", "  n1 [label=S];", edge, "}"]
    assert strings[0][1:-1].replace('\\"', '"').replace("\\\\", "\\") == shown(title)


def test_letters_that_do_not_print_are_shown_by_their_escapes() -> None:
    assert shown("a\nb\x1b\u202e\ud800\\é名") == "a\\nb\\x1b\\u202e\\ud800\\é名"


def test_text_for_graphviz() -> None:
    assert dot(CARDS[:3], EDGES[:2], title="a layer") == (
        'digraph "a layer" {\n'
        "  rankdir=LR;\n"
        '  node [shape=box, style=filled, fillcolor=white, fontname="monospace", fontsize=11];\n'
        '  edge [fontname="monospace", fontsize=10];\n'
        '  n0 [label="x\\ninput\\n(2, 3)", style="filled,rounded", fillcolor="#dbeafe"];\n'
        '  n1 [label="fc.weight\\nparameter\\n(3, 3)", fillcolor="#fef3c7"];\n'
        '  n2 [label="y\\nmatmul\\n(2, 3)"];\n'
        "  n0 -> n2;\n"
        '  n1 -> n2 [label="wᵀ"];\n'
        "}\n"
    )


@pytest.mark.parametrize("draw", [svg, dot])
def test_mistakes_of_the_caller_are_named(draw: object) -> None:
    with pytest.raises(ValueError, match="card 0 has kind 'step', expected one of input, parameter, operation, output"):
        draw([Card(0, "a", kind="step")], [])  # type: ignore[operator]
    with pytest.raises(ValueError, match="the edge 0 -> 2 ends at 2, which is no node"):
        draw([Card(0, "a")], [(0, 2)])  # type: ignore[operator]
    with pytest.raises(ValueError, match="two nodes have the id 0"):
        draw([Card(0, "a"), Card(0, "b")], [])  # type: ignore[operator]
