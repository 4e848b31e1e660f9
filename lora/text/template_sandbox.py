"""Jinja's sandbox, with limits: a template from the internet can neither escape nor use up time or memory.

Jinja's own sandbox keeps a template from calling anything but what it is given. This one also limits what those calls
cost: every loop, call and filter checks the CPU time, and neither a single text or list nor all of them together may
grow beyond what a conversation could need. A few bytes of nested lists can take forever to write out, so what counts
is their size when written out (`_weight`).
"""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

SECONDS = 5.0  # of CPU time, for a conversation
SOURCE = 1 << 16  # characters in a template; the longest known have a third of that
LENGTH = 1 << 20  # of any text or list that a template makes
TOTAL = 1 << 25  # of all of them together
NUMBER = 100_000  # the largest argument of a method or filter, such as range
_DIGITS = 4000  # bits of an integer: at most 2**_DIGITS

# Conversations do not need them, and the length of their input does not bound the time they take.
_LEFT_OUT_FILTERS = ("pprint", "striptags", "urlize", "wordwrap", "xmlattr")
_LEFT_OUT_METHODS = ("decode", "encode", "expandtabs", "from_bytes", "striptags", "translate")
_SIZED_FILTERS = ("batch", "center", "indent", "round", "slice", "truncate")
_TEXT_FILTERS = ("format", "replace", "trim")
_LISTING_FILTERS = ("batch", "groupby", "list", "map", "reverse", "select", "slice", "sort", "unique")


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """The environment that a template is compiled in; call `begin` before each rendering."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self, filters: Mapping[str, Callable[..., Any]], **settings: Any) -> None:
        # Without the optimizer, nothing is computed while a template is being compiled.
        super().__init__(finalize=_written, optimized=False, **settings)
        del self.globals["lipsum"]
        self.filters.update(filters)
        for name in _LEFT_OUT_FILTERS:
            del self.filters[name]
        for name, function in self.filters.items():
            self.filters[name] = self._limited(name, function)
        self.begin({})

    def begin(self, variables: Mapping[str, Any]) -> None:
        """Start counting; `variables` are what the template is given, which it may write out several times."""
        self._given: dict[int, int] = {}
        size = _register(variables, self._given)
        self.longest = LENGTH + 16 * size
        self._left = TOTAL + 64 * size
        self._ticks = 0
        self._end = time.thread_time() + SECONDS

    # Time -------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Check the time, on each iteration of a loop, each call and each filter."""
        self._ticks += 1
        if self._ticks % 64 == 0 and time.thread_time() > self._end:
            _refuse(f"it takes more than {SECONDS:g} seconds")

    def _generate(self, source: nodes.Template, *rest: Any, **settings: Any) -> str:
        return super()._generate(_Counting().visit(source), *rest, **settings)

    # Memory -----------------------------------------------------------------------------------------

    def made(self, value: Any) -> Any:
        """Returns a value that a template has made, if it is not too large."""
        if isinstance(value, (str, bytes, list, tuple, dict, set, frozenset)):
            self.weight(value)
            # The items of a list were counted when they were made.
            self._left -= sys.getsizeof(value)
            if self._left < 0:
                _refuse("it makes too many texts and lists")
        elif _bits(value) > _DIGITS:
            _refuse("it makes too large a number")
        return value

    def weight(self, value: Any) -> int:
        """The size of a value when written out; TemplateError if that is too much."""
        return self.bounded(_weight(value, self._given, self.longest))

    def bounded(self, size: int) -> int:
        if size > self.longest:
            _refuse("it makes too long a text or list")
        return size

    def concat(self, parts: Iterable[str]) -> str:
        """Joins the output of a template, a macro or a block."""
        texts, size = [], 0
        for text in parts:
            self.tick()
            size = self.bounded(size + len(text))
            texts.append(text)
        return str(self.made("".join(texts)))

    def concatenate(self, *values: Any) -> str:
        """`a ~ b`"""
        return self.concat([str(_written(None, value)) for value in values])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.tick()
        if operator == "%" and isinstance(left, (str, bytes)):
            self._check_format(left, right)
        elif operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(sequence, (str, bytes, list, tuple)) and isinstance(times, int):
                    self.bounded(self.weight(sequence) * max(times, 0))
        elif operator == "+" and isinstance(left, (str, bytes, list, tuple)):
            self.bounded(self.weight(left) + self.weight(right))
        elif operator == "**" and _bits(left) * (right if isinstance(right, int) else 0) > _DIGITS:
            _refuse("it makes too large a number")
        return self.made(super().call_binop(context, operator, left, right))

    def _check_format(self, text: str | bytes, values: Any) -> None:
        """Limits `%` and `format`, which can pad to any width, or insert a value any number of times."""
        pattern = text.decode("latin-1") if isinstance(text, bytes) else text
        if re.search(r"\d{5}|%[^a-zA-Z%]*\*|\{[^{}]+\{", pattern):
            _refuse("it fills a text up to some width")
        self.bounded(len(text) + (pattern.count("%") + pattern.count("{")) * self.weight(_written(None, values)))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def checked(*args: Any, **kwargs: Any) -> str:
            self._check_format(value.__self__, [*args, *kwargs.values()])
            return wrapped(*args, **kwargs)

        return checked

    # Calls ------------------------------------------------------------------------------------------

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        __self.tick()
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if hasattr(__obj, "__objclass__"):  # dict.update(message): an unbound method, which Jinja does not check
            _refuse(f"it calls {name} of a class")
        if isinstance(owner, (str, bytes, int, float)):
            if name in _LEFT_OUT_METHODS:
                _refuse(f"it calls {name}, which is not there")
            __self._check_numbers(name, (*args, *kwargs.values()))
            args, kwargs = __self._check_arguments(name, owner, args, kwargs)
        return __self.made(super().call(__context, __obj, *args, **kwargs))

    def _limited(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        # Some of them get the context, the environment or the like from Jinja as their first argument.
        begin = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def limited(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            before, value, rest = args[:begin], args[begin], args[begin + 1 :]
            for each in (value, *rest, *kwargs.values()):
                _written(None, each)
            if name in _TEXT_FILTERS and not isinstance(value, str):
                self.weight(value)
                value = str(value)  # as the filter itself does
            if name in _LISTING_FILTERS and isinstance(value, str) and len(value) > NUMBER:
                _refuse(f"it takes a text apart by the filter {name}")
            if name in ("int", "float") and isinstance(value, str) and len(value) > _DIGITS:
                _refuse("it makes too large a number")
            if name == "join":
                value = list(value)
                self.bounded(self.weight(value) + len(value) * sum(map(self.weight, (*rest, *kwargs.values()))))
            if name in _SIZED_FILTERS:
                self._check_numbers(name, (*rest, *kwargs.values()))
            rest, kwargs = self._check_arguments(name, value, rest, kwargs)
            result = function(*before, value, *rest, **kwargs)
            return self._ticked(result) if isinstance(result, Iterator) else self.made(result)

        return limited

    def _ticked(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            self.tick()
            yield item

    @staticmethod
    def _check_numbers(name: str, given: Iterable[Any]) -> None:
        if any(isinstance(each, int) and abs(each) > NUMBER for each in given):
            _refuse(f"it gives {name} too large a number")

    def _check_arguments(self, name: str, value: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Check a method's or filter's arguments before it can build something too large from them."""
        given = [*args, *kwargs.values()]
        texts: list[Any] = [each for each in given if isinstance(each, (str, bytes))]
        if name == "replace" and isinstance(value, str):
            named = dict(zip(("old", "new"), args, strict=False)) | kwargs
            self.bounded(len(value) + value.count(str(named.get("old", ""))) * len(str(named.get("new", ""))))
        elif name == "join" and isinstance(value, (str, bytes)) and args:
            parts = list(args[0])
            self.bounded(self.weight(parts) + len(parts) * len(value))
            args = (parts, *args[1:])
        elif name in ("strip", "lstrip", "rstrip", "trim") and texts and isinstance(value, (str, bytes)):
            self.bounded(len(value) * len(texts[0]) >> 10)  # the number of comparisons, not the length of the result
        elif name == "indent" and isinstance(value, str) and given:
            width = max(each if isinstance(each, int) else len(each) for each in [4, *given] if not _is_flag(each))
            self.bounded(len(value) + (value.count("\n") + 1) * width)
        elif name == "tojson" and any((each if isinstance(each, int) else self.weight(each)) > 64 for each in given):
            _refuse("it fills a text up to some width")
        elif name == "format":
            self._check_format(value, given)
        return args, kwargs


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool) or not isinstance(value, (int, str))


def _refuse(why: str) -> NoReturn:
    raise TemplateError(f"{why}, more than a conversation needs")


@pass_context
def _written(context: Context | None, value: Any) -> Any:
    """A value that is put into a text. Namespaces are refused: they may contain one another."""
    if isinstance(value, Namespace):
        _refuse("it writes a namespace out")
    return value


class _Counting(NodeTransformer):
    """Make loops count their iterations, and check values that are made without a call."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call("tick", [], node.lineno), lineno=node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call("concatenate", node.nodes, node.lineno)

    def visit_List(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load":  # names that a loop assigns to
            return node
        return _call("made", [node], node.lineno)

    visit_Tuple = visit_Dict = visit_List


def _call(name: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
    function = nodes.EnvironmentAttribute(name, lineno=line)
    return nodes.Call(function, arguments, [], None, None, lineno=line)


def _register(value: Any, sizes: dict[int, int]) -> int:
    """The size of a value that a template is given; the sizes of lists and objects in it are noted by identity."""
    if isinstance(value, str):
        return 16 + len(value)
    if not isinstance(value, (list, tuple, Mapping)):
        return 16
    parts = [*value, *value.values()] if isinstance(value, Mapping) else value
    sizes[id(value)] = size = 16 + sum(_register(part, sizes) for part in parts)
    return size


def _weight(value: Any, sizes: Mapping[int, int], most: int) -> int:
    """The size of a value when written out, or any number above `most`."""
    size, stack = 0, [value]
    while stack and size <= most:
        value = stack.pop()
        if id(value) in sizes:
            size += sizes[id(value)]
        elif isinstance(value, (str, bytes)):
            size += 16 + len(value)
        elif isinstance(value, Mapping):
            size += 16
            stack += [*value, *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            size += 16
            stack += value
        else:
            size += 16
            _written(None, value)
    return size
