"""Parameter: a Tensor that a Module trains."""

from __future__ import annotations

from typing import Any

from ..creation import empty
from ..dtypes import DTypeLike
from ..printing import tensor_repr
from ..tensor import Tensor


class Parameter(Tensor):
    """A Tensor that a Module registers when it is assigned as an attribute; it requires grad.

    It shares the memory of `data`. Results computed from it are plain Tensors.
    """

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        super().__init__(data)
        self._counter = data._counter
        self.requires_grad_(requires_grad)

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        """A copy in new memory and without gradient, as in PyTorch."""
        copied = type(self)(Tensor(self.array.copy(order="K")), self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __repr__(self) -> str:
        plain, kind = type(self) is Parameter, type(self).__name__
        return "Parameter containing:\n" + (tensor_repr(self) if plain else f"Parameter({tensor_repr(self, kind)})")


def new_parameter(shape: tuple[int, ...], device: str | None, dtype: DTypeLike | None) -> Parameter:
    """A parameter whose values are not set yet."""
    return Parameter(empty(shape, device=device, dtype=dtype))
