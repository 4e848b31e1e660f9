"""The pages: one of each subject, of a function of the user's, and the list that shows a path through them."""

from __future__ import annotations

import dataclasses
import html
import itertools
import string
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from ...cli.pages import styled
from ...files import atomic_write
from ..subjects import Sizes, in_float64, trace_of
from ..trace import Trace
from .assembly import assembled, part
from .export import MOST, drawn, exported, operations_of, size_of

SIZES_OF_HEADS = (1, 2, 3, 4, 8, 16, 32)  # that the slider of the page on attention goes through
CHOICES = {"causal": "causal mask", "D": "D", "fused": "fused operations in one step"}


class Chapter(NamedTuple):
    """What a subject's page is about, and the short texts beside it."""

    title: str
    about: str
    texts: tuple[str, ...]
    causal: bool = False  # whether there is a mask to switch


# In the order in which they build on one another.
PATH = {
    "linear": Chapter("A linear layer", "A product, a bias that every row shares, and the first sums of a backward.",
                      ("sums", "order")),
    "softmax": Chapter("Softmax", "Weights that add up to one, and a gradient that takes its own mean off.",
                       ("jacobian",)),
    "cross_entropy": Chapter("Cross-entropy", "The loss of a classifier: softmax and logarithm leave p minus one.",
                             ("crossentropy", "jacobian")),
    "attention": Chapter("Attention", "Scores, weights, values: from the loss back to q, k and v.",
                         ("order", "jacobian", "masked", "scale"), causal=True),
    "embedding": Chapter("An embedding", "Rows of a table, looked up: what is used twice gets the sum of both "
                         "gradients.", ("sums", "order")),
    "gelu": Chapter("Gelu", "A nonlinearity, one number at a time, and its slope.", ("gelu",)),
    "layernorm": Chapter("Layer norm", "Mean and spread taken off: a gradient that knows what cannot matter.",
                         ("norm", "order")),
    "head": Chapter("A head with its projections", "Attention as a GPT has it: x goes into q, k and v at once.",
                    ("order", "jacobian", "masked", "scale"), causal=True),
    "lora": Chapter("LoRA", "A frozen weight with a low-rank adapter beside it, at its start.", ("lora", "frozen")),
    "block": Chapter("A block of a transformer", "All of it: norms, attention, an MLP, and two residual paths.",
                     ("order", "norm", "masked", "scale", "sums"), causal=True),
}  # fmt: skip


def page_of(subject: str, sizes: Sizes) -> str:
    """The page of a subject, or of "module:function": HTML that needs nothing else.

    What can be chosen in it (mask, D, whole operations in place of their steps) has been traced for each choice.
    Subjects are computed in float64, a user's function in what it makes itself.
    """
    chapter = PATH.get(subject, Chapter(subject, "A function of your own.", ("order",)))
    choices = _choices(subject, sizes, chapter)
    traces = _traces(subject, sizes, choices)
    while choices and sum(size_of(trace) for _, trace in traces) > MOST:  # what is asked for counts more
        del choices[max(choices, key=lambda name: len(choices[name]))]
        traces = _traces(subject, sizes, choices)
    operations = {name: words for _, trace in traces for name, words in operations_of(trace).items()}
    asked = {"causal": sizes.causal, "D": sizes.D, "fused": not sizes.unfold}
    first = next(n for n, (options, _) in enumerate(traces) if all(asked[name] == x for name, x in options.items()))
    data: dict[str, Any] = {
        "variants": [{"options": options, "trace": exported(trace)} for options, trace in traces],
        "first": first,
        "choices": CHOICES,
        "operations": operations,
    }
    used = {step["operation"] for variant in data["variants"] for step in variant["trace"]["steps"]}
    return assembled(chapter.title, chapter.about, data, [drawn(trace) for _, trace in traces], chapter.texts, used)


def _choices(subject: str, sizes: Sizes, chapter: Chapter) -> dict[str, list[Any]]:
    """What can be chosen on a page."""
    choices: dict[str, list[Any]] = {}
    if chapter.causal:
        choices["causal"] = [False, True]
    if subject == "attention":
        choices["D"] = sorted({*SIZES_OF_HEADS, sizes.D})
    if subject in PATH and subject not in ("attention", "softmax", "embedding", "lora"):
        choices["fused"] = [False, True]
    return choices


def _traces(subject: str, sizes: Sizes, choices: Mapping[str, Sequence[Any]]) -> list[tuple[dict[str, Any], Trace]]:
    """A trace for each combination of choices."""
    found = []
    dtype: AbstractContextManager[None] = in_float64() if subject in PATH else nullcontext()
    with dtype:
        for values in itertools.product(*choices.values()):
            options = dict(zip(choices, values, strict=True))
            fused, causal = options.get("fused", not sizes.unfold), options.get("causal", sizes.causal)
            size = dataclasses.replace(sizes, D=options.get("D", sizes.D), causal=causal, unfold=not fused)
            found.append((options, trace_of(subject, size)))
    return found


def write_page(subject: str, sizes: Sizes, out: Path) -> None:
    """Write the page of a subject."""
    with atomic_write(out) as file:
        file.write(page_of(subject, sizes).encode())


def write_site(folder: Path) -> list[Path]:
    """Write all pages into a folder, and an index.html that shows a path through them; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    items = []
    for subject, chapter in PATH.items():
        name = f"{subject}.html"
        write_page(subject, Sizes(causal=chapter.causal), folder / name)
        files.append(folder / name)
        items.append(f'<li><a href="{name}">{html.escape(chapter.title)}</a><br>{html.escape(chapter.about)}</li>')
    text = string.Template(part("index.html")).substitute(style=styled(part("page.css")), items="\n".join(items))
    with atomic_write(folder / "index.html") as file:
        file.write(text.encode())
    return [*files, folder / "index.html"]
