from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from tinytorch.cli.errors import UserError
from tinytorch.training.metrics import MetricsLog, plot, read

RECORDS: list[dict[str, Any]] = [
    {"iter": 0, "train_loss": 3.0, "val_loss": 3.5},
    {"iter": 0, "loss": 2.75, "lr": 0.1, "grad_norm": 1.0},
    {"iter": 1, "loss": 2.5, "lr": 0.1, "grad_norm": 1.0},
    {"iter": 2, "train_loss": 2.0, "val_loss": 2.25},
]


def write(path: Path, records: list[dict[str, Any]], start: int = 0) -> None:
    with MetricsLog(path, start) as log:
        for record in records:
            log.write(record)


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read(path) == []
    with MetricsLog(path, 0) as log:
        log.write(RECORDS[0])
        assert read(path) == RECORDS[:1]
        log.write(RECORDS[1])
        assert [json.loads(line) for line in path.read_text().splitlines()] == RECORDS[:2]
    with pytest.raises(ValueError, match="closed"):
        log.write(RECORDS[2])


@pytest.mark.parametrize(("start", "kept"), [(0, 0), (1, 2), (2, 3), (3, 4)])
def test_opened_again_it_forgets_what_is_from_there_on(tmp_path: Path, start: int, kept: int) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, RECORDS)
    with open(path, "a") as file:
        file.write('{"iter": 3, "lo')  # cut short
    assert read(path) == RECORDS
    write(path, [{"iter": 9}], start)
    assert read(path) == [*RECORDS[:kept], {"iter": 9}]


def test_a_line_in_the_middle_that_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iter": 0}\n{"iter"\n{"iter": 1}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged \(.*\): repair it or move it away"):
        read(path)


@pytest.mark.parametrize(
    "content",
    [b"[1]\n", b"{}\n", b'{"iter": "1"}\n', b'{"iter": 1, "loss": "x"}\n', b'\xff{"iter": 1}\n', b"[" * 99999 + b"\n"],
)
def test_lines_that_hold_no_measurements(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged \(.*\): repair it or move it away"):
        MetricsLog(path, 1)
    assert path.read_bytes() == content


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of each picture that is written."""
    drawn: list[Any] = []
    save = Figure.savefig

    def spy(figure: Any, *arguments: Any, **options: Any) -> Any:
        drawn.append(figure.axes[0])
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return drawn


def test_what_is_drawn(tmp_path: Path, drawn: list[Any]) -> None:
    write(tmp_path / "metrics.jsonl", RECORDS)
    plot(tmp_path / "metrics.jsonl", tmp_path / "loss.png", "tiny on text", "token")
    (axes,) = drawn
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert lines == {
        "training: each batch": ([0, 1], [2.75, 2.5]),
        "training split, evaluated": ([0, 2], [3.0, 2.0]),
        "validation split, evaluated": ([0, 2], [3.5, 2.25]),
    }
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(lines)
    assert axes.get_legend().get_title().get_text() == "loss, in nats per token"
    assert axes.get_title() == "tiny on text"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "cross-entropy (nats per token)")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_longer_run_has_means_of_its_batches(tmp_path: Path, drawn: list[Any]) -> None:
    """However few its evaluations are, fifty points and more show how it went."""
    steps = [{"iter": i, "loss": 9.0 - i / 100 + i % 2} for i in range(101)]
    write(tmp_path / "metrics.jsonl", [RECORDS[0], *steps])
    plot(tmp_path / "metrics.jsonl", tmp_path / "loss.png", "tiny on text", "token")
    (axes,) = drawn
    (means,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert means.get_label() == "training: means of 2 batches"
    assert list(means.get_xdata()) == [2 * i + 0.5 for i in range(50)]  # the last batch has none to go with
    assert list(means.get_ydata()) == pytest.approx([9.5 - (2 * i + 0.5) / 100 for i in range(50)])
    assert "training: means of 2 batches" in [text.get_text() for text in axes.get_legend().get_texts()]
