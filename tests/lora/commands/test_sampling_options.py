"""How a token is drawn: the command line, over the model's generation_config.json, over what suits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora.commands.sampling_options import SamplingOptions
from tinytorch.cli.errors import UserError
from tinytorch.generation.sampling import Sampling

TALK = Sampling(temperature=0.2, top_p=0.9)
QWEN = {"do_sample": True, "temperature": 0.6, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}


@pytest.mark.parametrize(
    ("stored", "options", "chat", "expected"),
    [
        ({}, {}, False, Sampling()),
        ({}, {}, True, TALK),
        ({"repetition_penalty": 1.1}, {}, True, Sampling(temperature=0.2, top_p=0.9, repetition_penalty=1.1)),
        ({}, {"temperature": 0.4}, True, Sampling(temperature=0.4, top_p=0.9)),
        ({"temperature": 0.3}, {}, True, Sampling(temperature=0.3)),
        ({"temperature": None, "top_p": None}, {}, True, TALK),  # transformers may write them so
        (QWEN, {}, False, Sampling(temperature=0.6, top_p=0.8, top_k=20, repetition_penalty=1.05)),
        (QWEN, {"top_k": 0, "top_p": 1.0}, True, Sampling(0.6, 0, 1.0, repetition_penalty=1.05)),
        ({"do_sample": True, "temperature": 0.6}, {}, True, Sampling(temperature=0.6, top_k=50)),  # as transformers
        ({"do_sample": True}, {}, True, Sampling(top_k=50)),
        ({"do_sample": True, "top_k": 0}, {}, True, Sampling(top_k=0)),
        ({"do_sample": False, "temperature": 0.0}, {}, True, Sampling(greedy=True)),
        ({"do_sample": False}, {"temperature": 0.4}, False, Sampling(temperature=0.4)),
        (QWEN, {"greedy": True}, True, Sampling(greedy=True, repetition_penalty=1.05)),
    ],
)
def test_the_options_over_the_folder(
    tmp_path: Path, stored: dict[str, Any], options: dict[str, Any], chat: bool, expected: Sampling
) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 1, **stored}))
    assert SamplingOptions(**options).over(tmp_path, chat) == expected


def test_a_folder_without_the_file(tmp_path: Path) -> None:
    assert SamplingOptions().over(tmp_path, chat=True) == TALK


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"top_k": 2.5}, "top_k is 2.5: it must be an integer"),
        ({"top_k": True}, "top_k is True: it must be an integer"),
        ({"do_sample": 1}, "do_sample is 1: it must be true or false"),
        ({"top_p": 7.0}, r"top_p is 7.0: it must be in \(0, 1\]"),
        ({"temperature": 0}, "temperature is 0: it must be positive"),
    ],
)
def test_what_is_wrong_with_the_folder(tmp_path: Path, stored: dict[str, Any], message: str) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=f"generation_config.json: {message}"):
        SamplingOptions().over(tmp_path, chat=True)


def test_what_is_wrong_with_an_option() -> None:
    with pytest.raises(UserError, match="top_p is 2"):
        SamplingOptions(top_p=2.0)
