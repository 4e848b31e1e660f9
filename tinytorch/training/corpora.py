"""The texts to train on: those known by name, described in data/README.md, and any UTF-8 file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..cli.errors import UserError

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"


class CorpusError(UserError):
    """A text that cannot be had; the message is one line and says what to do."""


@dataclass(frozen=True)
class Corpus:
    """A text known by name. `size` is in bytes; it and `sha256` are None where the text is not the same everywhere."""

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
CORPORA = {corpus.name: corpus for corpus in (PYDOC, SHAKESPEARE)}


def load_text(name_or_path: str) -> str:
    """The text of a corpus, by its name, or of a UTF-8 file, by its path (`./pydoc` for a file of that name).

    Raises CorpusError where there is no such text, or it is empty, not UTF-8, or cannot be downloaded.
    """
    return "\n".join(load_documents(name_or_path))


def load_documents(name_or_path: str) -> list[str]:
    """What `load_text` joins by line feeds: texts that each have a beginning and an end. A file is one."""
    if name_or_path == PYDOC.name:
        return _pydoc_topics()
    if name_or_path == SHAKESPEARE.name:
        return [_read(_download(SHAKESPEARE, SHAKESPEARE_URL))]
    return [_read(Path(name_or_path))]


def _pydoc_topics() -> list[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CorpusError("this Python lacks pydoc_data; pass the path of a text file instead") from error
    return [topics[name] for name in sorted(topics)]


def _download(corpus: Corpus, url: str) -> Path:
    # Imported here: these two, and the network stack below them, are needed by this corpus only.
    import platformdirs
    import pooch

    folder = platformdirs.user_cache_path("tinytorch") / "corpora"
    try:
        return Path(pooch.retrieve(url, f"sha256:{corpus.sha256}", f"{corpus.name}.txt", folder))
    except (OSError, ValueError) as error:  # no network, no space; a file that is not the one we know
        reason = type(error).__name__ if isinstance(error, OSError) else "its sha256 is not the expected one"
        raise CorpusError(
            f"cannot download {corpus.name} from {url} ({reason}); "
            f"train on the embedded text (--data {PYDOC.name}), or bring that file and pass its path to --data"
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
