from __future__ import annotations

from pathlib import Path

import platformdirs
import pooch
import pytest
import requests

from tinytorch.training.corpora import CORPORA, SHAKESPEARE, CorpusError, load_text

ROOT = Path(__file__).parents[2]


def test_pydoc_is_a_long_text_that_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = load_text("pydoc")
    assert len(text) > 400_000
    assert 'The "if" statement' in text
    assert text == load_text("pydoc")


def test_prose_is_whole_paragraphs_each_once() -> None:
    text = load_text("pydoc-prose")
    assert len(text) > 100_000 and len(set(text)) < 80
    paragraphs = text.split("\n\n")
    assert len(set(paragraphs)) == len(paragraphs)
    for paragraph in paragraphs:
        assert "\n" not in paragraph and paragraph[0].isupper() and paragraph[-1] in ".:"
    assert not set(text) & set('"*|+=<>[]{}')


@pytest.mark.parametrize("content", ["To be\r\nor not", "naïve Ω 日本 😀\n", " "])
def test_a_file_is_given_character_for_character(tmp_path: Path, content: str) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(content.encode())
    assert load_text(str(file)) == content


def test_a_byte_order_mark_is_no_character_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(b"\xef\xbb\xbfabc")
    assert load_text(str(file)) == "abc"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file .*nor a corpus of that name; known by name: pydoc, pydoc-prose, shakespeare"),
        (b"", "is empty"),
        (b"abc\xff", r"not UTF-8 text \(byte 3\)"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CorpusError, match=message) as caught:
        load_text(str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is a folder"):
        load_text(str(tmp_path))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "tinytorch" / "corpora"


def test_shakespeare_offline_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise requests.ConnectionError("no route\nto host")

    monkeypatch.setattr(requests.Session, "request", unreachable)
    with pytest.raises(CorpusError, match="pass its path to --data") as caught:
        load_text("shakespeare")
    assert "\n" not in str(caught.value)


def test_shakespeare_is_read_from_the_cache_once_it_is_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = {}

    def retrieve(url: str, known_hash: str, fname: str, path: Path) -> str:
        cached.update(url=url, known_hash=known_hash, path=path)
        path.mkdir(parents=True)
        (path / fname).write_text("First Citizen:\n")
        return str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert load_text("shakespeare") == "First Citizen:\n"
    assert cached == {"url": SHAKESPEARE.origin, "known_hash": f"sha256:{SHAKESPEARE.sha256}", "path": cache}


def test_a_download_that_is_not_the_known_file_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    source = cache.parent / "other.txt"
    source.write_text("not Shakespeare")
    retrieve = pooch.retrieve

    def retrieve_other(url: str, *args: object) -> str:
        def copy(_: str, output: str, __: object) -> None:
            Path(output).write_bytes(source.read_bytes())

        return str(retrieve(url, *args, downloader=copy))

    monkeypatch.setattr(pooch, "retrieve", retrieve_other)
    with pytest.raises(CorpusError, match="sha256 is not the expected one"):
        load_text("shakespeare")
    assert not list(cache.glob("*.txt"))


def test_the_table_in_data_describes_every_corpus() -> None:
    table = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for corpus in CORPORA.values():
        row = next(line for line in table.splitlines() if line.startswith(f"| `{corpus.name}` |"))
        for fact in (corpus.origin, corpus.licence, corpus.sha256 or "", f"{corpus.size:,}" if corpus.size else ""):
            assert fact in row
