"""`functional_call`: a module as a function of its parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..ops.common import is_tensor

if TYPE_CHECKING:
    from ..nn.module import Module
    from ..tensor import Tensor


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """module(*args, **kwargs), with other Tensors in the place of its parameters and buffers, by their dotted names.

    Names that are left out keep what the module has; strict makes that an error, and names that it does not know, which
    are ignored otherwise. args is a tuple, or the one argument. Several dicts count as one. A parameter that several
    modules share is replaced in all of them, unless tie_weights is False. What the module assigns to a buffer in the
    call ends up in the dict, not in the module.

        grad(lambda p: F.mse_loss(functional_call(model, p, x), target))(dict(model.named_parameters()))
    """
    if not hasattr(module, "named_parameters"):
        raise TypeError(
            f"functional_call: expected a Module, got {type(module)}. What torch.compile returns is none: compile the "
            "function that calls functional_call"
        )
    given = _merged(parameter_and_buffer_dicts)
    names = _tied(module, given) if tie_weights else dict(given)
    if strict:
        _check_names(module, names)
    for tensor in names.values():
        if not (is_tensor(tensor) or tensor is None):
            raise TypeError(f"{tensor!r} is not an instance of torch.Tensor")
    places = [place for name in names if (place := _place(module, name)) is not None]
    before = [owner.__dict__[own] for _, owner, own in places]
    try:
        for name, owner, own in places:
            owner._put(own, names[name])
        arguments = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*arguments, **(kwargs or {}))
    finally:
        given.update({name: owner.__dict__[own] for name, owner, own in places if name in given})
        for (_, owner, own), old in zip(places, before, strict=True):
            owner._put(own, old)


def _merged(dicts: Any) -> dict[str, Any]:
    """One dict: the given one itself, which the call may change."""
    if isinstance(dicts, dict):
        return dicts
    if not isinstance(dicts, Sequence):
        raise ValueError(
            f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(dicts)}"
        )
    if not all(isinstance(one, dict) for one in dicts):
        raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
    times = Counter(name for one in dicts for name in one)
    twice = sorted(name for name, n in times.items() if n > 1)
    if twice:
        raise ValueError(f"{twice} appeared in multiple dictionaries; behavior of functional call is ambiguous")
    return {name: tensor for one in dicts for name, tensor in one.items()}


def _members(module: Module) -> dict[str, Tensor]:
    """The parameters and buffers by all of their names."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _tied(module: Module, given: dict[str, Any]) -> dict[str, Any]:
    """The given Tensors by all names of what they replace."""
    names: dict[int, list[str]] = {}
    for name, tensor in _members(module).items():
        names.setdefault(id(tensor), []).append(name)
    found = dict(given)
    for together in names.values():
        values = [given[name] for name in together if name in given]
        if len({id(value) for value in values}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(together)}, which are tied. Consider using "
                "tie_weights=False"
            )
        found.update(dict.fromkeys(together, values[0]) if values else {})
    return found


def _check_names(module: Module, given: dict[str, Any]) -> None:
    known = _members(module)
    unexpected, missing = [n for n in given if n not in known], [n for n in known if n not in given]
    lists = [("Unexpected", unexpected), ("Missing", missing)]
    said = [f"{what} key(s): {', '.join([repr(name) for name in names])}." for what, names in lists if names]
    if said:
        raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:\n\t" + "\n\t".join(said))


def _place(module: Module, name: str) -> tuple[str, Module, str] | None:
    """The module that has the parameter or buffer, and the name there; None where there is no such one."""
    path, _, own = name.rpartition(".")
    owner = module.get_submodule(path)
    return (name, owner, own) if own in owner._parameters or own in owner._buffers else None
