"""What `why` answers with: a number, the sections that it is the sum of, and how they are printed."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field
from typing import Any

from .notebook import preformatted
from .steps import Step

WIDTH = 80
SHOWN = 12  # terms of a section; the others are summed up


@dataclass
class Term:
    """A product of numbers, each with its name: an empty one where it has none."""

    names: tuple[str, ...]
    factors: tuple[float, ...]
    deeper: Explanation | None = None  # of the first factor
    known_as: str = ""  # the element that the last factor is, of a product's other side

    @property
    def product(self) -> float:
        """What it adds to the sum."""
        return math.prod(self.factors)


@dataclass
class Section:
    """What goes through one step."""

    step: Step
    place: int  # of the number explained, among the inputs of the step; -1 where it is an output
    terms: list[Term]
    note: str = ""
    is_sum: bool = True  # whether the terms add up to the number; else they are what the formula is given

    @property
    def total(self) -> float:
        """The sum of its terms."""
        return math.fsum([term.product for term in self.terms])


@dataclass
class Explanation:
    """A number, and the sections that it is the sum of. Printed, it is text for 80 columns."""

    name: str
    number: float
    about: list[str]  # what it is
    sections: list[Section] = field(default_factory=list)
    note: str = ""

    @property
    def terms(self) -> list[Term]:
        """Those of all sections."""
        return [term for section in self.sections for term in section.terms]

    @property
    def is_sum(self) -> bool:
        """Whether the number is the sum of the terms."""
        return bool(self.sections) and all(section.is_sum for section in self.sections)

    @property
    def total(self) -> float:
        """The sum of all terms; the number itself where it is no sum."""
        return math.fsum([section.total for section in self.sections]) if self.is_sum else self.number

    @property
    def text(self) -> str:
        """As text to read, or to paste into a lesson."""
        lines = [*_wrapped(f"{self.name} = {number_text(self.number)}", "")]
        for line in self.about:
            lines += _wrapped(line, "    ")
        return "\n".join([*lines, *_body(self, "", set())])

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return preformatted(self.text)


def equation(step: Step) -> str:
    """ "p = softmax(scores)" """
    return f"{', '.join([output.name for output in step.outputs])} = {step.call}"


def number_text(number: float) -> str:
    """Six digits; minus zero is zero."""
    return f"{number + 0.0:.6g}"


def _body(found: Explanation, indent: str, seen: set[Any]) -> list[str]:
    """The sections and the note. `seen` are the operations whose formula has been shown."""
    lines: list[str] = []
    for section in found.sections:
        lines += ["", *_section(section, indent, seen)]
    if len(found.sections) > 1 and found.is_sum:
        parts = " + ".join([number_text(section.total) for section in found.sections])
        lines += ["", *_wrapped(f"in all {parts} = {number_text(found.total)}", indent)]
    return [*lines, "", *_wrapped(found.note, indent)] if found.note else lines


def _section(section: Section, indent: str, seen: set[Any]) -> list[str]:
    step, inner = section.step, indent + "    "
    lines = _wrapped(equation(step) if section.place < 0 else f"through {equation(step)}", indent)
    said = step.operation, section.place < 0
    if said not in seen:
        seen.add(said)
        for text in (step.formula, *(step.derivation.splitlines() if section.place >= 0 else ())):
            lines += _wrapped(text, inner + "| ")
    shown = section.terms
    if len(shown) > SHOWN:
        least = sorted([abs(term.product) for term in shown])[-SHOWN]
        shown = [term for term in shown if abs(term.product) >= least][:SHOWN]
    names = [" x ".join([name for name in term.names if name]) for term in shown]
    width = max(map(len, names), default=0)
    numbers = [_numbers(term) for term in shown]
    fits = len(inner) + width + 3 + max(map(len, numbers), default=0) <= WIDTH
    for term, name, text in zip(shown, names, numbers, strict=True):
        lines += [f"{inner}{name.ljust(width)} = {text}"] if fits else [f"{inner}{name}", f"{inner}    = {text}"]
        if term.deeper is not None:
            deeper = _body(term.deeper, inner + "    ", seen)
            lines += [line for line in deeper if line] if len(deeper) < 3 else deeper
    rest = len(section.terms) - len(shown)
    if rest:
        more = section.total - math.fsum([term.product for term in shown])
        lines.append(f"{inner}and {rest} smaller ones" + (f", together {number_text(more)}" if section.is_sum else ""))
    if section.is_sum and len(section.terms) > 1:
        lines.append(f"{inner}sum of {len(section.terms)} terms = {number_text(section.total)}")
    return [*lines, *_wrapped(section.note, inner)] if section.note else lines


def _numbers(term: Term) -> str:
    """ "2 x 0.5 (k[0,0]) = 1" """
    text = " x ".join([number_text(factor) for factor in term.factors])
    text += f" ({term.known_as})" if term.known_as else ""
    return text if len(term.factors) == 1 else f"{text} = {number_text(term.product)}"


def _wrapped(text: str, indent: str) -> list[str]:
    """Lines of 80 columns, with more where they are indented far."""
    return textwrap.wrap(
        text,
        max(WIDTH, len(indent) + 40),
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
