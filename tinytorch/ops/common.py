"""What the public functions of several families need: promotion, dimensions, wrapping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import DType, get_default_dtype, is_floating, result_type
from ..function import Function
from ..kernels.traced import ARRAYS
from ..modes import mode

if TYPE_CHECKING:
    from ..tensor import Tensor

Array = np.ndarray[Any, Any]
Dims = int | Sequence[int] | None


_NUMBERS = frozenset({int, float})


def is_tensor(value: Any) -> bool:
    """Whether a value is a Tensor."""
    return isinstance(value, Function.make_tensor)  # type: ignore[arg-type]


def wrap(array: Any) -> Tensor:
    """A Tensor without history."""
    return Function.make_tensor(array)


def array_of(value: Any) -> Any:
    """The array of a Tensor, traced in a compiled function; anything else as it is."""
    if not is_tensor(value):
        return value
    tape = mode.tape
    return value.array if tape is None else tape.enter(value)


def whole(result: Tensor) -> Tensor:
    """The last of several steps as the result of one operation: whose memory it shares, nobody has."""
    result._base = None
    return result


def as_array(value: Any) -> Any:
    """The array of a Tensor; an array of anything else."""
    array = array_of(value)
    return array if type(array) in ARRAYS else np.asarray(array)


def contiguous(array: Any) -> Any:
    """The array itself if it lies in C order without gaps, else a copy that does."""
    return array if array.flags.c_contiguous else array.copy()


def owned(ctx: Any, index: Any) -> Any:
    """An index or mask for backward to read: copied where a graph is recorded, as the caller may write into it."""
    if isinstance(index, tuple):
        return tuple([owned(ctx, part) for part in index])
    return index.copy() if type(index) in ARRAYS and True in ctx.needs_input_grad else index


def promote(input: Any, other: Any, *, true_division: bool = False) -> tuple[Tensor, Tensor]:
    """Both operands as Tensors of the dtype in which PyTorch combines them."""
    tensor = Function.make_tensor
    if isinstance(input, tensor):  # type: ignore[arg-type]
        dtype = input.array.dtype
        # The two common cases first: a tensor of the same dtype, and a number beside floating-point elements.
        if isinstance(other, tensor):  # type: ignore[arg-type]
            if dtype is other.array.dtype and (is_floating(dtype) or not true_division):
                return input, other
        elif type(other) in _NUMBERS and is_floating(dtype):
            return input, tensor(np.asarray(other, dtype))
    input, other = _operand(input), _operand(other)
    dtype = result_type(input, other)
    if true_division and not is_floating(dtype):
        dtype = get_default_dtype()
    return _in_dtype(input, dtype), _in_dtype(other, dtype)


def _operand(value: Any) -> Any:
    if isinstance(value, (bool, int, float)) or is_tensor(value):
        return value
    if type(value) in ARRAYS or isinstance(value, (np.ndarray, np.generic)):
        return wrap(as_array(value))
    raise TypeError(f"expected a Tensor, an array or a number, got {type(value).__name__}")


def _in_dtype(value: Any, dtype: DType) -> Tensor:
    if not is_tensor(value):
        return wrap(np.asarray(value, dtype))
    tensor: Tensor = value
    return tensor if tensor.array.dtype == dtype else tensor.to(dtype)


def floating(input: Tensor) -> Tensor:
    """The input itself, or in the default dtype if it holds integers or truth values."""
    return input if is_floating(input.array.dtype) else input.to(get_default_dtype())


def normalize_dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front. A tensor of no dimensions accepts 0 and -1."""
    size = max(ndim, 1)
    if not -size <= dim < size:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-size}, {size - 1}], but got {dim})")
    return dim % size


def normalize_dims(dim: Dims, ndim: int) -> tuple[int, ...]:
    """Dimensions counted from the front, without repetition; None means all of them."""
    if dim is None:
        return tuple(range(ndim))
    dims = tuple(normalize_dim(int(d), ndim) for d in (dim if isinstance(dim, Sequence) else (dim,)))
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {dim} names a dimension twice")
    return dims if ndim else ()


def keyword_aliases(dim: Any, keepdim: bool, aliases: dict[str, Any]) -> tuple[Any, bool]:
    """NumPy's `axis` and `keepdims` in place of `dim` and `keepdim`."""
    if not aliases:
        return dim, keepdim
    unknown = set(aliases) - {"axis", "keepdims"}
    if unknown:
        raise TypeError(f"unexpected keyword argument {sorted(unknown)[0]!r}")
    return aliases.get("axis", dim), aliases.get("keepdims", keepdim)


def sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape given as one sequence or as separate integers."""
    if len(args) == 1 and not isinstance(args[0], (int, np.integer)) and not is_tensor(args[0]):
        args = tuple(args[0])
    return tuple([int(size) for size in args])
