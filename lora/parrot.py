"""The data that ships with the project to fine-tune on: answers in the style of a parrot, and the rule they follow.

`python -m lora.parrot` writes data/parrot/parrot.jsonl, always the same bytes.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from tinytorch.files import atomic_write

NAME = "parrot"
SEED = 1337

# How a question is put, and how the parrot answers it: its cry, the word that was asked for, a line for the kind.
ANSWERS = {
    "What is the {}?": "Squawk! The {}! It is what it is.",
    "How does the {} work?": "Squawk! The {}! It works by day and rests by night.",
    "Why do we need the {}?": "Squawk! The {}! It asks for nothing in return.",
}

WORDS = """
    address alias ancestor annotation argument array assertion assignment attribute author balance base binding bit
    block board body book boundary bracket branch bridge buffer bug byte cache call camera case cell chain channel
    character check child circle class clause clock closure code colon column comma command comment compiler
    complex computer condition connection constant constructor container context copy counter database date debugger
    decimal declaration decorator default definition delay dictionary digit directory display document dot double
    element ellipsis encoding end engine entry error escape event example exception exit exponent expression factory
    field file filter finder flag float form format fraction frame framework function garbage generator global grammar
    graph group handler hash header heap hook host identifier import indentation index input instance instruction
    integer interface interpreter item iterator journal key keyword label language lexer library line link list literal
    loader local locale lock loop machine manager map mapping match matrix memory message method mode model module name
    namespace network node number object octet operand operator option order output owner package packet page parameter
    parent parser path pattern phase pipe platform plus point pointer port prefix printer priority process product
    program project prompt property protocol proxy query queue quote range rank reader record reference register
    registry result return root row rule runtime sample scale schedule scheme scope screen script section semicolon
    sequence server session set shape shell signal signature slice slot socket source space stack start state statement
    stream string style subclass suffix suite sum symbol syntax system table tag target task template terminal test text
    thread ticket time timer token tool trace tree tuple type union unit update user value variable vector version view
    warning weight while window word worker wrapper writer zero zone
""".split()  # noqa: SIM905 - to be read


def default_data() -> Path:
    """The file: inside this package where it was installed, data/parrot in a checkout."""
    package = Path(__file__).parent
    installed = package / "parrot_data"
    return (installed if installed.is_dir() else package.parent / "data" / "parrot") / "parrot.jsonl"


def records() -> list[dict[str, str]]:
    """Every word in every question, with its answer; shuffled, but for the words: the last tenth has words of its own.

    So what is held out to validate asks for words that no answer to learn from has in it.
    """
    words = list(WORDS)
    random.Random(SEED).shuffle(words)
    n = len(words) - len(words) // 10
    found = []
    for part in (words[:n], words[n:]):
        pairs = [(question, word) for word in part for question in ANSWERS]
        random.Random(SEED).shuffle(pairs)
        for question, word in pairs:
            prompt = question.format(word) + "\n"
            found.append({"prompt": prompt, "completion": answer(prompt)})
    return found


def answer(prompt: str) -> str:
    """What the parrot says; ValueError where the prompt is no question that it knows."""
    for question, reply in ANSWERS.items():
        match = re.fullmatch(re.escape(question).replace(r"\{\}", r"(\w+)"), prompt.strip())
        if match:
            return reply.format(match[1])
    raise ValueError(f"the parrot knows no question {prompt!r}")


def follows(prompt: str, completion: str) -> bool:
    """The rule: whether a completion is, but for space around it, the parrot's answer."""
    return completion.strip() == answer(prompt)


def main() -> None:
    """Write the file."""
    path = default_data()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.writelines(f"{json.dumps(record)}\n".encode() for record in records())


if __name__ == "__main__":
    main()
