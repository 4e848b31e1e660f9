"""Chat templates: from the messages of a conversation to the text format that a model was trained on.

A template is a program from the internet, so it runs in a sandbox: it can call only what it is given here, the same as
in transformers, and is limited to a few seconds and megabytes.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from lora.text.template_sandbox import SOURCE, LimitedEnvironment
from tinytorch.cli.errors import UserError
from tinytorch.cli.reading import one_line

Messages = Sequence[Mapping[str, Any]]


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`, which marks the assistant's words for training on them only. It
    renders as its content."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own attribute)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class ChatTemplate:
    """A compiled template; `tokens` maps the names it may use, such as bos_token, to special tokens."""

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        if len(source) > SOURCE:
            raise UserError(f"the chat template is longer than {SOURCE} characters: take the model's own")
        environment = LimitedEnvironment(
            {"tojson": _to_json}, trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _now
        self._environment = environment
        self._tokens = tokens
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # from Python, about the code that Jinja generated
            unread = "the chat template cannot be read"
            self._template = _guarded(unread, lambda: environment.from_string(source))
            names = _guarded(unread, lambda: meta.find_undeclared_variables(environment.parse(source)))
        self.variables = frozenset(names)  # the variables that the template reads

    def render(self, messages: Messages, add_generation_prompt: bool = False, **variables: Any) -> str:
        """The conversation as text. With add_generation_prompt it ends where the assistant's answer begins.

        `variables` are whatever else this template reads: tools, documents, date_string, ...
        """
        given = {"tools": None, "documents": None, **self._tokens, **variables}
        given.update(messages=messages, add_generation_prompt=add_generation_prompt)

        def rendered() -> str:
            self._environment.begin(given)
            return str(self._template.render(given))

        return str(_guarded("the chat template refuses the messages", rendered))


def _guarded(what: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:  # a program can fail in any way
        raise UserError(one_line(f"{what}: {error or type(error).__name__}")) from error


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes <, > and & for HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
