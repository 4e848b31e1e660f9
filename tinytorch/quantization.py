"""Weights in 8 or 4 bits per number, and a product that decodes them on the fly.

    int8    w = scale * code: a scale for each row, or for each group of a row's columns
    nf4     w = scale * NF4_VALUES[code]: a scale for each block of 64 columns of a row, itself in 8 bits

NF4 is the 4-bit NormalFloat of Dettmers et al., "QLoRA" (arXiv:2305.14314): quantiles of the normal distribution,
since weights are roughly normal. Their double quantization stores a block's scale s as an 8-bit code too,

    s = offset + step * code        a step for every 256 blocks, and one offset, the mean of all s

so that a number costs 4 + 8/64 + 32/(64 * 256) = 4.127 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dtypes import DTypeLike
from .engine.tensor import wrap
from .kernels.stored.decoding import NF4_VALUES, SEGMENT
from .kernels.stored.stored import Stored
from .ops.common import elements_of, summed
from .ops.fused import FusedFunction
from .ops.linalg import as_rows, weight_product, weight_product_backward
from .tensor import Tensor

Array = NDArray[Any]

SCHEMES = ("int8", "nf4")
_BLOCKS_A_STEP = 256
_ELEMENTS_AT_ONCE = 1 << 22  # so that intermediate arrays stay small
_VALUES = np.array(NF4_VALUES, np.float32)
_BETWEEN = (_VALUES[1:] + _VALUES[:-1]) / 2
_NO_CODES, _NO_OFFSET = np.empty((0, 0), np.int8), np.zeros((), np.float32)
_NO_SHIFT = 62  # every column is in group 0


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A weight (N, K) in fewer bits. `quantize` makes one from numbers, `from_arrays` from the result of `arrays`.

    A scale covers group_size columns, or a whole row if that is None; in NF4 it is always 64. The arrays:

        int8    codes int8 (N, K), scales float32 (N, groups)
        nf4     codes uint8 (N, 32 * groups), of which byte i of a block's 32 holds the code of column i in its lower
                half and that of column 32 + i in its upper half; scale_codes int8 (N, groups), scales (the steps)
                float32 (N * groups / 256, rounded up), offset float32 ()
    """

    scheme: str
    shape: tuple[int, int]
    group_size: int | None
    codes: Array
    scales: Array
    scale_codes: Array
    offset: Array

    def __post_init__(self) -> None:
        for name in ("codes", "scales", "scale_codes"):  # the kernels read their elements in order
            array = getattr(self, name)
            if not (array.flags.c_contiguous and array.flags.aligned):
                object.__setattr__(self, name, np.require(array, None, ("C", "A")))

    @classmethod
    def quantize(cls, array: Any, scheme: str, group_size: int | None = None) -> QuantizedWeight:
        """Quantize a floating-point array or Tensor (N, K) of any dtype; rows are converted a few at a time.

        Raises ValueError if `scheme` or `group_size` is unknown, or a number is not finite.
        """
        array = array.detach().array if isinstance(array, Tensor) else np.asarray(array)
        weight = _without_codes(array, scheme, group_size)
        columns, codes, scales = weight.shape[1], weight.codes, weight._decoded_scales()
        for part, numbers in _parts(array, weight.group_size):
            # A block of almost nothing may get a scale that is not positive; 0 is then as close as anything.
            own = scales[part, :, None]
            scaled = np.where(own > 0, numbers / np.where(own > 0, own, 1), np.float32(0))
            if scheme == "int8":
                codes[part] = _rounded(scaled).reshape(len(numbers), numbers[0].size)[:, :columns]
            else:
                indices = np.searchsorted(_BETWEEN, scaled).astype(np.uint8)
                low, high = indices[:, :, : SEGMENT // 2], indices[:, :, SEGMENT // 2 :]
                codes[part] = (low | high << 4).reshape(len(numbers), codes.shape[1])
        return weight

    def _decoded_scales(self) -> Array:
        """The scales as float32 (N, groups), from sums in float64, as in the kernels."""
        if self.scheme == "int8":
            return self.scales
        flat = self.scale_codes.reshape(-1).astype(np.float64)
        scales: Array = self.offset.astype(np.float64) + np.repeat(self.scales, _BLOCKS_A_STEP)[: flat.size] * flat
        return scales.astype(np.float32).reshape(self.scale_codes.shape)

    def dequantize(self, dtype: DTypeLike = np.float32, rows: slice = slice(None)) -> Array:
        """The numbers (N, K) that the codes stand for, or some of their rows.

        Computed in float64 if that is the dtype, else in float32 and rounded to the dtype.
        """
        columns, codes, scales = self.shape[1], self.codes[rows], self._decoded_scales()[rows]
        result = np.empty((len(codes), columns), dtype)
        wide = np.float64 if result.dtype == np.float64 else np.float32
        width = self.group_size or max(columns, 1)
        for part in _slices(*result.shape):
            numbers = codes[part]
            if self.scheme == "nf4":
                blocks = numbers.reshape(len(numbers), scales.shape[1], SEGMENT // 2)
                numbers = _VALUES[np.concatenate([blocks & 15, blocks >> 4], axis=2)]
                numbers = numbers.reshape(len(numbers), 2 * codes.shape[1])[:, :columns]
            spread = np.repeat(scales[part].astype(wide), width, axis=1)[:, :columns]
            result[part] = numbers.astype(wide) * spread
        return result

    @property
    def stored(self) -> Stored:
        """The form in which kernels take the weight."""
        scales = np.asarray(self.scales, np.float32).reshape(-1)
        groups = _groups(self.shape[1], self.group_size)
        shift = _NO_SHIFT if self.group_size is None else self.group_size.bit_length() - 1
        return Stored(self.codes, self.shape[1], self.scale_codes, scales, float(self.offset), groups, shift)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, Array]:
        """The arrays to store in a file, by the suffix of the weight's name: "" for the codes, "_scale", ..."""
        if self.scheme == "int8":
            return {"": self.codes, "_scale": self.scales}
        return {
            "": self.codes,
            "_absmax": self.scale_codes,
            "_absmax_scale": self.scales,
            "_absmax_offset": self.offset,
        }

    @classmethod
    def from_arrays(
        cls, scheme: str, shape: tuple[int, int], arrays: Mapping[str, Array], group_size: int | None = None
    ) -> QuantizedWeight:
        """The inverse of `arrays`. Raises ValueError naming the array that does not fit."""
        expected = layout(scheme, shape, group_size)
        for suffix, (dtype, wanted) in expected.items():
            array = arrays.get(suffix)
            if array is None or array.shape != wanted or array.dtype != dtype:
                found = "none" if array is None else f"{array.dtype} {array.shape}"
                raise ValueError(f"{scheme} weight{suffix}: expected {np.dtype(dtype)} {wanted}, got {found}")
        group_size = _checked_group_size(scheme, group_size)
        if scheme == "int8":
            return cls(scheme, shape, group_size, arrays[""], arrays["_scale"], _NO_CODES, _NO_OFFSET)
        steps, offset = arrays["_absmax_scale"], arrays["_absmax_offset"]
        return cls(scheme, shape, group_size, arrays[""], steps, arrays["_absmax"], offset)


def layout(
    scheme: str, shape: tuple[int, int], group_size: int | None = None
) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
    """The dtype and shape of each of `QuantizedWeight.arrays` for a weight of this shape."""
    rows, columns = shape
    groups = _groups(columns, _checked_group_size(scheme, group_size))
    if scheme == "int8":
        return {"": (np.int8, shape), "_scale": (np.float32, (rows, groups))}
    return {
        "": (np.uint8, (rows, groups * SEGMENT // 2)),
        "_absmax": (np.int8, (rows, groups)),
        "_absmax_scale": (np.float32, (-(-rows * groups // _BLOCKS_A_STEP),)),
        "_absmax_offset": (np.float32, ()),
    }


def _checked_group_size(scheme: str, group_size: int | None) -> int | None:
    if scheme not in SCHEMES:
        raise ValueError(f"scheme is {scheme!r}: it must be one of {', '.join(SCHEMES)}")
    if scheme == "nf4":
        if group_size not in (None, SEGMENT):
            raise ValueError(f"group_size is {group_size}: in nf4 it is {SEGMENT}")
        return SEGMENT
    if group_size is not None and (group_size < SEGMENT or group_size & (group_size - 1)):
        raise ValueError(f"group_size is {group_size}: it must be a power of two from {SEGMENT} on, or None for rows")
    return group_size


def _groups(columns: int, group_size: int | None) -> int:
    return -(-columns // (group_size or max(columns, 1)))


def _slices(rows: int, columns: int) -> Iterator[slice]:
    """Slices of a few rows at a time."""
    count = max(1, _ELEMENTS_AT_ONCE // max(columns, 1))
    for start in range(0, rows, count):
        yield slice(start, min(start + count, rows))


def _parts(array: Array, group_size: int | None) -> Iterator[tuple[slice, Array]]:
    """A few rows at a time in float32, as (rows, groups, group_size), the last group padded with zeros."""
    rows, columns = array.shape
    width = group_size or max(columns, 1)
    groups = _groups(columns, group_size)
    for part in _slices(rows, columns):
        numbers = np.zeros((part.stop - part.start, groups * width), np.float32)
        numbers[:, :columns] = array[part]
        yield part, numbers.reshape(len(numbers), groups, width)


def _without_codes(array: Array, scheme: str, group_size: int | None) -> QuantizedWeight:
    """A weight with the scales of an array, and codes that are not filled in yet."""
    if array.ndim != 2:
        raise ValueError(f"quantize: expected a matrix, got shape {array.shape}")
    group_size = _checked_group_size(scheme, group_size)
    shape: tuple[int, int] = (array.shape[0], array.shape[1])
    largest: Array = np.zeros((shape[0], _groups(shape[1], group_size)), np.float32)
    for part, numbers in _parts(array, group_size):
        largest[part] = abs(numbers).max(axis=2, initial=0)
    if not np.isfinite(largest).all():
        raise ValueError("quantize: the weight holds infinities or NaN, or numbers beyond float32")
    dtype, size = layout(scheme, shape, group_size)[""]
    codes: Array = np.empty(size, dtype)
    if scheme == "int8":
        scales = (largest.astype(np.float64) / 127).astype(np.float32)
        return QuantizedWeight(scheme, shape, group_size, codes, scales, _NO_CODES, _NO_OFFSET)
    scale_codes, steps, offset = _quantized_scales(largest)
    return QuantizedWeight(scheme, shape, group_size, codes, steps, scale_codes, offset)


def scale_arrays(array: Array, scheme: str, group_size: int | None = None) -> dict[str, Array]:
    """`QuantizedWeight.arrays` without the codes, in a fraction of the time; see `quantize`."""
    arrays = _without_codes(array, scheme, group_size).arrays()
    return {suffix: part for suffix, part in arrays.items() if suffix}


def _rounded(numbers: Array) -> Array:
    """Rounded to int8; only multiples of a scale so tiny that it is itself badly rounded exceed 127."""
    return np.clip(np.rint(numbers), -127, 127).astype(np.int8)


def _quantized_scales(scales: Array) -> tuple[Array, Array, Array]:
    """Quantize scales (N, groups): int8 codes of that shape, a step for every 256 of them, and the offset."""
    flat = scales.reshape(-1)
    offset = np.asarray(flat.mean(dtype=np.float64) if flat.size else 0, np.float32)
    count = -(-flat.size // _BLOCKS_A_STEP)
    centred: Array = np.zeros((count, _BLOCKS_A_STEP), np.float32)
    centred.reshape(-1)[: flat.size] = flat - offset
    steps = abs(centred).max(axis=1) / np.float32(127)
    codes = _rounded(centred / np.where(steps == 0, np.float32(1), steps)[:, None])
    return codes.reshape(-1)[: flat.size].reshape(scales.shape), steps, offset


class QuantizedProduct(FusedFunction):
    """y_no = sum_i x_ni w_oi + b_o, with w quantized"""

    examples = (
        (lambda t, x, b: _example(t, x, b, "int8"), (2, 3, 4), (5,)),
        (lambda t, x: _example(t, x, None, "nf4"), (3, 4)),
    )
    errors = (
        (lambda t, x: _example(t, x, None, "nf4"), (), RuntimeError, "input () does not fit weight (5, 4)"),
        (lambda t, x, b: _example(t, x, b, "int8"), (3, 4), (5, 1), RuntimeError, "bias (5, 1) does not fit"),
        (lambda t, x, b: _example(t, x, b.half(), "int8"), (3, 4), (5,), RuntimeError, "and float16"),
    )

    @staticmethod
    def composite(x: Tensor, b: Tensor | None, *arrays: Tensor, **settings: Any) -> Any:
        weight = _weight(*[elements_of(a) for a in arrays], **settings)
        y = x @ wrap(weight.dequantize(x.dtype)).mT
        return y if b is None else y + b

    @staticmethod
    def forward(ctx: QuantizedProduct, x: Array, b: Array | None, *arrays: Any, **settings: Any) -> Any:
        ctx.settings = settings
        if ctx.needs_input_grad[0]:
            ctx.save(*arrays)
        return weight_product(x, _weight(*arrays, **settings).stored, b)

    # as in Linear
    @staticmethod
    def backward(ctx: QuantizedProduct, g: Array) -> Any:
        need_x, need_b = ctx.needs_input_grad[:2]
        rows, dx = as_rows(g), None
        if need_x:
            dx = weight_product_backward(rows, _weight(*ctx.saved, **ctx.settings).stored)
            dx = dx.reshape(*g.shape[:-1], dx.shape[1])
        return dx, summed(rows, (0,)) if need_b else None, None, None, None, None


def quantized_linear(input: Tensor, weight: QuantizedWeight, bias: Tensor | None = None) -> Tensor:
    """input (..., in) times weight (out, in) transposed, plus bias (out,), to (..., out) in the input's dtype.

    The weight is decoded where it is used, never as a whole; gradients go to input and bias. Raises RuntimeError if
    shapes or dtypes do not fit.
    """
    if input.ndim == 0 or input.shape[-1] != weight.shape[1]:
        raise RuntimeError(f"quantized_linear: input {tuple(input.shape)} does not fit weight {weight.shape}")
    if bias is not None and tuple(bias.shape) != weight.shape[:1]:
        raise RuntimeError(f"quantized_linear: bias {tuple(bias.shape)} does not fit weight {weight.shape}")
    if not input.is_floating_point() or (bias is not None and bias.dtype != input.dtype):
        found = input.dtype if bias is None else f"{input.dtype} and {bias.dtype}"
        raise RuntimeError(f"quantized_linear: input and bias must have one floating-point dtype, got {found}")
    # They are frozen and large, so not copied, even if the operation is recorded.
    arrays = [wrap(a) for a in (weight.codes, weight.scales, weight.scale_codes, weight.offset)]
    settings = {"scheme": weight.scheme, "columns": weight.shape[1], "group_size": weight.group_size}
    return QuantizedProduct.apply(input, bias, *arrays, **settings)


def _weight(
    codes: Array, scales: Array, scale_codes: Array, offset: Array, scheme: str, columns: int, group_size: int | None
) -> QuantizedWeight:
    """The weight, from the inputs and settings of the operation."""
    return QuantizedWeight(scheme, (codes.shape[0], columns), group_size, codes, scales, scale_codes, offset)


def _example(t: Any, x: Any, b: Any, scheme: str) -> Any:
    """The product with a fixed weight (5, 4), or one that fits x and b; in PyTorch, with the decoded weight."""
    rows, columns = 5 if b is None else b.shape[0], x.shape[-1] if x.ndim else 4
    weight = QuantizedWeight.quantize(np.sin(np.arange(float(rows * columns))).reshape(rows, columns), scheme)
    if t.__name__ == "tinytorch":
        return quantized_linear(x, weight, b)
    return t.nn.functional.linear(x, t.from_numpy(weight.dequantize(np.float64)).to(x.dtype), b)
