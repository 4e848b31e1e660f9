from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tinytorch.cli.output import run_console


def test_a_reader_that_goes_away_is_no_reason_to_end(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        console = run_console()
        console.print("read")
        assert os.read(reader, 10) == b"read\n"
        os.close(reader)
        for _ in range(3):
            console.print("text")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_nor_is_a_full_disk(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        run_console().print("text")
    assert capfd.readouterr() == ("", "")
