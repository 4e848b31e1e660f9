"""A page for each operation, and their index: what its class says of itself, and numbers computed while it is written.

A page is Markdown. All of it comes from the class: the formula, the derivation, the code, the examples; where an
example does not run, or its gradient is not the derivative, there is no page but an error.
"""

from __future__ import annotations

import importlib
import inspect
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import tinytorch as torch
from tinytorch.gradcheck import gradcheck, numeric_gradient
from tinytorch.study import exercises
from tinytorch.study.derivations import derivation_of, formula_of
from tinytorch.study.page.assembly import part
from tinytorch.study.page.mathml import formulas
from tinytorch.study.page.pages import PATH
from tinytorch.study.subjects import Sizes, trace_of

from .docstrings import as_markdown
from .operations import MODULES, Example, examples_of, family_of, names_of, operations, parent_of, source_of, users_of

ROOT = Path(__file__).parents[2]
# The families that a student meets first; the others follow in the order of their files.
FIRST = ("arithmetic", "elementwise", "activation", "reduction", "linalg", "softmax", "loss", "soft_loss",
         "normalization", "attention", "embedding")  # fmt: skip
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64")


def pages() -> dict[str, str]:
    """Each page by its file: "softmax/Softmax.md" for an operation, "softmax/index.md" for its family, "index.md"."""
    unknown = {*formulas(part("formulas.txt")), *_exercises()} - {operation.__name__ for operation in operations()}
    unknown -= {"Picked", "Function"}
    if unknown:
        raise ValueError(f"no operation is called {', '.join(sorted(unknown))}: formulas.txt or an exercise names it")
    found = {f"{family_of(operation)}/{operation.__name__}.md": page_of(operation) for operation in operations()}
    names = [module.rpartition(".")[2] for module in MODULES]
    families = [name for name in (*FIRST, *sorted(set(names) - set(FIRST))) if _members(name)]
    found |= {f"{family}/index.md": _family(family) for family in families}
    return found | {"index.md": _index(families)}


def page_of(operation: Any) -> str:
    """The page of an operation. ValueError where the class does not say what a page needs."""
    name, formula = operation.__name__, formula_of(operation)
    examples = examples_of(operation)
    if not formula or not examples:
        raise ValueError(f"{name} has no docstring or no examples: see docs/operations.md")
    told = as_markdown(inspect.cleandoc(operation.__doc__).partition("\n\n")[2])
    lines = [f"# {name}", _text(formula), told, _names(operation), _links(operation)]
    shown = formulas(part("formulas.txt")).get(name, [])
    composite, backward = source_of(operation, "composite"), operation.backward is not None
    lines += ["## Forward", *shown[:1]]
    if composite:
        lines += ["In elementary operations, it is", _python(composite)]
    lines += ["On arrays:" if composite else "", _python(source_of(operation, "forward"))]
    if backward:
        lines += ["## Backward", *shown[1:], _text(derivation_of(operation)), _python(source_of(operation, "backward"))]
    lines += ["## In numbers", _session(operation, examples[0])]
    if backward:
        lines += ["## Is it right?", _checked(operation, examples)]
    dtypes = _dtypes(operation, examples[0])
    lines += ["## Dtypes", dtypes] if dtypes else []
    errors = examples_of(operation, "errors")
    if errors:
        lines += ["## What it refuses", _python("\n\n".join([_refusal(operation, error) for error in errors]))]
    return "\n\n".join([line for line in lines if line]) + "\n"


def _page(operation: Any) -> str:
    """A link to the page of an operation, from that of another."""
    return f"[{operation.__name__}](../{family_of(operation)}/{operation.__name__}.md)"


def _text(text: str) -> str:
    return f"```text\n{text}\n```" if text else ""


def _python(code: str) -> str:
    return f"```python\n{code.strip()}\n```" if code else ""


def reference(name: str) -> str:
    """The name as a link to where it is documented."""
    kind = "meth" if name.startswith("tinytorch.Tensor.") else "func"
    return "{py:" + kind + f"}}`{name.removeprefix('tinytorch.').replace('Tensor.__getitem__', 'x[index]')} <{name}>`"


def _names(operation: Any) -> str:
    names = names_of(operation)
    if names:
        return f"As {', '.join([reference(name) for name in names])}."
    users = [_page(user) for user in users_of(operation)]
    return f"A part of {', '.join(users)}." if users else "It has no name of its own: others run it where they need it."


def _links(operation: Any) -> str:
    """Its file, and where a student works with it."""
    name = operation.__name__
    file = operation.__module__.replace(".", "/") + ".py"
    line = inspect.getsourcelines(operation)[1]
    links = [f"Source: [`{file}`](index.md#source), line {line}."]
    parent = parent_of(operation)
    if parent is not None:
        links.append(f"It inherits from {_page(parent)}.")
    subjects = [f'<a href="../../study/{s}.html">{PATH[s].title}</a>' for s in _subjects().get(name, ())]
    if subjects:
        links.append(f"Step through it: {', '.join(subjects)}.")
    tasks = [f"`python -m tinytorch.study exercise {task}`" for task in _exercises().get(name, ())]
    if tasks:
        links.append(f"[Write its backward yourself](../../docs/exercises.md): {', '.join(tasks)}.")
    return " ".join(links)


@cache
def _subjects() -> dict[str, list[str]]:
    """The study pages on which an operation is a step, by the name of the operation."""
    found: dict[str, list[str]] = {}
    for subject, chapter in PATH.items():
        trace = trace_of(subject, Sizes(causal=chapter.causal, unfold=False))
        for name in {step.operation.__name__ for step in trace.steps}:
            found.setdefault(name, []).append(subject)
    return found


@cache
def _exercises() -> dict[str, list[str]]:
    """The exercises whose solution is an operation, by its name."""
    found: dict[str, list[str]] = {}
    for name in exercises.names():
        for solution in exercises.find(name).solution:
            if isinstance(solution, type) and solution.__module__ in MODULES:
                found.setdefault(solution.__name__, []).append(name)
    return found


# ---------------------------------------------------------------------- computed while the page is written


def _drawn(key: str, shapes: Sequence[Any], decimals: int | None = None) -> list[Any]:
    """Normally distributed numbers, the same ones for a key each time."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    drawn = [rng.standard_normal(tuple(shape)) for shape in shapes]
    return drawn if decimals is None else [np.round(array, decimals) for array in drawn]


def _run(operation: Any, example: Example, *inputs: Any) -> Any:
    """What an example gives; an error says which one it was."""
    try:
        return example.call(torch, *inputs)
    except Exception as error:
        raise ValueError(f"{operation.__name__}: the example {example.code} does not run: {error}") from error


def _listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _session(operation: Any, example: Example) -> str:
    """An example as typed into Python: its inputs, the result, and the gradients for a g that is drawn."""
    arrays = _drawn(operation.__name__, example.shapes, 2)
    inputs = [torch.tensor(array, dtype=torch.float32, requires_grad=True) for array in arrays]
    result = _run(operation, example, *inputs)
    lines = [
        f">>> {name} = {_literal(array, len(name) + 3, ', requires_grad=True')}"
        for name, array in zip(example.names, arrays, strict=True)
    ]
    lines += [f">>> y = {example.code}", ">>> y", _shown(result)]
    outputs = [(f"y[{n}]", y) for n, y in enumerate(_listed(result)) if y.requires_grad]
    if not torch.is_tensor(result) and len(outputs) == 1:
        lines += [f">>> y = {outputs[0][0]}"]
    if outputs and inputs:
        drawn = _drawn("g" + operation.__name__, [y.shape for _, y in outputs], 2)
        gs = [torch.tensor(g, dtype=y.dtype) for g, (_, y) in zip(drawn, outputs, strict=True)]
        gradients = torch.autograd.grad([y for _, y in outputs], inputs, gs, allow_unused=True)
        letter = "g" if "g" not in example.names else "a"
        names = [f"{letter}{n}" if len(gs) > 1 else letter for n in range(len(gs))]
        lines += [f">>> {name} = {_literal(g, len(name) + 3)}" for name, g in zip(names, drawn, strict=True)]
        left = ", ".join([f"d{name}" for name in example.names])
        given = "y" if len(gs) == 1 else f"({', '.join([name for name, _ in outputs])})"
        unused = ", allow_unused=True" if None in gradients else ""
        lines.append(
            f">>> {left if len(inputs) > 1 else f'({left},)'} = torch.autograd.grad({given}, "
            f"{_tuple(example.names)}, {_tuple(names)}{unused})"
        )
        for name, gradient in zip(example.names, gradients, strict=True):
            lines += [f">>> d{name}", *([] if gradient is None else [repr(gradient)])]
    return _python("\n".join(lines))


def _tuple(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def _literal(array: Any, indent: int, rest: str = "") -> str:
    """A call of torch.tensor as Python's prompt shows it, with dots before its further lines."""
    numbers = np.array2string(array, separator=", ", threshold=10**6, max_line_width=90) + rest
    return f"torch.tensor({numbers})".replace("\n", "\n... " + " " * (indent + len("torch.tensor(")))


def _shown(result: Any) -> str:
    if torch.is_tensor(result):
        return repr(result)
    return "(" + ",\n ".join([repr(y).replace("\n", "\n ") for y in _listed(result)]) + ")"


def _checked(operation: Any, examples: Sequence[Example]) -> str:
    """A table: each example, with the largest distance of its gradient from finite differences in float64."""
    rows = ["| example | inputs | result | largest difference |", "|---|---|---|---:|"]
    for example in examples:
        inputs = tuple([torch.tensor(a, requires_grad=True) for a in _drawn(operation.__name__, example.shapes)])
        outputs = _listed(_run(operation, example, *inputs))
        gradcheck(lambda *xs, example=example: example.call(torch, *xs), inputs, rtol=1e-5, atol=1e-7)
        shapes = ", ".join([f"{name} {shape}" for name, shape in zip(example.names, example.shapes, strict=True)])
        results = ", ".join([str(tuple(y.shape)) for y in outputs])
        rows.append(f"| {_code(example.code)} | {shapes} | {results} | {_difference(example, inputs):.0e} |")
    said = (
        "When this page was made, `gradcheck` has compared each of these gradients with finite differences in float64, "
        "element by element. The last column is for one random gradient of the result:"
    )
    return said + "\n\n" + "\n".join(rows)


def _difference(example: Example, inputs: tuple[Any, ...]) -> float:
    """How far the gradient of sum(c y), c random, is from finite differences, in its worst element."""

    def loss(*xs: Any) -> Any:
        with torch.enable_grad():  # some examples differentiate
            ys = [y for y in _listed(example.call(torch, *[x.requires_grad_() for x in xs])) if y.requires_grad]
            cs = _drawn("c", [y.shape for y in ys])
            return sum([(y * torch.tensor(c, dtype=y.dtype)).sum() for y, c in zip(ys, cs, strict=True)])

    exact = torch.autograd.grad(loss(*inputs), inputs, materialize_grads=True)
    numeric = _listed(numeric_gradient(lambda *xs: loss(*xs).detach(), inputs))
    return max([float(np.abs(a.array - np.asarray(b)).max(initial=0)) for a, b in zip(exact, numeric, strict=True)])


def _dtypes(operation: Any, example: Example) -> str:
    """What an example gives for inputs of each dtype, or which error."""
    rows = ["| inputs | result |", "|---|---|"]
    for name in DTYPES if example.shapes else ():
        dtype = getattr(torch, name)
        inputs = [torch.tensor(array).to(dtype) for array in _drawn(operation.__name__, example.shapes)]
        inputs = [x.requires_grad_() if x.is_floating_point() else x for x in inputs]
        try:
            result = ", ".join(dict.fromkeys([str(y.dtype) for y in _listed(example.call(torch, *inputs))]))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            result = type(error).__name__
        rows.append(f"| {name} | {result} |")
    return f"Of {_code(example.code)}:\n\n" + "\n".join(rows) if example.shapes else ""


def _code(text: str) -> str:
    """Code in a cell of a table."""
    return f"`{text}`".replace("|", "\\|")


def _refusal(operation: Any, error: Example) -> str:
    """A call, and the error that it raises."""
    inputs = [torch.tensor(a, dtype=torch.float32) for a in _drawn(operation.__name__, error.shapes)]
    drawn = [f"torch.randn({', '.join(map(str, shape))})" for shape in error.shapes]
    lines = [f">>> {', '.join(error.names)} = {', '.join(drawn)}"] if drawn else []
    if error.note:
        lines.append(f">>> # PyTorch differs: {error.note}")
    try:
        error.call(torch, *[x.requires_grad_() for x in inputs])
    except Exception as raised:
        return "\n".join([*lines, f">>> {error.code}", f"{type(raised).__name__}: {' '.join(str(raised).split())}"])
    raise ValueError(f"{operation.__name__}: {error.code} raises nothing, though `errors` lists it")


# ---------------------------------------------------------------------- the index


def _members(family: str) -> list[Any]:
    return [operation for operation in operations() if family_of(operation) == family]


def _about(family: str) -> str:
    """The docstring of a family's file, as Markdown: examples and formulas stay as they are."""
    module = next(module for module in MODULES if module.endswith(f".{family}"))
    return as_markdown(importlib.import_module(module).__doc__ or "")


def _rows(family: str, folder: str) -> str:
    rows = ["| operation | |", "|---|---|"]
    for operation in _members(family):
        rows.append(f"| [{operation.__name__}]({folder}{operation.__name__}.md) | {_code(formula_of(operation))} |")
    return "\n".join(rows)


def _family(family: str) -> str:
    file = f"tinytorch/ops/{family}.py" if (ROOT / f"tinytorch/ops/{family}.py").exists() else f"tinytorch/{family}.py"
    names = [operation.__name__ for operation in _members(family)]
    toctree = "\n".join(["```{toctree}", ":hidden:", "", *names, "```"])
    source = f"```{{literalinclude}} ../../{file}\n:language: python\n:linenos:\n```"
    title = family.replace("_", " ").capitalize()
    parts = [f"# {title}", _about(family), _rows(family, ""), toctree, "## Source", f"`{file}`", source]
    return "\n\n".join(parts) + "\n"


def _index(families: Sequence[str]) -> str:
    """All operations by family."""
    count = len(operations())
    lines = [
        "# Every operation",
        f"The {count} operations, by family. Each has a page with its formula, its derivation, the code of its forward "
        "and backward, and an example in numbers; a family's page has the whole file. The pages are made from the "
        "code, and their numbers are computed when the site is built. [How to add an operation](../docs/operations.md) "
        "says how the code is written.",
        "\n".join(["```{toctree}", ":hidden:", "", *[f"{family}/index" for family in families], "```"]),
    ]
    for family in families:
        title = family.replace("_", " ").capitalize()
        lines += [f"## [{title}]({family}/index.md)", _about(family).partition("\n\n")[0], _rows(family, f"{family}/")]
    return "\n\n".join(lines) + "\n"
