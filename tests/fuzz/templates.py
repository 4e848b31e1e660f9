"""Chat templates that nobody would write: every construct of Jinja in any other, with sizes that only grow."""

from __future__ import annotations

from random import Random

NAMES = (
    "messages", "m", "a", "b", "ns", "ns.x", "m.role", "m['content']", "a", "b", "ns.x", "loop.index", "eos_token",
    "none",
)  # fmt: skip
ATTRIBUTES = (
    "__class__", "__init__", "__globals__", "mro", "format", "format_map", "join", "replace", "split", "items", "keys",
    "upper", "ljust", "zfill", "center", "expandtabs", "translate", "encode", "decode", "append", "update", "pop",
    "to_bytes", "index", "count", "strip", "x", "role", "length", "gi_frame", "f_back", "_context", "cycle", "changed",
)  # fmt: skip
FILTERS = (
    "list", "join", "join(a)", "upper", "length", "tojson", "tojson(indent=4)", "tojson(a)", "replace('', a)", "sort",
    "replace(a, b)", "batch(9)", "batch(99999, a)", "slice(99999)", "sum", "sum(start=[])", "map('upper')", "unique",
    "map(attribute='role')", "select", "reject('none')", "selectattr('role')", "groupby('role')", "indent(99999)",
    "indent(a)", "center(99999)", "format(a, b)", "int", "float", "round(99999)", "string", "first", "last", "max",
    "min", "random", "reverse", "dictsort", "items", "trim", "wordcount", "truncate(9)", "default(a)", "attr('format')",
    "attr('__class__')", "abs", "filesizeformat", "escape", "title", "capitalize", "urlencode",
)  # fmt: skip
TESTS = ("defined", "string", "none", "mapping", "iterable", "in(a)", "divisibleby(3)", "sameas(a)", "odd", "callable")
NUMBERS = ("0", "1", "-1", "2", "60", "1000", "99999", "10**9", "2**64", "1.5", "1e300", "-3.0")
TEXTS = (
    "''", "'x'", "'ab\\n'", "'%s'", "'%99d'", "'%9999999d'", "'{}'", "'{0.__class__}'", "'{:9999999}'", "'😀'",
    "'%(a)s'",
)  # fmt: skip
BEFORE = (
    "{% set a = 'ab' %}{% set b = messages %}{% set m = messages[0] %}{% set ns = namespace(x=a) %}"
    "{% macro f(x) %}{{ x }}{% endmacro %}"
)
OPERATORS = ("+", "-", "*", "*", "**", "%", "/", "//", "~", "~", "and", "==", "<", "in")


def template(rng: Random) -> str:
    """A template of a few constructs."""
    return BEFORE + "".join(_statement(rng, 3) for _ in range(rng.choice((1, 2, 4))))


def _statement(rng: Random, depth: int) -> str:
    kind = rng.randrange(16) if depth else rng.randrange(4)

    def body() -> str:
        return "".join(_statement(rng, depth - 1) for _ in range(rng.choice((1, 2, 3))))

    def value() -> str:
        return _expression(rng, rng.choice((1, 2, 3)))

    if kind <= 2:
        return f"{{{{ {value()} }}}}"
    if kind == 3:
        broken = ("{% ", "}}", "{#", "{{", "%}", "{% endfor %}", "{{ '")
        return rng.choice(broken if rng.random() < 0.02 else ("text", "\n", "x" * 999))
    if kind <= 6:
        return f"{{% for {rng.choice(('m', 'a', 'a, b'))} in {value()} %}}{body()}{{% endfor %}}"
    if kind == 7:
        return f"{{% for m in range({rng.choice(NUMBERS)}) %}}{body()}{{% endfor %}}"
    if kind == 8:
        return f"{{% if {value()} %}}{body()}{{% else %}}{body()}{{% endif %}}"
    if kind == 9:
        return f"{{% set {rng.choice('ab')} = {value()} %}}" * rng.choice((1, 1, 40))
    if kind == 10:
        loop = f"{{% for a in range(60) %}}{{% set ns.x = {value()} %}}{{% endfor %}}"
        return f"{{% set ns = namespace(x={value()}) %}}{loop}"
    if kind == 11:
        return f"{{% set a %}}{body()}{{% endset %}}" * rng.choice((1, 1, 40))
    if kind == 12:
        return f"{{% macro f(a, b=1) %}}{body()}{{% endmacro %}}{{{{ f({value()}) }}}}"
    if kind == 13:
        return f"{{% for m in {value()} recursive %}}{{{{ loop({value()}) }}}}{{% endfor %}}"
    if kind == 14:
        return f"{{% filter {rng.choice(FILTERS)} %}}{body()}{{% endfilter %}}"
    if rng.random() < 0.1:
        return rng.choice(("{% include a %}", "{% import a as b %}", "{% extends a %}", "{% break %}", "{% raw %}"))
    return f"{{% if {value()} %}}{body()}{{% endif %}}"


def _expression(rng: Random, depth: int) -> str:
    if not depth:
        return rng.choice(rng.choice((NAMES, NUMBERS, TEXTS)))
    kind = rng.randrange(14) if rng.random() < 0.7 else rng.choice((0, 3, 10))

    def inner() -> str:
        return _expression(rng, depth - 1)

    if kind <= 2:
        return f"({inner()} {rng.choice(OPERATORS)} {inner()})"
    if kind <= 5:
        return f"({inner()} | {' | '.join(rng.choice(FILTERS) for _ in range(rng.choice((1, 1, 2, 30))))})"
    if kind <= 7:
        return f"({inner()}).{rng.choice(ATTRIBUTES)}({', '.join(inner() for _ in range(rng.choice((0, 1, 2))))})"
    if kind == 8:
        return f"({inner()}).{rng.choice(ATTRIBUTES)}"
    if kind == 9:
        return f"({inner()} is {rng.choice(TESTS)})"
    if kind == 10:
        return "[" + ", ".join(inner() for _ in range(rng.choice((0, 2, 3)))) + "]"
    if kind == 11:
        return f"{{{inner()}: {inner()}, 'a': {inner()}}}"
    if kind == 12:
        return f"({inner()})[{rng.choice(('0', '-1', '::-1', inner()))}]"
    return rng.choice(
        (f"f({inner()})", f"range({inner()})", f"dict(a={inner()})", f"namespace(x={inner()})", "lipsum(n=9999999)",
         f"cycler({inner()})", f"joiner({inner()})", f"raise_exception({inner()})", f"strftime_now({inner()})",
         f"({inner()}, {inner()})", f"({inner()} if {inner()} else {inner()})", f"caller({inner()})")
    )  # fmt: skip
