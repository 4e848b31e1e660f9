"""exp, tanh, erf and sigmoid of one scalar, as straight-line code that LLVM turns into vector code.

`np.exp` in a compiled loop is a call into the C library for each element, which keeps the loop from
vectorising. These functions have no call, no branch and no table: a range reduction, a polynomial,
and the power of two put straight into the exponent bits. Called in the inner loop of a kernel they
are inlined, and the loop becomes SIMD code. They exist inside compiled code only.

They compute in the type that they are given, float32 or float64, and treat infinities and NaN as
NumPy does. tests/kernels/test_math.py asserts the largest error over the whole range, in units in
the last place.

Range reduction and reconstruction are the classic ones (W. J. Cody and W. Waite, Software Manual for
the Elementary Functions, 1980): exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2. The
polynomials interpolate at Chebyshev nodes and were computed to 60 digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
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


@register_jitable(**_OPTIONS)
def subtract(a: Any, b: Any) -> Any:
    """a - b as written. Of two in a row both must be this one, or a kernel's "reassoc" makes a - (b + c) of them."""
    return a - b


def _make(
    floating: Any, ln2: tuple[float, float], exp_range: tuple[float, float], tanh_max: float, tail: Scalar
) -> SimpleNamespace:
    """The functions for one floating-point type. tail(r) is the polynomial for (exp(r) - 1 - r) / r^2."""
    info = np.finfo(floating)
    integer: Any = {np.float32: np.int32, np.float64: np.int64}[floating]
    mantissa, bias = integer(info.nmant), integer(info.maxexp - 1)
    sign_bit, other_bits = integer(np.iinfo(integer).min), integer(np.iinfo(integer).max)
    # Adding 1.5 * 2^mantissa leaves no bits for a fraction: the low bits of the sum are the nearest
    # integer, and a shift by `mantissa` moves them into the exponent and all else out.
    shifter = floating(1.5 * 2.0**info.nmant)
    log2_e, half_log2_e = floating(math.log2(math.e)), floating(math.log2(math.e) / 2)
    # ln 2 in two parts; the first has so few bits that n * ln2_high is exact.
    ln2_high, ln2_low = floating(ln2[0]), floating(ln2[1])
    exp_min, exp_max = floating(exp_range[0]), floating(exp_range[1])
    tanh_max = floating(tanh_max)
    one, two = floating(1), floating(2)

    @register_jitable(**_OPTIONS)
    def power_of_two(n_bits: Any) -> Any:
        return bits_to_float(integer((n_bits + bias) << mantissa))

    @register_jitable(**_OPTIONS)
    def reduce(x: Any, n: Any) -> Any:
        """x - n ln 2"""
        return (x - n * ln2_high) - n * ln2_low

    def exp(x: Any) -> Any:
        x = exp_min if x < exp_min else x  # written so that NaN passes
        x = exp_max if x > exp_max else x
        n = x * log2_e + shifter
        r = reduce(x, n - shifter)
        # 2^n itself may be infinite or denormal where the result is not: multiply by its two halves.
        half = float_to_bits(x * half_log2_e + shifter)
        other_half = integer(float_to_bits(n) - half)
        return ((r * r) * tail(r) + r + one) * power_of_two(half) * power_of_two(other_half)

    @register_jitable(**_OPTIONS)
    def expm1(x: Any) -> Any:
        """exp(x) - 1 for moderate x: 2^n (exp(r) - 1) + (2^n - 1)"""
        n = x * log2_e + shifter
        r = reduce(x, n - shifter)
        power = power_of_two(float_to_bits(n))
        return power * ((r * r) * tail(r) + r) + (power - one)

    def tanh(x: Any) -> Any:
        # tanh(a) = (exp(2a) - 1) / (exp(2a) + 1), and the sign of x put back
        bits = float_to_bits(x)
        a = bits_to_float(integer(bits & other_bits))
        a = tanh_max if a > tanh_max else a
        e = expm1(two * a)
        return bits_to_float(integer(float_to_bits(e / (e + two)) | (bits & sign_bit)))

    def sigmoid(x: Any) -> Any:
        return one / (one + exp_jitted(-x))

    exp_jitted = register_jitable(**_OPTIONS)(exp)
    return SimpleNamespace(exp=exp, expm1=expm1, tanh=tanh, sigmoid=sigmoid)


@register_jitable(**_OPTIONS)
def _tail32(r: Any) -> Any:
    return _f32(0.5) + r * (
        _f32(0.16666576) + r * (_f32(0.041666552) + r * (_f32(0.008363233) + r * _f32(0.001392625)))
    )


@register_jitable(**_OPTIONS)
def _tail64(r: Any) -> Any:
    high = 2.7557268276905696e-06 + r * (2.7620201591031547e-07 + r * 2.5100472505694996e-08)
    high = 0.0013888888917367081 + r * (0.00019841269863171557 + r * (2.4801521057868204e-05 + r * high))
    return 0.5 + r * (0.16666666666666669 + r * (0.041666666666623824 + r * (0.008333333333330039 + r * high)))


_f32, _i32 = np.float32, np.int32
_float32 = _make(np.float32, (0.693359375, -0.00021219444005469058), (-104.0, 89.0), 9.1, _tail32)
_float64 = _make(np.float64, (0.6931471803691238, 1.9082149292705878e-10), (-746.0, 710.0), 19.1, _tail64)

_ERF_MAX = _f32(3.95)  # erf rounds to 1 from here on
_SCALE = _f32(2 / 3.95)
_SIGN_BIT, _OTHER_BITS = _i32(-0x80000000), _i32(0x7FFFFFFF)
_expm1 = _float32.expm1


def _erf32(x: Any) -> Any:
    # erf(a) = 1 - exp(-a q(a)), q(a) = -log(erfc(a)) / a: a smooth function that one polynomial in
    # u = 2a / 3.95 - 1 covers from 0 to 3.95. The relative error stays small at 0 because of expm1.
    bits = float_to_bits(x)
    a = bits_to_float(_i32(bits & _OTHER_BITS))
    a = _ERF_MAX if a > _ERF_MAX else a
    u = a * _SCALE - _f32(1)
    q = _f32(-5.411120582721196e-05) + u * (
        _f32(-0.00023875634360592812) + u * (_f32(0.0002529392368160188) + u * _f32(-9.439319546800107e-05))
    )
    q = _f32(0.016870960593223572) + u * (_f32(-0.0053883884102106094) + u * (_f32(0.0012425987515598536) + u * q))
    q = _f32(2.660792112350464) + u * (
        _f32(1.7112125158309937) + u * (_f32(0.11073008924722672) + u * (_f32(-0.045099567621946335) + u * q))
    )
    return bits_to_float(_i32(float_to_bits(-_expm1(-a * q)) | (bits & _SIGN_BIT)))


def _erf64(x: Any) -> Any:
    return math.erf(x)


def exp(x: Any) -> Any:
    """e^x. Underflows gradually to 0, overflows to inf."""
    raise NotImplementedError("for use in compiled code only: call np.exp")


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    raise NotImplementedError("for use in compiled code only: call np.tanh")


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x). Flushes to 0 where e^-x overflows."""
    raise NotImplementedError("for use in compiled code only")


def erf(x: Any) -> Any:
    """(2 / sqrt(pi)) times the integral of exp(-t^2) from 0 to x. SIMD in float32; float64 calls the C library."""
    raise NotImplementedError("for use in compiled code only: call tinytorch.kernels.activation.erf")


def _publish(stub: Scalar, float32: Scalar, float64: Scalar) -> None:
    implementations = {types.float32: float32, types.float64: float64}

    @overload(stub, jit_options=_OPTIONS)
    def choose(x: Any) -> Any:
        return implementations.get(x)


_publish(exp, _float32.exp, _float64.exp)
_publish(tanh, _float32.tanh, _float64.tanh)
_publish(sigmoid, _float32.sigmoid, _float64.sigmoid)
_publish(erf, _erf32, _erf64)
