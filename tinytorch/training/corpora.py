"""The texts to train on: those with a name, which data/README.md describes, and any UTF-8 file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..cli.errors import UserError

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"


class CorpusError(UserError):
    """A text that cannot be loaded; the message is one line and says what to do."""


@dataclass(frozen=True)
class Corpus:
    """A text with a name. `size` is in bytes; it and `sha256` are None if the text is not the same everywhere."""

    name: str
    origin: str
    licence: str
    size: int | None = None
    sha256: str | None = None


PYDOC = Corpus(
    name="pydoc",
    origin="`pydoc_data.topics` of the running CPython",
    licence="PSF License Version 2",
)
SHAKESPEARE = Corpus(
    name="shakespeare",
    origin=SHAKESPEARE_URL,
    licence="public domain",
    size=1_115_394,
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)
PROSE = Corpus(
    name="pydoc-prose",
    origin="the paragraphs of prose in `pydoc`",
    licence="PSF License Version 2",
)
CORPORA = {corpus.name: corpus for corpus in (PYDOC, PROSE, SHAKESPEARE)}


def load_text(name_or_path: str) -> str:
    """The text of a corpus, given its name, or of a UTF-8 file, given its path (`./pydoc` for a file of that name).

    Raises CorpusError if there is no such text, or it is empty, not UTF-8, or cannot be downloaded.
    """
    return "\n".join(load_documents(name_or_path))


def load_documents(name_or_path: str) -> list[str]:
    """The documents that `load_text` joins with line feeds. A file is one document."""
    if name_or_path == PYDOC.name:
        return _pydoc_topics()
    if name_or_path == PROSE.name:
        return ["\n\n".join(_paragraphs("\n\n".join(_pydoc_topics())))]
    if name_or_path == SHAKESPEARE.name:
        return [_read(_download(SHAKESPEARE, SHAKESPEARE_URL))]
    return [_read(Path(name_or_path))]


def _pydoc_topics() -> list[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CorpusError("this Python lacks pydoc_data; pass the path of a text file instead") from error
    return [topics[name] for name in sorted(topics)]


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of prose, each on one line and once: no headings, code, grammar or tables, and no markup."""
    lines = (" ".join(re.sub('["*]', "", paragraph).split()) for paragraph in re.split(r"\n\s*\n", text))
    return list(dict.fromkeys(line for line in lines if re.fullmatch(r"[A-Z][\w .,;:'’()-]{38,}[.:]", line, re.ASCII)))


def _download(corpus: Corpus, url: str) -> Path:
    # Imported here because only this corpus needs these two and the network stack below them.
    import platformdirs
    import pooch

    folder = platformdirs.user_cache_path("tinytorch") / "corpora"
    try:
        return Path(pooch.retrieve(url, f"sha256:{corpus.sha256}", f"{corpus.name}.txt", folder))
    except (OSError, ValueError) as error:  # no network, no space, or not the expected file
        reason = type(error).__name__ if isinstance(error, OSError) else "its sha256 is not the expected one"
        raise CorpusError(
            f"cannot download {corpus.name} from {url} ({reason}); "
            f"train on the embedded text (--data {PYDOC.name}), or get that file yourself and pass its path to --data"
        ) from error


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise CorpusError(
            f"no file '{path}', nor a corpus of that name; known by name: {', '.join(CORPORA)}"
        ) from error
    except IsADirectoryError as error:
        raise CorpusError(f"'{path}' is a folder; pass the path of a text file") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"'{path}' is not UTF-8 text (byte {error.start}); convert it to UTF-8 first") from error
    except OSError as error:
        raise CorpusError(f"cannot read '{path}': {error.strerror}") from error
    if not text:
        raise CorpusError(f"'{path}' is empty; pass a file with text in it")
    return text
