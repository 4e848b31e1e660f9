"""What there is to say of each operation: its names, its code by parts, its examples, what it is used by."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tinytorch
from tinytorch import ops
from tinytorch.engine.function import Function
from tinytorch.nn import functional
from tinytorch.ops.fused import FusedFunction

MODULES = (*[f"tinytorch.ops.{module.name}" for module in pkgutil.iter_modules(ops.__path__)], "tinytorch.quantization")
# Where a public name can be, as PyTorch calls the place: those of a Tensor are methods.
PLACES = {"tinytorch": tinytorch, "tinytorch.Tensor": tinytorch.Tensor, "tinytorch.nn.functional": functional}


class Example(NamedTuple):
    """A call of an operation, as it stands in its class: the code, what it calls, the names and shapes of its inputs.

    exception and note are those of a call that must raise.
    """

    code: str
    call: Callable[..., Any]
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    exception: type[Exception] | None = None
    note: str = ""


@functools.cache
def operations() -> tuple[Any, ...]:
    """Every operation, in the order of the files and of their lines. `_Names` are machinery."""
    return tuple(
        [
            value
            for name in MODULES
            for value in vars(importlib.import_module(name)).values()
            if inspect.isclass(value) and issubclass(value, Function) and value.__module__ == name
            if value is not FusedFunction and not value.__name__.startswith("_")
        ]
    )


def family_of(operation: Any) -> str:
    """The name of its file."""
    return str(operation.__module__).rpartition(".")[2]


def examples_of(operation: Any, table: str = "examples") -> list[Example]:
    """The examples of an operation, or its `errors`; ValueError where they are not as docs/operations.md has them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(operation))).body[0]
    assert isinstance(tree, ast.ClassDef)
    assigned = [node for node in tree.body if isinstance(node, (ast.Assign, ast.AnnAssign))]
    nodes = [node.value for node in assigned if _target(node) == table]
    found = []
    for entry, (call, *rest) in zip(
        [entry for node in nodes if isinstance(node, ast.Tuple) for entry in node.elts],
        vars(operation).get(table, ()),
        strict=True,
    ):
        if not (isinstance(entry, ast.Tuple) and isinstance(entry.elts[0], ast.Lambda)):
            raise ValueError(f"{operation.__name__}: `{table}` has something else than (lambda t, ...: ..., shapes)")
        shapes = [part for part in rest if isinstance(part, tuple)]
        exception, _, note = (*[part for part in rest if not isinstance(part, tuple)], None, None, "")[:3]
        _, *names = [argument.arg for argument in entry.elts[0].args.args]
        code = ast.unparse(_AsTorch().visit(entry.elts[0].body))
        found.append(Example(code, call, tuple(names), tuple(shapes), exception, note or ""))
    return found


def _target(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else ""


class _AsTorch(ast.NodeTransformer):
    """In an example, t stands for tinytorch or PyTorch: a reader writes torch."""

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("torch", node.ctx) if node.id == "t" else node


@functools.cache
def _public() -> dict[str, Any]:
    """The public functions, and the methods of a Tensor, by their full names; x[index] is a method too."""
    return {
        f"{place}.{name}": getattr(owner, name)
        for place, owner in PLACES.items()
        for name in dir(owner)
        if inspect.isfunction(getattr(owner, name)) and (not name.startswith("_") or name == "__getitem__")
    }


def _mentioned(code: types.CodeType) -> set[str]:
    """The names that a function mentions, in functions within it too."""
    inner = [_mentioned(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*inner)


@functools.cache
def names_of(operation: Any) -> tuple[str, ...]:
    """Its public names: functions in its file that mention the class, and what its examples call.

    Where there are none, those that get it from its file, or call a function there that mentions it. An operation
    without any is a part of others.
    """
    file = importlib.import_module(operation.__module__)
    functions = [(name, value) for name, value in vars(file).items() if inspect.isfunction(value)]
    near = {operation.__name__, *[name for name, value in functions if _mentions(value, operation)]}
    called = {name for example in examples_of(operation) for name in _called(example)}
    own = [name for name, function in _public().items() if name in called or _mentions(function, operation)]
    return tuple(own) or tuple(
        [
            name
            for name, function in _public().items()
            for mentioned in near & _mentioned(function.__code__)
            if function.__globals__.get(mentioned) is vars(file)[mentioned] or file in function.__globals__.values()
        ]
    )


def _mentions(function: Any, operation: Any) -> bool:
    return function.__module__ == operation.__module__ and operation.__name__ in _mentioned(function.__code__)


def _called(example: Example) -> Iterator[str]:
    """The function, or the method of one of its inputs, whose result an example is."""
    node = ast.parse(example.code, mode="eval").body
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) in example.names:
        yield "tinytorch.Tensor.__getitem__"
    if isinstance(node, ast.Call):
        owner, _, name = ast.unparse(node.func).rpartition(".")
        if owner.startswith("torch"):
            yield f"tiny{owner}.{name}"
        elif owner in example.names:
            yield f"tinytorch.Tensor.{name}"


def users_of(operation: Any) -> list[Any]:
    """The operations whose class applies it."""
    word = f" {operation.__name__}.apply("
    return [other for other in operations() if other is not operation and word in _code_of(other)]


_code_of = functools.cache(inspect.getsource)


def source_of(operation: Any, part: str) -> str:
    """The code of its composite, forward or backward, which may be inherited; empty where it has none."""
    method = getattr(operation, part)
    return "" if method is None else textwrap.dedent(inspect.getsource(method))


def parent_of(operation: Any) -> Any:
    """The operation that it inherits from, or None."""
    return next((base for base in operation.__mro__[1:] if base in operations()), None)
