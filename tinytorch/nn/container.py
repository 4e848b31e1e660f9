"""Modules that hold modules: Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, TypeVar, overload

from .module import Module, _indent

S = TypeVar("S", bound="_ModuleSequence")


class _ModuleSequence(Module):
    """Submodules named "0", "1", ... with the behaviour of a list."""

    _modules: dict[str, Module]  # type: ignore[assignment]

    def _name(self, index: int) -> str:
        length = len(self._modules)
        if not -length <= index < length:
            raise IndexError(f"index {index} is out of range for {length} modules")
        return list(self._modules)[index]

    def _assign(self, modules: Iterable[Module]) -> None:
        """Make these modules the members, numbered from 0."""
        modules = list(modules)
        for name in list(self._modules):
            delattr(self, name)
        for module in modules:
            self.append(module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self: S, index: slice) -> S: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._slice(index) if isinstance(index, slice) else self._modules[self._name(index)]

    def _slice(self: S, index: slice) -> S:
        return type(self)().extend(list(self)[index])

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name(index), module)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index]
        self._assign(modules)

    def append(self: S, module: Module) -> S:
        number = len(self)
        while str(number) in self._modules:  # a slice keeps its members' names
            number += 1
        self.register_module(str(number), module)
        return self

    def extend(self: S, modules: Iterable[Module]) -> S:
        for module in list(modules):
            self.append(module)
        return self

    def insert(self: S, index: int, module: Module) -> S:
        """Insert a module before the one at the index. Raises IndexError outside [-length, length]."""
        if not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        if not -len(self) <= index <= len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} modules")
        modules = list(self)
        modules.insert(index, module)
        self._assign(modules)
        return self

    def pop(self, index: int) -> Module:
        module: Module = self[index]
        del self[index]
        return module


class Sequential(_ModuleSequence):
    """Calls its modules in turn, each on the previous one's output.

    Takes the modules, or one mapping from names to modules.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.register_module(name, module)
        else:
            self.extend(args)

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)
        return input

    def _slice(self, index: slice) -> Sequential:
        """A slice; as in PyTorch, modules keep the names under which their parameters are saved."""
        part = type(self)()
        for name in list(self._modules)[index]:
            part.register_module(name, self._modules[name])
        return part

    def __iadd__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"only a Sequential can be added to a Sequential, got {type(other).__name__}")
        return self.extend(other)

    def __add__(self, other: Sequential) -> Sequential:
        made = Sequential(*self)
        made += other
        return made

    def __mul__(self, times: int) -> Sequential:
        """The same modules, not copies of them, repeated this many times."""
        return Sequential(*list(self) * _positive(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Sequential:
        return self.extend(list(self) * (_positive(times) - 1))


def _positive(times: Any) -> int:
    if not isinstance(times, int):
        raise TypeError(f"a Sequential can be multiplied by an int, not by {type(times).__name__}")
    if times <= 0:
        raise ValueError(f"a Sequential can be multiplied by a positive number, got {times}")
    return times


class ModuleList(_ModuleSequence):
    """A list of modules, which the owner's forward calls."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    __iadd__ = _ModuleSequence.extend

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def _child_lines(self) -> list[str]:
        """Neighbours with the same repr share a line: `(0-3): 4 x Linear(...)`."""
        runs: list[tuple[int, int, str]] = []
        for i, module in enumerate(self):
            text = repr(module)
            if runs and runs[-1][2] == text:
                runs[-1] = (runs[-1][0], i, text)
            else:
                runs.append((i, i, text))
        return [
            f"({first}): {_indent(text)}"
            if first == last
            else f"({first}-{last}): {last - first + 1} x {_indent(text)}"
            for first, last, text in runs
        ]


class ModuleDict(Module):
    """A dictionary of modules, in the order in which they were added."""

    _modules: dict[str, Module]  # type: ignore[assignment]

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.register_module(key, module)

    def __delitem__(self, key: str) -> None:
        if key not in self._modules:
            raise KeyError(key)
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def keys(self) -> KeysView[str]:
        return self._modules.keys()

    def items(self) -> ItemsView[str, Module]:
        return self._modules.items()

    def values(self) -> ValuesView[Module]:
        return self._modules.values()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        for key, module in dict(modules).items():
            self[key] = module

    def pop(self, key: str) -> Module:
        module = self._modules[key]
        del self[key]
        return module

    def clear(self) -> None:
        for key in list(self):
            del self[key]
