"""Reading other people's files: anything wrong with one is a UserError of one line that names the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..safetensors import SafetensorError
from .errors import UserError, printable

ANEW = "get it anew"
# Python needs some 60 bytes for "[]". The largest settings, 5 MB, are those of models with tens of thousands of added
# tokens.
LARGEST, CONTAINERS = 8 << 20, 100_000
_LONGEST = 1600  # characters of a message: a hostile name may be as long as its file


def one_line(text: str) -> str:
    """The text on one line, cut if it is long."""
    text = printable(text[: 4 * _LONGEST])
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


@contextmanager
def reading(path: Path, advice: str = ANEW) -> Iterator[None]:
    """A context for code that trusts a file's content: it turns every error into a UserError of one line.

    A UserError keeps its message. Any other error is reported by its class and text; `advice` says what to do.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except (UserError, SafetensorError) as error:
        place = "" if str(path) in str(error) else f"{path}: "
        raise UserError(one_line(f"{place}{error}")) from error
    except OSError as error:
        raise UserError(one_line(f"{path} cannot be read: {error.strerror or error}; {advice}")) from error
    except BaseException as error:  # a panic of the package tokenizers is not an Exception
        what = f"{error} ({type(error).__name__})" if str(error) else type(error).__name__
        raise UserError(f"{one_line(f'{path} cannot be read: {what}')}; {advice}") from error


def read_object(path: Path, advice: str = ANEW) -> dict[str, Any]:
    """The JSON object in a file; UserError if there is none."""
    with reading(path, advice):
        with open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise UserError(f"{path} has more than {LARGEST} bytes, too many for a file of settings; {advice}")
        text = raw.decode("utf-8")
        if text.count("[") + text.count("{") > CONTAINERS:
            raise UserError(f"{path} has too many lists and objects for a file of settings; {advice}")
        content = json.loads(text)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(content, ensure_ascii=False).encode()  # fails on half of a surrogate pair
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; {advice}")
    return content
