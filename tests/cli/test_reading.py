from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinytorch.cli.errors import UserError, printable
from tinytorch.cli.reading import one_line, read_object, reading
from tinytorch.safetensors import SafetensorError


class Panic(BaseException):
    """As a package in Rust raises it."""


PATH = Path("folder/file.json")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("r is 0: a rank is above 0"), "folder/file.json: r is 0: a rank is above 0"),
        (UserError("folder/file.json holds nothing"), "folder/file.json holds nothing"),
        (SafetensorError("x", "InvalidOffset", "a\nb"), r"folder/file.json: x: InvalidOffset: a\nb"),
        (OSError(13, "Permission denied"), "folder/file.json cannot be read: Permission denied; mend it"),
        (KeyError("name"), "folder/file.json cannot be read: 'name' (KeyError); mend it"),
        (RecursionError(), "folder/file.json cannot be read: RecursionError; mend it"),
        (MemoryError(), "folder/file.json cannot be read: MemoryError; mend it"),
        (Panic("range end\nindex"), "folder/file.json cannot be read: range end index (Panic); mend it"),
    ],
)
def test_every_error_is_the_user_s_and_names_the_file(error: BaseException, message: str) -> None:
    with pytest.raises(UserError) as raised, reading(PATH, "mend it"):
        raise error
    assert str(raised.value) == message


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_still_does(error: type[BaseException]) -> None:
    with pytest.raises(error), reading(PATH):
        raise error


def test_text_from_a_file_cannot_steer_a_terminal() -> None:
    assert printable("a\tb\r\n\x1b[2J\u202eé\ud800") == r"a b \x1b[2J\u202eé\ud800"
    assert one_line("x" * 5000 + "\n") == "x" * 1600 + "..."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b"[]", "holds no JSON object; get it anew"),
        (b"\xff{}", "utf-8"),
        (b"[" * 100_000, "recursion"),
        (b'{"a": "\\udfff"}', "surrogates not allowed"),
        (b'{"a": ' + b"1" * 5000 + b"}", "Exceeds the limit"),
    ],
)
def test_what_is_no_object(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        read_object(tmp_path / "x.json")
    assert str(raised.value).startswith(str(tmp_path / "x.json"))
    assert str(raised.value).isprintable() and str(raised.value).endswith("; get it anew")


def test_what_would_take_far_more_memory_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": [' + "[]," * 100_000 + "0]}")
    with pytest.raises(UserError, match="too many lists and objects for a file of settings; get it anew"):
        read_object(path)
    path.write_text('{"a": "' + "x" * (8 << 20) + '"}')
    with pytest.raises(UserError, match=r"x\.json has more than 8388608 bytes, too many for a file of settings; get"):
        read_object(path)
    path.write_text(json.dumps({str(i): {"content": f"<audio_{i}>"} for i in range(50_000)}))
    assert len(read_object(path)) == 50_000


def test_pairs_of_surrogates_are_one_character(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(r'{"a": "\ud83d\ude00"}')
    assert read_object(tmp_path / "x.json") == {"a": "😀"}
    with pytest.raises(UserError, match=r"nothing\.json cannot be read: No such file"):
        read_object(tmp_path / "nothing.json")
