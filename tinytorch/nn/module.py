"""Module: the base class of everything that holds parameters.

A parameter, buffer or submodule is kept twice: as a plain instance attribute, so that
`self.weight` costs what any attribute costs, and in the registry of its kind (`_parameters`,
`_buffers`, `_modules`), which fixes the order in which they are listed. Only `_register`,
`_replace`, `_put` and `__delattr__` write to the registries, which keeps the two the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from ..derivatives import zero_grad
from ..dtypes import bfloat16, float16, float32, float64
from ..engine.mode import mode
from ..engine.runner import untraced
from ..grad_mode import no_grad
from ..tensor import Tensor
from .hooks import Hooked, call_with_hooks
from .parameter import Parameter
from .state import IncompatibleKeys, check_fit, replacement

M = TypeVar("M", bound="Module")

_KINDS = {"_parameters": "parameter", "_buffers": "buffer", "_modules": "module"}


def _forward_missing(self: Module, *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


class Module(Hooked):
    """Base class of all layers and models. A subclass calls `super().__init__()` first, then
    assigns its parameters and submodules as attributes, and defines `forward`.

    `training` is True until `eval()` is called; it switches dropout and batch statistics.
    """

    training: bool
    forward: Callable[..., Any] = _forward_missing
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers: set[str]
    _may_be_missing: tuple[str, ...] = ()  # names that a loaded state may lack; they then stay as they are

    def __init__(self) -> None:
        own = self.__dict__
        own["training"] = True
        own["_parameters"] = {}
        own["_buffers"] = {}
        own["_modules"] = {}
        own["_non_persistent_buffers"] = set()
        own["_hooks"] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if mode.run.read(self, "_hooks"):
            return call_with_hooks(self, args, kwargs)
        return self.forward(*args, **kwargs)

    # Registration

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._register("_parameters", name, value)
        elif isinstance(value, Module) and name not in self.__dict__.get("_parameters", ()):
            self._register("_modules", name, value)
        else:
            self._replace(name, value)

    def _register(self, registry: str, name: str, value: Any) -> None:
        own = self.__dict__
        if registry not in own:
            raise AttributeError(f"cannot assign {_KINDS[registry]} before Module.__init__() call")
        for other in _KINDS:
            if other != registry:
                own[other].pop(name, None)
        self._non_persistent_buffers.discard(name)
        own[registry][name] = own[name] = value

    def _replace(self, name: str, value: Any) -> None:
        """Assign a value that is neither a Parameter nor a Module, or one that is not allowed under this name."""
        own = self.__dict__
        for registry, kind in _KINDS.items():
            if name in own.get(registry, ()):
                if value is not None and not (kind == "buffer" and isinstance(value, Tensor)):
                    expected = {"parameter": "Parameter", "buffer": "Tensor", "module": "Module"}[kind]
                    raise TypeError(
                        f"cannot assign '{type(value).__name__}' as {kind} '{name}' ({expected} or None expected)"
                    )
                own[registry][name] = own[name] = value
                return
        super().__setattr__(name, value)

    def _put(self, name: str, value: Tensor | None) -> None:
        """Put any Tensor in the place of a parameter or buffer, for `functional_call`."""
        registry = self._parameters if name in self._parameters else self._buffers
        self.__dict__[name] = registry[name] = value  # type: ignore[assignment]

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        for registry in _KINDS:
            self.__dict__[registry].pop(name, None)
        self._non_persistent_buffers.discard(name)

    def _check_new_name(self, registry: str, name: str) -> None:
        kind = _KINDS[registry]
        if registry not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string, got {type(name).__name__}")
        if "." in name:
            raise KeyError(f"{kind} name must not contain a dot, got '{name}'")
        if not name:
            raise KeyError(f"{kind} name must not be empty")
        if hasattr(self, name) and name not in self.__dict__[registry]:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None registers the name of one that the module does without."""
        self._check_new_name("_parameters", name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' to parameter '{name}' (Parameter or None required)"
            )
        self._register("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that moves and is saved with the module but is not trained.

        A buffer with persistent=False is left out of `state_dict`.
        """
        self._check_new_name("_buffers", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{type(tensor).__name__}' to buffer '{name}' (Tensor or None required)")
        self._register("_buffers", name, tensor)
        if not persistent:
            self._non_persistent_buffers.add(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under a name that need not be an identifier."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_new_name("_modules", name)
        self._register("_modules", name, module)

    add_module = register_module

    # Listing

    def named_children(self) -> Iterator[tuple[str, Module]]:
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module (named `prefix`), then all below it, depth first, each once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, _join(prefix, name), remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def _named_members(
        self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, member in module.__dict__[registry].items():
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield _join(path, name), member

    def _members(self, registry: str, recurse: bool) -> Iterator[Any]:
        """`_named_members` without the names, which take most of the time: every training step asks for parameters."""
        found: dict[int, Any] = {}
        seen: set[Module] = set()
        waiting: list[Module] = [self]
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                own = module.__dict__
                found.update([(id(member), member) for member in own[registry].values() if member is not None])
                if recurse:
                    waiting += [below for below in reversed(own["_modules"].values()) if below is not None]
        return iter(found.values())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Names and parameters; one shared by several modules is yielded once, under its first name."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return self._members("_parameters", recurse)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return self._members("_buffers", recurse)

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path; the empty path is this module.

        Raises AttributeError that names the first part of the path that does not exist.
        """
        module = self
        for part in target.split(".") if target else ():
            child = getattr(module, part, None)
            if child is None:
                raise AttributeError(f"{type(module).__name__} has no attribute `{part}` (looking for '{target}')")
            if not isinstance(child, Module):
                raise AttributeError(f"`{part}` is not an nn.Module (looking for '{target}')")
            module = child
        return module

    def _get_member(self, target: str, registry: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        if module.__dict__[registry].get(name) is None:
            raise AttributeError(f"`{name}` is not a {_KINDS[registry]}")
        return module.__dict__[registry][name]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path. Raises AttributeError if there is none."""
        return self._get_member(target, "_parameters")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path. Raises AttributeError if there is none."""
        return self._get_member(target, "_buffers")

    # Saving and loading

    def _saved(self) -> Iterator[tuple[str, Tensor]]:
        """The parameters and persistent buffers of this module alone."""
        for name, tensor in {**self._parameters, **self._buffers}.items():
            if tensor is not None and name not in self._non_persistent_buffers:
                yield name, tensor

    def state_dict(
        self, *, destination: dict[str, Tensor] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Tensor]:
        """Every parameter and persistent buffer by its dotted name, detached, sharing storage.

        A parameter with two names appears under both. Names begin with `prefix`; with keep_vars the values are the
        parameters and buffers themselves; `destination`, if given, is filled and returned.
        """
        state = {} if destination is None else destination
        for name, tensor in self._saved():
            state[prefix + name] = tensor if keep_vars else tensor.detach()
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        return state

    @untraced
    def load_state_dict(
        self,
        state_dict: Mapping[str, Tensor | np.ndarray[Any, Any]],
        strict: bool = True,
        assign: bool = False,
    ) -> IncompatibleKeys:
        """Copy values into this module's parameters and buffers, cast to their dtypes.

        Values are Tensors or ndarrays. With `assign` they replace the parameters and buffers instead, with their own
        dtypes and memory; parameters keep their requires_grad. Raises RuntimeError, and loads nothing, if a shape
        differs, memory is not writable, or, when strict, if a name is missing or unexpected; the message lists every
        such name.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        places = {
            _join(path, name): (module, name, tensor)
            for path, module in self.named_modules(remove_duplicate=False)
            for name, tensor in module._saved()
            if name not in module._may_be_missing or _join(path, name) in state_dict
        }
        own = {key: tensor for key, (_, _, tensor) in places.items()}
        keys = check_fit(type(self).__name__, own, state_dict, strict)
        for key, (module, name, tensor) in places.items():
            if key in state_dict:
                value = state_dict[key]
                if assign:
                    setattr(module, name, replacement(value, tensor))
                else:
                    np.copyto(tensor.array, value.array if isinstance(value, Tensor) else value, casting="unsafe")
                    tensor._counter[0] += 1
        return keys

    # Modes and conversions

    def train(self: M, mode: bool = True) -> M:
        """Set training mode, in this module and all below it."""
        if not isinstance(mode, bool):
            raise ValueError(f"training mode is expected to be boolean, got {type(mode).__name__}")
        _set_training(self, mode)
        for module in self.children():  # by calling each one's own method, which a subclass may override
            module.train(mode)
        return self

    def eval(self: M) -> M:
        """Set evaluation mode, in this module and all below it."""
        return self.train(False)

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call `fn` on every module below, children first, then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or unfreeze every parameter."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop every gradient, or fill it with zeros."""
        zero_grad(self.parameters(), set_to_none)

    def _convert(self: M, fn: Callable[[Tensor], Tensor]) -> M:
        """Replace the storage of every tensor by fn's result; parameters and their gradients keep
        their identity, so optimizers that hold them keep working."""
        with no_grad():
            for parameter in self.parameters():
                for tensor in (parameter, parameter.grad):
                    if tensor is not None and (converted := fn(tensor)) is not tensor:
                        tensor.data = converted
            for module in self.modules():
                for name, buffer in module._buffers.items():
                    if buffer is not None:
                        module._buffers[name] = module.__dict__[name] = fn(buffer)
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Convert floating-point parameters and buffers: to(dtype), to(device), to(device, dtype),
        to(other_tensor). The only device is "cpu"."""
        # Tensor.to parses the arguments; its effect on two dtypes shows whether they name one.
        single, double = (Tensor(np.zeros((), dtype)).to(*args, **kwargs) for dtype in (np.float32, np.float64))
        if single.dtype != double.dtype:
            return self
        if not single.is_floating_point():
            raise TypeError(f"nn.Module.to only accepts floating point dtypes, but got desired dtype={single.dtype}")
        return self._cast(single.dtype)

    def _cast(self: M, dtype: Any) -> M:
        return self._convert(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)

    def float(self: M) -> M:
        return self._cast(float32)

    def double(self: M) -> M:
        return self._cast(float64)

    def half(self: M) -> M:
        return self._cast(float16)

    def bfloat16(self: M) -> M:
        return self._cast(bfloat16)

    def cpu(self: M) -> M:
        return self

    # Printing

    def extra_repr(self) -> str:
        """The text between the parentheses in the module's repr."""
        return ""

    def _child_lines(self) -> list[str]:
        return [f"({name}): {_indent(repr(module))}" for name, module in self._modules.items()]

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = self._child_lines()
        if not children and "\n" not in extra:
            return f"{type(self).__name__}({extra})"
        lines = (extra.split("\n") if extra else []) + children
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"

    def __dir__(self) -> list[str]:
        # The members of a Sequential are attributes "0", "1", ..., which are no use in completion.
        return [name for name in super().__dir__() if not name[0].isdigit()]


def _set_training(module: Module, training: bool) -> None:
    mode.run.read(module, "training")
    module.training = training


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")
