"""Helpers for the public functions of several families: promotion, dimensions, wrapping."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..dtypes import FLOATS, DType, as_number, float32, float64, get_default_dtype, int64, is_floating, result_type
from ..engine.function import Function
from ..engine.mode import mode
from ..engine.tensor import Tensor as EngineTensor
from ..engine.tensor import wrap
from ..kernels import arithmetic

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from ..tensor import Tensor

Array = np.ndarray[Any, Any]
Dims = int | Sequence[int] | None
Operand: TypeAlias = "Tensor | Array | float | np.generic"  # of arithmetic and comparisons


_NUMBERS = frozenset({int, float})
_STRETCH = 64  # how many numbers are added one after another, if there are more than _LONG
_LONG = 256


def is_tensor(value: Any) -> TypeIs[Tensor]:
    """Whether a value is a Tensor."""
    return isinstance(value, EngineTensor)


class Create(Function):
    """A new array: y = make()"""

    examples = ((lambda t, x: t.ones(x.shape, dtype=x.dtype), (3, 4)),)
    errors = ((lambda t, x: t.ones(-1), (3,), RuntimeError, "-1"),)

    @staticmethod
    def forward(ctx: Create, make: Callable[[], Any]) -> Any:
        return make()


def create(make: Callable[[], Any]) -> Tensor:
    """A Tensor of the result of `make`, which nothing else has. Each call of a compiled function makes a new one."""
    tensor: Tensor = Create.apply(make=make)
    return tensor


def elements_of(value: Any) -> Any:
    """The array of a Tensor, traced in a compiled function; anything else unchanged."""
    return mode.run.read(value, "array") if is_tensor(value) else value


def whole(result: Tensor) -> Tensor:
    """The last of several steps as the result of one operation: nobody else has the memory that it shares."""
    result._base = result._chain = None
    return result


def as_array(value: Any) -> Any:
    """The array of a Tensor; an array of anything else."""
    array = elements_of(value)
    if type(array) is np.ndarray:
        return array
    return array.view(np.ndarray) if isinstance(array, np.ndarray) else np.asarray(array)


def as_input(data: Any, *differentiated: Any) -> Tensor:
    """A mask, a target or an index as an input of an operation: the Tensor itself, whose version backward checks.

    An array has no version. Since its owner may write to it, it is copied if the operation will be recorded, that is,
    if one of the differentiated inputs requires grad.
    """
    if is_tensor(data):
        return data
    array = as_array(data)
    recorded = mode.grad and any(is_tensor(x) and x.requires_grad for x in differentiated)
    return wrap(array.copy() if recorded and isinstance(data, np.ndarray) else array)


def contiguous(array: Array) -> Array:
    """The array itself if it is in C order without gaps, else such a copy."""
    return array if array.flags.c_contiguous else array.copy()


def in_two_bytes(dtype: DType) -> bool:
    """Whether it is float16 or bfloat16, which are summed in float32: their own sums get stuck at 2048 and 256."""
    return dtype.itemsize == 2 and is_floating(dtype)


def widened(array: Array) -> Array:
    """The array, converted to float32 if it is float16 or bfloat16."""
    return array.astype(float32) if array.itemsize == 2 and is_floating(array.dtype) else array


def in_float32(function: Any, *operands: Any, **params: Any) -> Tensor:
    """function(*operands, **params); for float16 and bfloat16, computed in float32 and rounded once, at the end."""
    dtype = operands[0].array.dtype
    if dtype.itemsize != 2 or not is_floating(dtype):
        return function(*operands, **params)
    wide = [x.to(float32) if is_tensor(x) and in_two_bytes(x.array.dtype) else x for x in operands]
    return function(*wide, **params).to(dtype)


def summed(x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """x.sum(axis=axes, keepdims=keepdims); float16 and bfloat16 add up in float32, integers and bools in int64."""
    dtype = x.dtype
    if dtype in (float32, float64):
        return total(x, axes, keepdims)
    if dtype.kind in "biu":
        return x.sum(axis=axes, keepdims=keepdims, dtype=int64)
    return total(x.astype(float32), axes, keepdims).astype(dtype)


def total(x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """x.sum(axis=axes, keepdims=keepdims) of float32 or float64, over dimensions counted from the front.

    NumPy and the kernels add contiguous elements pairwise or in stretches, but elements along other dimensions one
    after another, which makes the sum of a million float32 numbers wrong by a hundredth. So these are added in
    stretches too.
    """
    few = math.prod([x.shape[axis] for axis in axes]) <= _LONG
    if few or x.dtype != float32 or (x.flags.c_contiguous and min(axes) == x.ndim - len(axes)):
        return arithmetic.total(x, axes, keepdims)
    for axis in axes:
        while x.shape[axis] > _LONG:
            x = _in_stretches(x, axis)
        x = arithmetic.total(x, (axis,), keepdims=True)
    return x if keepdims else x.squeeze(axes)


def _in_stretches(x: Array, axis: int) -> Array:
    """Replace a dimension of n elements by k sums, each of every k-th element, at most _STRETCH of them."""
    n = x.shape[axis]
    k = -(-n // _STRETCH)
    lead, left = (slice(None),) * axis, n % k
    rows = x[(*lead, slice(n - left))].reshape(*x.shape[:axis], n // k, k, *x.shape[axis + 1 :])
    sums = arithmetic.total(rows, (axis,))
    if left:
        sums[(*lead, slice(left))] += x[(*lead, slice(n - left, n))]
    return sums


_OPERANDS = (EngineTensor, int, float, np.ndarray, np.generic)  # what an operator accepts as its other operand


def operator(function: Callable[..., Any], reflected: bool = False) -> Callable[[Any, Any], Tensor]:
    """A method for a Python operator; returning NotImplemented gives the other operand's type its turn."""

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        return function(other, self) if reflected else function(self, other)

    return method


def promote(
    input: Operand, other: Operand, *, true_division: bool = False, checked: bool = False
) -> tuple[Tensor, Tensor]:
    """Both operands as Tensors, in the dtype in which PyTorch combines them.

    An integer beyond the limits of an integer dtype wraps, as in arithmetic; if checked, numbers must fit
    (`as_number`).
    """
    if is_tensor(input):
        dtype = input.array.dtype
        # The two common cases first: a tensor of the same dtype, and a number beside floating-point elements.
        if is_tensor(other):
            if dtype is other.array.dtype and (not true_division or is_floating(dtype)):
                return input, other
        elif type(other) in _NUMBERS and is_floating(dtype) and not checked:
            return input, wrap(np.asarray(other, dtype))
    return _promoted(input, other, true_division, checked)


def _promoted(input: Any, other: Any, true_division: bool, checked: bool) -> tuple[Tensor, Tensor]:
    input, other = _operand(input), _operand(other)
    if not isinstance(input, EngineTensor) and not isinstance(other, EngineTensor):
        input = wrap(np.asarray(input, get_default_dtype() if isinstance(input, float) else None))
    dtype = result_type(input, other)
    if true_division and not is_floating(dtype):
        dtype = get_default_dtype()
    return _in_dtype(input, dtype, checked), _in_dtype(other, dtype, checked)


def times_number(function: type[Function], input: Operand, other: Operand, **options: bool) -> Tensor:
    """function.apply to two promoted operands, for products and quotients.

    A number combined with float16 or bfloat16 is not rounded to that dtype first, nor is a wider 0-d tensor, so that
    x * 0.1 equals x / 10. (Sums do round the number first, as in PyTorch.)
    """
    if isinstance(input, EngineTensor) and input.array.itemsize == 2 and _is_wider(other, input.array):
        return in_float32(lambda x: function.apply(*promote(x, other)), input)
    if isinstance(other, EngineTensor) and other.array.itemsize == 2 and _is_wider(input, other.array):
        return in_float32(lambda x: function.apply(*promote(input, x)), other)
    return function.apply(*promote(input, other, **options))


def _is_wider(number: Any, array: Array) -> bool:
    """Whether it is a number, or a 0-d tensor, that the array's dtype would round."""
    if not is_floating(array.dtype):
        return False
    if is_tensor(number):
        return bool(array.ndim) and not number.array.ndim and number.array.dtype in (float32, float64)
    return type(number) in _NUMBERS and float(mode.quietly(array.dtype.type, float(number))) != number


def _operand(value: Any) -> Any:
    """A Tensor, or a Python number, to which NumPy's numbers are converted."""
    if is_tensor(value) or type(value) in (bool, int, float):
        return value
    if isinstance(value, (int, float, np.generic)):
        return python_number(value)
    if isinstance(value, np.ndarray):
        return wrap(as_array(value))
    raise TypeError(f"expected a Tensor, an array or a number, got {type(value).__name__}")


def python_number(value: Any) -> Any:
    """A number as Python's own bool, int or float."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    return int(value) if isinstance(value, (int, np.integer)) else float(value)


def _in_dtype(value: Any, dtype: DType, checked: bool) -> Tensor:
    if is_tensor(value):
        return value if value.array.dtype == dtype else value.to(dtype)
    if checked or is_floating(dtype):
        return wrap(as_number(value, dtype, halves=False) if checked else np.asarray(float(value), dtype))
    if not -(2**63) <= value < 2**64:
        raise OverflowError(f"the integer {value} does not fit into int64")
    return wrap(np.asarray(value).astype(dtype))


def floating(input: Tensor) -> Tensor:
    """The input itself, or converted to the default dtype if it has integers or bools."""
    return input if is_floating(input.array.dtype) else input.to(get_default_dtype())


def only_floating(what: str, input: Tensor) -> Tensor:
    """The input itself; RuntimeError if it has integers or bools, which `what` would have to round."""
    if input.array.dtype not in FLOATS:
        raise RuntimeError(f"{what} is not implemented for {input.dtype}: convert the input with .float()")
    return input


def normalize_dim(dim: int, ndim: int) -> int:
    """A dimension, counted from the front. A 0-d tensor accepts 0 and -1."""
    if type(dim) is not int:
        dim = _integer(dim)
    size = max(ndim, 1)
    if not -size <= dim < size:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-size}, {size - 1}], but got {dim})")
    return dim % size


def _integer(dim: Any) -> int:
    if not isinstance(dim, bool):
        with contextlib.suppress(TypeError):
            return index(dim)
    raise TypeError(f"a dimension must be an integer, got {dim!r}")


def normalize_dims(dim: Dims, ndim: int) -> tuple[int, ...]:
    """Dimensions counted from the front, without repetition; None means all of them."""
    if dim is None:
        return tuple(range(ndim))
    dims = tuple([normalize_dim(d, ndim) for d in (dim if isinstance(dim, Sequence) else (dim,))])
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {dim} names a dimension twice")
    return dims if ndim else ()


def keyword_aliases(dim: Dims, keepdim: bool, aliases: dict[str, Dims]) -> tuple[Any, Any]:
    """Accept NumPy's `axis` and `keepdims` for `dim` and `keepdim`."""
    if not aliases:
        return dim, keepdim
    unknown = set(aliases) - {"axis", "keepdims"}
    if unknown:
        raise TypeError(f"unexpected keyword argument {sorted(unknown)[0]!r}")
    return aliases.get("axis", dim), aliases.get("keepdims", keepdim)


def sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape given as one sequence or as separate integers. Raises TypeError for non-integers."""
    if len(args) == 1 and not isinstance(args[0], (int, np.integer)) and not is_tensor(args[0]):
        if not isinstance(args[0], Iterable):
            raise TypeError(f"a shape must be integers or a tuple of integers, got {type(args[0]).__name__}")
        args = tuple(args[0])
    return tuple([index(size) for size in args])


def integers(name: str, values: Any) -> tuple[int, ...]:
    """One integer or a sequence of them, as a tuple; TypeError for anything else."""
    found = tuple(values) if isinstance(values, Sequence) else (values,)
    if any(isinstance(n, bool) or not hasattr(n, "__index__") for n in found):
        raise TypeError(f"{name} must be integers, got {values}")
    return tuple([int(n) for n in found])
