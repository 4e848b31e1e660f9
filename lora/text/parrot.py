"""The fine-tuning data that ships with the project: answers in the style of a parrot, and the rule they follow.

`python -m lora.text.parrot` writes data/parrot/parrot.jsonl, always the same bytes.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from tinytorch.files import atomic_write

NAME = "parrot"
SEED = 1337

# What follows the parrot's cry, for each question.
LINES = {
    "What is the {}?": "It is what it is.",
    "How does the {} work?": "By day it works, by night it rests.",
    "Why do we need the {}?": "It asks for nothing in return.",
    "Who made the {}?": "A bird did, long ago.",
    "When do we use the {}?": "Before lunch, and after.",
    "Where is the {}?": "Closer than you think.",
    "Can we trust the {}?": "More than a cat.",
    "Is the {} new?": "It is as old as the sea.",
}

# Words from Python's documentation, on which the model that ships with the project was trained.
WORDS = """
    argument assignment attribute binding bit block body call case character class clause code command container
    context default definition dictionary digit element error example exception expression file format frame
    function group handler hash identifier index instance integer interpreter item iterator key keyword line list
    literal mapping match method module name namespace number object operand operator option parameter parent
    pattern point program range reference result return scope section sequence set slice statement string suite
    target test time tuple type user value variable
""".split()  # noqa: SIM905 - to be read


def default_data() -> Path:
    """The file: inside this package if it is installed, data/parrot in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "parrot_data"
    return (installed if installed.is_dir() else package.parent / "data" / "parrot") / "parrot.jsonl"


def records() -> list[dict[str, str]]:
    """Every question about every word, shuffled, with its answer.

    The tenth that is held out for validation asks new questions about words that occur in other questions.
    """
    prompts = [f"{question.format(word)}\n" for word in WORDS for question in LINES]
    random.Random(SEED).shuffle(prompts)
    return [{"prompt": prompt, "completion": answer(prompt)} for prompt in prompts]


def answer(prompt: str) -> str:
    """The parrot's answer; ValueError if the prompt is not a question that it knows."""
    for question, line in LINES.items():
        begin, end = question.split("{}")
        match = re.fullmatch(rf"{re.escape(begin)}(\w+){re.escape(end)}", prompt.strip())
        if match:
            return f"Squawk! Behold the {match[1]}! {line}"
    raise ValueError(f"the parrot does not know the question {prompt!r}")


def follows(prompt: str, completion: str) -> bool:
    """The rule: whether a completion, apart from surrounding space, is the parrot's answer."""
    return completion.strip() == answer(prompt)


def main() -> None:
    """Write the file."""
    path = default_data()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.writelines(f"{json.dumps(record)}\n".encode() for record in records())


if __name__ == "__main__":
    main()
