"""Small faults that can be planted in a Python file: what a slip of the pen could have written in its place."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.mutation.names import assigned_names, innermost

_TURNED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OTHER_OPERATOR: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_PAIRS = [
    ("min", "max"),
    ("amin", "amax"),
    ("minimum", "maximum"),
    ("any", "all"),
    ("floor", "ceil"),
    ("argmin", "argmax"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
    ("sin", "cos"),
]
_OTHER_NAME = {**dict(_PAIRS), **{b: a for a, b in _PAIRS}}
_EXAMPLES = "examples"  # of an operation: what its tests run, not what it does


@dataclass(frozen=True)
class Fault:
    """One change: `before`, the source from byte `start` to `end`, becomes `after`."""

    path: str
    line: int
    end_line: int
    scope: tuple[str, ...]  # the classes and functions around it
    kind: str
    before: str
    after: str
    start: int
    end: int
    names: tuple[str, ...]  # what a test that sees it may use: the innermost function or class, or what is assigned
    lines: tuple[int, ...]  # of the statement around it: where one of them runs, the fault does

    def plant(self, source: bytes) -> bytes:
        """The file with the fault, in as many lines as before."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def faults_of(path: str, source: bytes) -> list[Fault]:
    """Every fault that can be planted in a file, in the order of its lines."""
    return sorted(_Finder(path, source).run(), key=lambda fault: (fault.start, fault.end, fault.kind, fault.after))


class _Finder:
    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source = path, source
        self.offsets = [0]
        for line in source.splitlines(keepends=True):
            self.offsets.append(self.offsets[-1] + len(line))
        self.scope: tuple[str, ...] = ()
        self.statement: Any = None

    def run(self) -> Iterator[Fault]:
        tree = ast.parse(self.source)
        for node in tree.body:
            yield from self.visit(node)

    # ------------------------------------------------------------------ the walk

    def visit(self, node: Any) -> Iterator[Fault]:
        """The faults in a node and below it; nothing in docstrings, messages, annotations and imports."""
        if isinstance(node, ast.stmt):
            if _says_nothing(node):
                return
            outer, self.statement = self.statement, node
            yield from self._of_statement(node)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                self.scope = (*self.scope, node.name)
                yield from self._below(node)
                self.scope = self.scope[:-1]
            else:
                yield from self._below(node)
            self.statement = outer
            return
        if isinstance(node, ast.JoinedStr):
            return
        if isinstance(node, ast.expr):
            yield from self._of_expression(node)
        yield from self._below(node)

    def _below(self, node: Any) -> Iterator[Fault]:
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and _name_of(node.func) == "warn"):
            return
        skipped = {"annotation", "returns", "msg", "decorator_list", "type_comment"}
        for field, value in ast.iter_fields(node):
            if field in skipped:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self.visit(child)

    # ------------------------------------------------------------------ what may be wrong

    def _of_statement(self, node: Any) -> Iterator[Fault]:
        if isinstance(node, (ast.If, ast.While)):
            yield from self._conditions(node.test, always=isinstance(node, ast.If))
        dropped = isinstance(node, (ast.Expr, ast.AugAssign, ast.Delete, ast.Raise))
        dropped = dropped or (isinstance(node, ast.Return) and node.value is None)
        if isinstance(node, ast.Assign):
            dropped = all(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets)
        if dropped:
            yield self._fault(node, "statement dropped", "pass")
        if isinstance(node, ast.AugAssign):
            yield from self._operators(node)
        if isinstance(node, ast.Break):
            yield self._fault(node, "break to continue", "continue")
        if isinstance(node, ast.Continue):
            yield self._fault(node, "continue to break", "break")

    def _of_expression(self, node: Any) -> Iterator[Fault]:
        if isinstance(node, ast.Constant):
            yield from self._constants(node)
        elif isinstance(node, ast.Compare):
            for i, operator in enumerate(node.ops):
                for other in _TURNED[type(operator)]:
                    yield self._replaced(node, "comparison", ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])
        elif isinstance(node, ast.BoolOp):
            other_op: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield self._replaced(node, "and/or", op=other_op)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            yield self._fault(node, "sign" if isinstance(node.op, ast.USub) else "not", ast.unparse(node.operand))
        elif isinstance(node, ast.BinOp):
            yield from self._operators(node)
        elif isinstance(node, ast.IfExp):
            yield from self._conditions(node.test)
        elif isinstance(node, ast.Call):
            yield from self._calls(node)
        elif isinstance(node, ast.Slice):
            for bound in ("lower", "upper"):
                if getattr(node, bound) is not None:
                    yield self._replaced(node, "bound of a slice", wrap=False, **{bound: None})
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            for generator in node.generators:
                for test in generator.ifs:
                    yield from self._conditions(test)

    def _conditions(self, test: Any, always: bool = True) -> Iterator[Fault]:
        if not isinstance(test, ast.Constant):
            yield self._fault(test, "condition", "False")
            if always:
                yield self._fault(test, "condition", "True")

    def _operators(self, node: Any) -> Iterator[Fault]:
        operands = [node.value] if isinstance(node, ast.AugAssign) else [node.left, node.right]
        if any(isinstance(x, ast.JoinedStr) or type(getattr(x, "value", None)) is str for x in operands):
            return  # joins messages
        other = _OTHER_OPERATOR.get(type(node.op))
        if other is not None:
            yield self._replaced(node, "operator", wrap=isinstance(node, ast.BinOp), op=other())

    def _constants(self, node: ast.Constant) -> Iterator[Fault]:
        value = node.value
        if type(value) is bool:
            yield self._fault(node, "constant", str(not value))
        elif type(value) is int:
            for other in (value + 1, value - 1):
                yield self._fault(node, "constant", str(other) if other >= 0 else f"({other})")
        elif type(value) is float:
            yield self._fault(node, "constant", repr(value * 1.5 if value else 1.0))

    def _calls(self, node: ast.Call) -> Iterator[Fault]:
        if len(node.args) > 1 and not isinstance(node.args[-1], ast.Starred):
            yield self._replaced(node, "argument dropped", args=node.args[:-1])
        for i, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                yield self._replaced(node, "argument dropped", keywords=node.keywords[:i] + node.keywords[i + 1 :])
        other = _OTHER_NAME.get(_name_of(node.func))
        if other is not None:
            function = copy.copy(node.func)
            setattr(function, "id" if isinstance(function, ast.Name) else "attr", other)
            yield self._replaced(node, "other function", func=function)

    # ------------------------------------------------------------------ writing it down

    def _replaced(self, node: Any, kind: str, wrap: bool = True, **fields: Any) -> Fault:
        changed = copy.copy(node)
        for name, value in fields.items():
            setattr(changed, name, value)
        return self._fault(node, kind, ast.unparse(changed), wrap)

    def _fault(self, node: Any, kind: str, text: str, wrap: bool = True) -> Fault:
        start = self.offsets[node.lineno - 1] + node.col_offset
        end = self.offsets[node.end_lineno - 1] + node.end_col_offset
        before = self.source[start:end].decode()
        # As many lines as before, so that other lines keep their numbers.
        more = "\n" * (before.count("\n") - text.count("\n"))
        if isinstance(node, ast.expr) and wrap and not isinstance(node, ast.Constant):
            text = f"({text}{more})"
        else:
            text += more
        return Fault(
            self.path, node.lineno, node.end_lineno, self.scope, kind, before, text, start, end, self._names(),
            self._lines(node),
        )  # fmt: skip

    def _names(self) -> tuple[str, ...]:
        statement = self.statement
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and not self.scope:
            return assigned_names(statement)
        if isinstance(statement, ast.FunctionDef):  # its defaults
            return innermost((*self.scope, statement.name))
        return innermost(self.scope)

    def _lines(self, node: Any) -> tuple[int, ...]:
        statement = self.statement
        if isinstance(statement, ast.FunctionDef):
            return (statement.body[-1].lineno,)
        if isinstance(statement, (ast.If, ast.While)):
            return tuple(range(statement.lineno, statement.test.end_lineno + 1))
        if isinstance(statement, (ast.For, ast.With, ast.Try, ast.ClassDef)):
            return tuple(range(statement.lineno, node.end_lineno + 1))
        return tuple(range(statement.lineno, statement.end_lineno + 1))


def _says_nothing(node: Any) -> bool:
    """Docstrings, imports, what only type checkers read, and what the tests read."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test) or "__name__" in ast.unparse(node.test)
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return any(_name_of(target) in (_EXAMPLES, "__all__") for target in targets)
    return False


def _name_of(node: Any) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
