"""Reading other people's files: whatever is wrong with one is a UserError of one line, which names the file."""

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
# Python takes some 60 bytes for "[]". The largest settings are of models with tens of thousands of added tokens: 5 MB.
LARGEST, CONTAINERS = 8 << 20, 100_000
_LONGEST = 1600  # characters of a message: a hostile name may be as long as its file


def one_line(text: str) -> str:
    """The same, and not long."""
    text = printable(text[: 4 * _LONGEST])
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


@contextmanager
def reading(path: Path, advice: str = ANEW) -> Iterator[None]:
    """Around everything that takes a file's content for what it should be: every error is a UserError of one line.

    An error that already is one for the user keeps its words. What is left is named by its class and its text, which
    say more than nothing; `advice` is what to do about it.
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
    except BaseException as error:  # a panic of the package tokenizers is no Exception
        what = f"{error} ({type(error).__name__})" if str(error) else type(error).__name__
        raise UserError(f"{one_line(f'{path} cannot be read: {what}')}; {advice}") from error


def read_object(path: Path, advice: str = ANEW) -> dict[str, Any]:
    """The JSON object in a file; UserError where there is none."""
    with reading(path, advice):
        with open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise UserError(f"{path} has more than {LARGEST} bytes, which is no file of settings; {advice}")
        text = raw.decode("utf-8")
        if text.count("[") + text.count("{") > CONTAINERS:
            raise UserError(f"{path} has more lists and objects than settings have; {advice}")
        content = json.loads(text)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(content, ensure_ascii=False).encode()  # fails on half of a surrogate pair
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; {advice}")
    return content
