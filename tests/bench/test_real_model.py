from __future__ import annotations

import pytest

from bench import real_model


def test_two_hundred_instructions_with_their_answers() -> None:
    records = real_model.instructions()
    answers = {record["instruction"]: record["output"] for record in records}
    assert len(answers) == len(records) == 200
    assert records == real_model.instructions()
    for asked, answer in answers.items():
        question, _, words = asked.partition(": ")
        if question == "Write this word in capital letters":
            assert answer == words.upper()
        elif question == "Put these words in the order of the alphabet":
            assert answer.split(", ") == sorted(words.split(", "))
    assert not set(real_model.QUESTIONS) & answers.keys()  # what is asked at the end was not taught


def test_it_says_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["real_model"])
    monkeypatch.setattr(real_model, "NEEDED", ("torch_of_tomorrow", "json", "gguf_of_tomorrow"))
    assert real_model.main() == 2
    message = "error: this needs torch_of_tomorrow, gguf_of_tomorrow: pip install torch_of_tomorrow gguf_of_tomorrow\n"
    assert capsys.readouterr().err == message
