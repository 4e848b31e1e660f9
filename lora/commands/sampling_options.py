"""Sampling settings: from the command line or, if it has none, from the model's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora.model.folders import read_settings
from tinytorch.cli.errors import UserError
from tinytorch.generation.sampling import Sampling

FILE = "generation_config.json"
RANDOM = ("temperature", "top_k", "top_p", "min_p")  # settings that only matter when drawing at random
CONVERSATION = {"temperature": 0.2, "top_p": 0.9}  # above these, small chat models talk nonsense
TRANSFORMERS_TOP_K = 50  # transformers' default if do_sample is true and top_k is missing


@dataclass(frozen=True)
class SamplingOptions:
    """Settings of `Sampling`; None for those to take from the model's folder."""

    temperature: float | None = None
    """Divides the logits: below 1 it makes likely tokens likelier still, above 1 less so."""

    top_k: int | None = None
    """Draw from the k likeliest tokens only; 0 for all."""

    top_p: float | None = None
    """Draw from the fewest tokens whose probabilities add up to at least this, in (0, 1]; 1 for all."""

    min_p: float | None = None
    """Draw from the tokens at least this times as likely as the likeliest, in [0, 1]; 0 for all."""

    repetition_penalty: float | None = None
    """Above 1, tokens that are already in the text become less likely."""

    greedy: bool = False
    """Take the likeliest token; temperature, top-k, top-p and min-p then have no effect."""

    def __post_init__(self) -> None:
        Sampling(**self._given())  # which checks the values

    def over(self, folder: Path, chat: bool) -> Sampling:
        """These options over those of a model's folder; `chat` says whether messages are answered."""
        stored = _stored(folder)
        given = self._given()
        sampled = stored.pop("do_sample", None)
        greedy = self.greedy or (sampled is False and not any(name in given for name in RANDOM))
        if sampled:
            stored.setdefault("top_k", TRANSFORMERS_TOP_K)
        elif chat and not any(name in stored for name in RANDOM):
            stored.update(CONVERSATION)
        values = {**stored, **given, "greedy": greedy}
        if greedy:  # a file may then have a temperature of 0
            values = {name: value for name, value in values.items() if name not in RANDOM}
        try:
            return Sampling(**values)
        except UserError as error:
            raise UserError(f"{folder / FILE}: {error}") from None

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}


def _stored(folder: Path) -> dict[str, Any]:
    """The settings with these names in the folder's file, if it has one."""
    path, found = folder / FILE, {}
    settings = read_settings(path)
    for name in ("do_sample", *RANDOM, "repetition_penalty"):
        value = settings.get(name)
        if value is None:
            continue
        kind = {"do_sample": bool, "top_k": int}.get(name, (int, float))
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            rule = {"do_sample": "true or false", "top_k": "an integer"}.get(name, "a number")
            raise UserError(f"{path}: {name} is {value!r}: it must be {rule}")
        found[name] = value
    return found
