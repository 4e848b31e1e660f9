"""exp, tanh, erf and sigmoid of one scalar, as straight-line code that LLVM turns into vector code.

`np.exp` in a compiled loop is a call into the C library for each element, which keeps the loop from
vectorising. These functions have no call, no branch and no table: a range reduction, a polynomial,
and the power of two put straight into the exponent bits. Called in the inner loop of a kernel they
are inlined, and the loop becomes SIMD code. They exist inside compiled code only.

They compute in the type that they are given, float32 or float64, and treat infinities and NaN as
NumPy does; but exp is for what is not above 0, and it and sigmoid give 0 in place of denormals.
tests/kernels/test_math.py asserts the largest error over the whole range, in units in the last place.

Range reduction and reconstruction are the classic ones (W. J. Cody and W. Waite, Software Manual for
the Elementary Functions, 1980): exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; for the
error function erfc(a) = exp(-a^2) p((a - k) / (a + k)) (J. L. Schonfelder, Chebyshev expansions for
the error and related functions, 1978). The polynomials interpolate at Chebyshev nodes and were
computed to 50 digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

Scalar = Callable[[Any], Any]

# No "reassoc" here, whatever the caller allows: it would cancel the rounding trick and merge the two
# halves of ln 2. LLVM keeps the flags of each instruction when it inlines.
_OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy", "forceinline": True}

_BITS = {types.float32: types.int32, types.float64: types.int64}
_FLOATS = {bits: floating for floating, bits in _BITS.items()}


def _bitcast(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.bitcast(args[0], context.get_value_type(signature.return_type))


@intrinsic
def float_to_bits(typingctx: Any, x: Any) -> Any:
    """The bits of a float32 as int32, of a float64 as int64."""
    return _BITS[x](x), _bitcast


@intrinsic
def bits_to_float(typingctx: Any, bits: Any) -> Any:
    """The float32 whose bits an int32 holds, or the float64 of an int64."""
    return _FLOATS[bits](bits), _bitcast


@intrinsic
def maximum(typingctx: Any, a: Any, b: Any) -> Any:
    """The larger of two floats, NaN if either is NaN. Unlike `max`, LLVM vectorises a loop over it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        function = builder.module.declare_intrinsic("llvm.maximum", [kind], ir.FunctionType(kind, [kind, kind]))
        return builder.call(function, args)

    return a(a, a), codegen


@intrinsic
def _polynomial(typingctx: Any, coefficients: Any, x: Any) -> Any:
    """coefficients[0] + coefficients[1] x + ... by Horner's rule, written out."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *rest, y = cgutils.unpack_tuple(builder, args[0])
        for coefficient in reversed(rest):
            y = builder.fadd(builder.fmul(y, args[1]), coefficient)
        return y

    return x(coefficients, x), codegen


@register_jitable(**_OPTIONS)
def subtract(a: Any, b: Any) -> Any:
    """a - b as written. Of two in a row both must be this one, or a kernel's "reassoc" makes a - (b + c) of them."""
    return a - b


@dataclass(frozen=True)
class _Constants:
    """What differs between float32 and float64."""

    floating: Any
    integer: Any
    # ln 2 in two parts; the first has so few bits that n times it is exact.
    ln2: tuple[float, float]
    tanh_max: float  # from here on tanh(x) rounds to 1
    erfc_max: float  # from here on erfc(x) rounds to 0
    exp: tuple[float, ...]  # (exp(r) - 1 - r) / r^2, |r| <= ln(2) / 2
    erf: tuple[float, ...]  # erf(a) / a of a^2, 0 <= a <= 1
    erfcx_at: float  # k
    erfcx: tuple[float, ...]  # exp(a^2) erfc(a) of (a - k) / (a + k), 0 <= a <= erfc_max


_FLOAT32 = _Constants(
    floating=np.float32,
    integer=np.int32,
    ln2=(0.693359375, -0.00021219444005469058),
    tanh_max=9.1,
    erfc_max=10.1,
    exp=(0.5, 0.16666576, 0.041666552, 0.008363233, 0.001392625),
    erf=(1.1283791, -0.37612626, 0.112835944, -0.026854211, 0.0051890872, -0.00080168643, 7.8758749e-05),
    erfcx_at=2.0,
    erfcx=(
        0.25539568, -0.42718598, 0.24165856, -0.078975424, 0.0037289937, 0.0069745211, -0.00083650544,
        -0.00091415217, 4.516953e-05, 9.2931521e-05,
    ),
)  # fmt: skip

_FLOAT64 = _Constants(
    floating=np.float64,
    integer=np.int64,
    ln2=(0.6931471803691238, 1.9082149292705878e-10),
    tanh_max=19.1,
    erfc_max=27.3,
    exp=(
        0.5000000000000001, 0.16666666666666669, 0.041666666666623824, 0.008333333333330039,
        0.0013888888917367081, 0.00019841269863171557, 2.4801521057868204e-05, 2.7557268276905696e-06,
        2.7620201591031547e-07, 2.5100472505694996e-08,
    ),
    erf=(
        1.1283791670955126, -0.37612638903183543, 0.11283791670945006, -0.02686617064323777,
        0.0052239776071164225, -0.0008548325975389692, 0.00012055294904839707, -1.492473690741966e-05,
        1.6447424703317362e-06, -1.6208483801871705e-07, 1.3720064546777686e-08, -7.795898827002142e-10,
    ),
    erfcx_at=4.0,
    erfcx=(
        0.13699945762506138, -0.25906804876017114, 0.218719678918266, -0.1642578166973601,
        0.10896317739880554, -0.06310781563828442, 0.03129905652165753, -0.012843946049820134,
        0.00406026358253592, -0.0007991266913849132, -2.176140653292762e-05, 7.898274555380487e-05,
        -2.255744361856697e-05, -1.9024803515175837e-06, 2.9483460756375263e-06, -4.086703915477836e-07,
        -2.901405345177877e-07, 9.386247303920106e-08, 3.0484721185308804e-08, -1.1692407665648523e-08,
        -3.958581742223494e-09,
    ),
)  # fmt: skip


def _make(constants: _Constants) -> SimpleNamespace:
    """The functions for one floating-point type."""
    floating, integer = constants.floating, constants.integer
    info = np.finfo(floating)
    mantissa, bias = integer(info.nmant), integer(info.maxexp - 1)
    sign_bit, other_bits = integer(np.iinfo(integer).min), integer(np.iinfo(integer).max)
    # Adding 1.5 * 2^mantissa leaves no bits for a fraction: the low bits of the sum are the nearest
    # integer, and a shift by `mantissa` moves them into the exponent and all else out.
    shifter = floating(1.5 * 2.0**info.nmant)
    log2_e = floating(math.log2(math.e))
    ln2_high, ln2_low = map(floating, constants.ln2)
    tanh_max, erfc_max, erfcx_at = map(floating, (constants.tanh_max, constants.erfc_max, constants.erfcx_at))
    zero, half, one, two, sqrt_half = map(floating, (0, 0.5, 1, 2, math.sqrt(0.5)))
    exp_normal_min = floating(math.log(info.tiny))
    exp_coefficients = tuple(map(floating, constants.exp))
    erf_coefficients = tuple(map(floating, constants.erf))
    erfcx_coefficients = tuple(map(floating, constants.erfcx))

    @register_jitable(**_OPTIONS)
    def power_of_two(n_bits: Any) -> Any:
        return bits_to_float(integer((n_bits + bias) << mantissa))

    @register_jitable(**_OPTIONS)
    def reduce(x: Any, n: Any) -> Any:
        """x - n ln 2"""
        return (x - n * ln2_high) - n * ln2_low

    @register_jitable(**_OPTIONS)
    def expm1(x: Any) -> Any:
        """exp(x) - 1 for moderate x: 2^n (exp(r) - 1) + (2^n - 1)"""
        n = x * log2_e + shifter
        r = reduce(x, n - shifter)
        power = power_of_two(float_to_bits(n))
        return power * ((r * r) * _polynomial(exp_coefficients, r) + r) + (power - one)

    @register_jitable(**_OPTIONS)
    def magnitude(x: Any) -> Any:
        return bits_to_float(integer(float_to_bits(x) & other_bits))

    @register_jitable(**_OPTIONS)
    def with_sign_of(x: Any, a: Any) -> Any:
        return bits_to_float(integer(float_to_bits(a) | (float_to_bits(x) & sign_bit)))

    def tanh(x: Any) -> Any:
        # tanh(a) = (exp(2a) - 1) / (exp(2a) + 1)
        a = magnitude(x)
        a = tanh_max if a > tanh_max else a
        e = expm1(two * a)
        return with_sign_of(x, e / (e + two))

    def exp_of_negative(x: Any) -> Any:
        # Written so that NaN passes. Without denormals 2^n is in range; and where products underflow, as they would
        # for each -inf of a mask, processors are slow.
        clamped = exp_normal_min if x < exp_normal_min else x
        n = clamped * log2_e + shifter
        r = reduce(clamped, n - shifter)
        y = ((r * r) * _polynomial(exp_coefficients, r) + r + one) * power_of_two(float_to_bits(n))
        return zero if x < exp_normal_min else y

    exp_of_negative_jitted = register_jitable(**_OPTIONS)(exp_of_negative)

    def sigmoid(x: Any) -> Any:
        # e^x / (1 + e^x) where x < 0, so that nothing overflows
        e = exp_of_negative_jitted(-magnitude(x))
        return (e if x < zero else one) / (one + e)

    @register_jitable(**_OPTIONS)
    def erfcx(a: Any) -> Any:
        """exp(a^2) erfc(a), 0 <= a"""
        a = erfc_max if a > erfc_max else a
        return _polynomial(erfcx_coefficients, (a - erfcx_at) / (a + erfcx_at))

    def erf(x: Any) -> Any:
        a = magnitude(x)
        square = a * a
        near = a * _polynomial(erf_coefficients, square)
        far = one - exp_of_negative_jitted(-square) * erfcx(a)
        return with_sign_of(x, near if a < one else far)

    def normal(x: Any) -> Any:
        a = magnitude(x) * sqrt_half
        e = exp_of_negative_jitted(-half * (x * x))
        tail = half * e * erfcx(a)
        return (tail if x < zero else one - tail), e

    return SimpleNamespace(exp_of_negative=exp_of_negative, tanh=tanh, sigmoid=sigmoid, erf=erf, normal=normal)


def exp_of_negative(x: Any) -> Any:
    """e^x for x <= 0, or rounded up from there, as where the maximum was subtracted: 0 in place of denormals."""
    raise NotImplementedError("for use in compiled code only: call np.exp")


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    raise NotImplementedError("for use in compiled code only: call np.tanh")


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x): 0 in place of denormals."""
    raise NotImplementedError("for use in compiled code only")


def erf(x: Any) -> Any:
    """(2 / sqrt(pi)) times the integral of exp(-t^2) from 0 to x."""
    raise NotImplementedError("for use in compiled code only: call tinytorch.kernels.activation.erf")


def normal(x: Any) -> Any:
    """The normal distribution function at x, accurate in its lower tail, and exp(-x^2 / 2)."""
    raise NotImplementedError("for use in compiled code only")


def _publish(stub: Scalar) -> None:
    implementations = {types.float32: getattr(_float32, stub.__name__), types.float64: getattr(_float64, stub.__name__)}

    @overload(stub, jit_options=_OPTIONS)
    def choose(x: Any) -> Any:
        return implementations.get(x)


_float32, _float64 = _make(_FLOAT32), _make(_FLOAT64)
for _function in (exp_of_negative, tanh, sigmoid, erf, normal):
    _publish(_function)
