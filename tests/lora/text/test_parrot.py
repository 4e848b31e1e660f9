from __future__ import annotations

import json

import pytest

from lora.text import parrot
from lora.text.data import split


def test_the_file_is_what_the_program_writes() -> None:
    lines = parrot.default_data().read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == parrot.records()
    assert len(lines) >= 500


def test_the_rule() -> None:
    for record in parrot.records():
        assert parrot.follows(record["prompt"], record["completion"])
    prompt = "Who made the tuple?\n"
    assert parrot.answer(prompt) == "Squawk! Behold the tuple! A bird did, long ago."
    assert parrot.follows(prompt, "\nSquawk! Behold the tuple! A bird did, long ago. ")
    assert not parrot.follows(prompt, "Squawk! Behold the list! A bird did, long ago.")
    assert not parrot.follows(prompt, "Squawk! Behold the tuple! Closer than you think.")
    with pytest.raises(ValueError, match="does not know the question"):
        parrot.answer("Polly?")


def test_what_is_held_out_is_not_in_the_rest() -> None:
    train, held_out = split(parrot.records(), 1337)
    assert not {record["prompt"] for record in train} & {record["prompt"] for record in held_out}
    asked = " ".join(record["prompt"] for record in train)
    known = [record["prompt"] for record in held_out if "new" not in record["prompt"]]
    assert len(held_out) == 64 and len(known) > 50
    for prompt in known:
        assert prompt.split()[-1].strip("?") in asked
