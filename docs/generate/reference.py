"""The reference: a page of each public module with what it exports, and the help of the command lines.

Pages are reStructuredText, with autodoc's directives: signatures and docstrings are read when Sphinx runs.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import re
import textwrap
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

from tinytorch import Tensor

from .docstrings import as_rst

MODULES = (
    "tinytorch", "tinytorch.Tensor", "tinytorch.nn", "tinytorch.nn.functional", "tinytorch.nn.init",
    "tinytorch.nn.utils", "tinytorch.optim", "tinytorch.optim.lr_scheduler", "tinytorch.autograd",
    "tinytorch.autograd.function", "tinytorch.autograd.functional", "tinytorch.autograd.graph", "tinytorch.func",
    "tinytorch.testing", "tinytorch.study", "tinytorch.safetensors", "tinytorch.profiler",
    "tinytorch.quantization", "tinytorch.utils.checkpoint", "lora",
)  # fmt: skip
PROGRAMS = ("gpt", "lora", "tinytorch.study")


def pages() -> dict[str, str]:
    """Each page by its file, and an index.rst."""
    seen: dict[Any, str] = {Tensor: "tinytorch.Tensor"}  # classes, by the name that they are described under
    found = {f"{name}.rst": _tensor() if name == "tinytorch.Tensor" else _module(name, seen) for name in MODULES}
    found |= {f"{program}-help.rst": _help(program) for program in PROGRAMS}
    files = [f"   {file.removesuffix('.rst')}" for file in found]
    toctree = "\n".join(["", ".. toctree::", "   :maxdepth: 1", "", *files])
    found["index.rst"] = f"{_title('Reference')}\nWhat each module has, from its docstrings.\n{toctree}\n"
    return found


def public(module: ModuleType) -> dict[str, Any]:
    """What a module exports: functions and classes of ours, without its submodules, numbers and private names."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    found = {}
    for name in names:
        value = getattr(module, name)
        home = getattr(value, "__module__", "") or ""
        ours = home == module.__name__ if not hasattr(module, "__path__") else home.startswith(("tinytorch", "lora"))
        if (inspect.isclass(value) or inspect.isroutine(value)) and (ours or hasattr(module, "__all__")):
            found[name] = value
    return found


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n"


def _module(name: str, seen: dict[Any, str]) -> str:
    """A page by groups: what is defined in one file stands together, under that file's first sentence."""
    module = importlib.import_module(name)
    groups: dict[str, list[str]] = {}
    for exported, value in public(module).items():
        groups.setdefault(value.__module__, []).append(exported)
    lines = [_title(name), as_rst(module.__doc__ or ""), "", f".. py:module:: {name}", ""]
    for home, names in groups.items():
        if len(groups) > 1 and home != name:
            about = (importlib.import_module(home).__doc__ or "").partition("\n\n")[0]
            lines += [_title(home.rpartition(".")[2], "-"), as_rst(about), ""]
        for exported in names:
            value = getattr(module, exported)
            if not inspect.isclass(value):
                lines += [f".. autofunction:: {name}.{exported}", ""]
            elif value not in seen and value.__name__ not in names:  # autodoc would refer to a name that has no page
                methods = [key for key, method in vars(value).items() if inspect.isfunction(method) and key[0] != "_"]
                about = textwrap.indent(as_rst(value.__doc__ or ""), "   ")
                lines += [f".. py:class:: {name}.{exported}", "", about, ""]
                lines += [f"   .. automethod:: {name}.{exported}.{key}" for key in methods] + [""]
                seen[value] = f"{name}.{exported}"
            elif value in seen or value.__name__ != exported:
                lines += [f"``{exported}`` is :py:class:`{seen.get(value, f'{name}.{value.__name__}')}`.", ""]
            else:
                lines += [f".. autoclass:: {name}.{exported}", "   :members:", ""]
                seen[value] = f"{name}.{exported}"
    if name == "tinytorch":
        dtypes = [f"``{key}``" for key, value in vars(module).items() if isinstance(value, np.dtype)]
        lines += [_title("dtypes", "-"), "The dtypes are NumPy's: " + ", ".join(dtypes) + ".", ""]
    return "\n".join(lines)


def _tensor() -> str:
    """All methods of a Tensor, in the order of the alphabet."""
    name = "tinytorch.Tensor"
    options = [":members:", ":inherited-members:", ":special-members: __getitem__", ":member-order: alphabetical"]
    return "\n".join([_title(name), f".. autoclass:: {name}", *[f"   {option}" for option in options], ""])


def _help(program: str) -> str:
    """What a program and each of its commands print with --help, as they do now."""
    first = help_of(program)
    listed = re.search(r"\{([a-z,-]+)\}", first)
    commands = [] if listed is None else listed[1].split(",")
    lines = [_title(f"python -m {program}"), _literal(first)]
    for command in commands:
        lines += [_title(command, "-"), _literal(help_of(program, command))]
    return "\n".join(lines)


def help_of(program: str, *command: str) -> str:
    """The help of a command, for 80 columns."""
    shown = io.StringIO()
    columns = mock.patch.dict(os.environ, {"COLUMNS": "80"})
    with columns, contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        importlib.import_module(f"{program}.__main__").main([*command, "--help"])
    if "usage: " not in shown.getvalue():
        raise ValueError(f"python -m {program} {' '.join(command)} --help prints no help")
    return shown.getvalue()


def _literal(text: str) -> str:
    return ".. code-block:: none\n\n" + textwrap.indent(text.rstrip(), "   ") + "\n"
