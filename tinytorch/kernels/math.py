"""exp, tanh, erf and sigmoid of one scalar, as straight-line code that LLVM turns into vector code.

`np.exp` in a compiled loop is a call into the C library for each element, which keeps the loop from
vectorising. These functions have no call, no branch and no table: a range reduction, a polynomial,
and the power of two put straight into the exponent bits. Called in the inner loop of a kernel they
are inlined, and the loop becomes SIMD code. They exist inside compiled code only.

They compute in the type of their argument, float32 or float64, and treat infinities and NaN as NumPy
does, with two exceptions: exp takes no positive arguments, and exp and sigmoid return 0 instead of denormals.
tests/kernels/test_math.py asserts the largest error over the whole range, in units in the last place.

Range reduction and reconstruction are the classic ones (W. J. Cody and W. Waite, Software Manual for
the Elementary Functions, 1980): exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2.

The normal distribution function P is computed as P(-a) = 2^q(a), where q is a polynomial, and P(a) = 1 - P(-a),
which takes neither a division nor a second exponential. P only has to be exact relative to 1, so the
polynomial may be less exact where 2^q is small, and beyond a = 6.5 (float32) or 9 (float64) P is 0 or 1. The
derivative of GELU, x P(x), is P(x) + x P'(x), and its values at a and -a add up to 1. At -a it is
P(-a) (1 - a P'(a) / P(-a)), whose second factor is approximated by a polynomial, too.

The polynomials of exp and erf interpolate at Chebyshev nodes; the other two are minimax polynomials, found by
Remez's exchange algorithm under those weights. All were computed to at least 50 digits.
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

_LONGEST_CHAIN = 7  # at most this many coefficients are added one after the other

_BITS = {types.float32: types.int32, types.float64: types.int64}
_FLOATS = {bits: floating for floating, bits in _BITS.items()}


def _bitcast(context, builder, signature, args) -> Any:
    return builder.bitcast(args[0], context.get_value_type(signature.return_type))


@intrinsic
def float_to_bits(typingctx, x) -> Any:
    """The bits of a float32 as int32, of a float64 as int64."""
    return _BITS[x](x), _bitcast


@intrinsic
def bits_to_float(typingctx, bits) -> Any:
    """The float32 whose bits an int32 holds, or the float64 of an int64."""
    return _FLOATS[bits](bits), _bitcast


@intrinsic
def maximum(typingctx, a, b) -> Any:
    """The larger of two floats, NaN if either is NaN. Unlike `max`, LLVM vectorises a loop over it."""

    def codegen(context, builder, signature, args) -> Any:
        kind = args[0].type
        function = builder.module.declare_intrinsic("llvm.maximum", [kind], ir.FunctionType(kind, [kind, kind]))
        return builder.call(function, args)

    return a(a, a), codegen


@intrinsic
def _polynomial(typingctx, coefficients, x) -> Any:
    """coefficients[0] + coefficients[1] x + ..., written out.

    Horner's rule is a chain in which each step waits for the one before. A long chain is split into two of half
    the length, for the even and the odd powers, which a processor runs side by side: p(x) = even(x^2) + x odd(x^2).
    """

    def value(builder, coefficients: list[Any], x) -> Any:
        if len(coefficients) > _LONGEST_CHAIN:
            square = builder.fmul(x, x)
            even, odd = value(builder, coefficients[::2], square), value(builder, coefficients[1::2], square)
            return builder.fadd(builder.fmul(odd, x), even)
        *rest, y = coefficients
        for coefficient in reversed(rest):
            y = builder.fadd(builder.fmul(y, x), coefficient)
        return y

    def codegen(context, builder, signature, args) -> Any:
        return value(builder, cgutils.unpack_tuple(builder, args[0]), args[1])

    return x(coefficients, x), codegen


@register_jitable(**_OPTIONS)
def subtract(a, b) -> Any:
    """a - b as written. In a - b - c both must be calls of this, or "reassoc" turns them into a - (b + c)."""
    return a - b


@dataclass(frozen=True)
class _Constants:
    """What differs between float32 and float64."""

    floating: Any
    integer: Any
    # ln 2 in two parts; the first has so few bits that n times it is exact.
    ln2: tuple[float, float]
    tanh_max: float  # from here on tanh(x) rounds to 1
    tail_max: float  # beyond this P(-a) is less than one rounding of P(a)
    exp: tuple[float, ...]  # (exp(r) - 1 - r) / r^2, |r| <= ln(2) / 2
    erf: tuple[float, ...]  # erf(a) / a as a function of a^2, 0 <= a <= 1
    log2_tail: tuple[float, ...]  # log2 P(-a) as a function of a, 0 <= a <= tail_max
    gelu_slope: tuple[float, ...]  # 1 - a P'(a) / P(-a) as a function of a, 0 <= a <= tail_max


_FLOAT32 = _Constants(
    floating=np.float32,
    integer=np.int32,
    ln2=(0.693359375, -0.00021219444005469058),
    tanh_max=9.1,
    tail_max=6.5,
    exp=(0.5, 0.16666576, 0.041666552, 0.008363233, 0.001392625),
    erf=(1.1283791, -0.37612626, 0.112835944, -0.026854211, 0.0051890872, -0.00080168643, 7.8758749e-05),
    log2_tail=(
        -1.0, -1.1511046, -0.4592199, -0.052436233, 0.006924478, 3.3778033e-05, -0.0003051225, 8.705442e-05,
        -1.3433559e-05, 1.1586843e-06, -4.3626688e-08,
    ),
    gelu_slope=(
        1.0, -0.7978854, -0.63661045, -0.109044835, 0.01919986, 0.00012821253, -0.0012842554, 0.00043172456,
        -7.75054e-05, 7.727595e-06, -3.3578974e-07,
    ),
)  # fmt: skip

_FLOAT64 = _Constants(
    floating=np.float64,
    integer=np.int64,
    ln2=(0.6931471803691238, 1.9082149292705878e-10),
    tanh_max=19.1,
    tail_max=9.0,
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
    log2_tail=(
        -1.0, -1.1511040990721495, -0.4592240942638686, -0.05242119331841383, 0.006899128810380734,
        5.335250835824535e-05, -0.00030589076804604925, 7.525733020948362e-05, -2.345645624578134e-06,
        -4.0931520975482745e-06, 1.3177050327529184e-06, -8.757037836096357e-08, -7.971345436678583e-08,
        3.730893986855977e-08, -8.461187175607439e-09, 7.602726900291813e-10, 2.0170116083550963e-10,
        -1.0617698050911579e-10, 2.637261874611937e-11, -4.489934702274428e-12, 5.622350545297859e-13,
        -5.226061937745467e-14, 3.5295961187839412e-15, -1.6428927825387728e-16, 4.721003940512627e-18,
        -6.316282174402976e-20,
    ),
    gelu_slope=(
        1.0, -0.7978845608028504, -0.6366197723683381, -0.10900680705728616, 0.01912844684723522,
        0.00018490473985776, -0.0012721590332777826, 0.0003651341082233195, -1.296635087496434e-05,
        -2.560780007741248e-05, 9.234861823561388e-06, -7.766951061214131e-07, -5.699658813613055e-07,
        2.724592371223595e-07, -4.683594699621986e-08, -7.954949576940469e-09, 8.044060365947294e-09,
        -2.982255754857615e-09, 7.479079650269264e-10, -1.4088153351207976e-10, 2.0532031960358916e-11,
        -2.3204430821432744e-12, 2.003822094878664e-13, -1.2803925559396218e-14, 5.710071472047311e-16,
        -1.5870137533597752e-17, 2.0690974932071215e-19,
    ),
)  # fmt: skip


def _make(constants: _Constants) -> SimpleNamespace:
    """The functions for one floating-point type."""
    floating, integer = constants.floating, constants.integer
    info = np.finfo(floating)
    mantissa, bias = integer(info.nmant), integer(info.maxexp - 1)
    sign_bit, other_bits = integer(np.iinfo(integer).min), integer(np.iinfo(integer).max)
    # Adding 1.5 * 2^mantissa leaves no bits for a fraction: the low bits of the sum are the nearest integer
    # plus the exponent's bias, and a shift by `mantissa` moves them into the exponent and everything else out.
    shifter = floating(1.5 * 2.0**info.nmant + bias)
    log2_e = floating(math.log2(math.e))
    ln2_high, ln2_low = map(floating, constants.ln2)
    tanh_max, tail_max = map(floating, (constants.tanh_max, constants.tail_max))
    zero, one, two, sqrt_two, ln2 = map(floating, (0, 1, 2, math.sqrt(2), math.log(2)))
    exp_normal_min = floating(math.log(info.tiny))
    exp_coefficients = tuple(map(floating, constants.exp))
    erf_coefficients = tuple(map(floating, constants.erf))
    log2_tail_coefficients = tuple(map(floating, constants.log2_tail))
    slope_coefficients = tuple(map(floating, constants.gelu_slope))

    @register_jitable(**_OPTIONS)
    def power_of_two(n) -> Any:
        return bits_to_float(integer(float_to_bits(n) << mantissa))

    @register_jitable(**_OPTIONS)
    def reduce(x, n) -> Any:
        """x - n ln 2"""
        return (x - n * ln2_high) - n * ln2_low

    @register_jitable(**_OPTIONS)
    def expm1(x) -> Any:
        """exp(x) - 1 for moderate x: 2^n (exp(r) - 1) + (2^n - 1)"""
        n = x * log2_e + shifter
        r = reduce(x, n - shifter)
        power = power_of_two(n)
        return power * ((r * r) * _polynomial(exp_coefficients, r) + r) + (power - one)

    @register_jitable(**_OPTIONS)
    def magnitude(x) -> Any:
        return bits_to_float(integer(float_to_bits(x) & other_bits))

    @register_jitable(**_OPTIONS)
    def with_sign_of(x, a) -> Any:
        return bits_to_float(integer(float_to_bits(a) | (float_to_bits(x) & sign_bit)))

    def tanh(x) -> Any:
        # tanh(a) = (exp(2a) - 1) / (exp(2a) + 1)
        a = magnitude(x)
        a = tanh_max if a > tanh_max else a
        e = expm1(two * a)
        return with_sign_of(x, e / (e + two))

    def exp_of_negative(x) -> Any:
        # Written so that NaN passes through. Without denormals 2^n stays in range, and no product underflows, as it
        # would for each -inf in a mask: processors are slow at that.
        clamped = exp_normal_min if x < exp_normal_min else x
        n = clamped * log2_e + shifter
        r = reduce(clamped, n - shifter)
        y = ((r * r) * _polynomial(exp_coefficients, r) + r + one) * power_of_two(n)
        return zero if x < exp_normal_min else y

    exp_of_negative_jitted = register_jitable(**_OPTIONS)(exp_of_negative)

    def sigmoid(x) -> Any:
        # e^x / (1 + e^x) where x < 0, so that nothing overflows
        e = exp_of_negative_jitted(-magnitude(x))
        return (e if x < zero else one) / (one + e)

    @register_jitable(**_OPTIONS)
    def tail(a) -> Any:
        """P(-a), 0 <= a <= tail_max"""
        log2 = _polynomial(log2_tail_coefficients, a)
        n = log2 + shifter
        r = (log2 - (n - shifter)) * ln2
        return ((r * r) * _polynomial(exp_coefficients, r) + r + one) * power_of_two(n)

    def erf(x) -> Any:
        a = magnitude(x)
        near = a * _polynomial(erf_coefficients, a * a)
        b = a * sqrt_two
        far = one if b > tail_max else one - two * tail(b)
        return with_sign_of(x, near if a < one else far)

    def normal(x) -> Any:
        a = magnitude(x)
        below = zero if a > tail_max else tail(a)
        return below if x < zero else one - below

    def gelu_slope(x) -> Any:
        a = magnitude(x)
        below = zero if a > tail_max else tail(a) * _polynomial(slope_coefficients, a)
        return below if x < zero else one - below

    functions = (exp_of_negative, tanh, sigmoid, erf, normal, gelu_slope)
    return SimpleNamespace(**{function.__name__: function for function in functions})


def exp_of_negative(x) -> Any:
    """e^x for x <= 0, or above 0 by rounding alone, as after subtracting a maximum. Returns 0 instead of denormals."""
    raise NotImplementedError("for use in compiled code only: call np.exp")


def tanh(x) -> Any:
    """Hyperbolic tangent."""
    raise NotImplementedError("for use in compiled code only: call np.tanh")


def sigmoid(x) -> Any:
    """1 / (1 + e^-x), and 0 instead of denormals."""
    raise NotImplementedError("for use in compiled code only")


def erf(x) -> Any:
    """(2 / sqrt(pi)) times the integral of exp(-t^2) from 0 to x."""
    raise NotImplementedError("for use in compiled code only: call tinytorch.kernels.activation.erf")


def normal(x) -> Any:
    """P(x), the normal distribution function: half of 1 + erf(x / sqrt(2))."""
    raise NotImplementedError("for use in compiled code only")


def gelu_slope(x) -> Any:
    """The derivative of x P(x), where P is the normal distribution function."""
    raise NotImplementedError("for use in compiled code only")


def _publish(stub: Scalar) -> None:
    implementations = {types.float32: getattr(_float32, stub.__name__), types.float64: getattr(_float64, stub.__name__)}

    @overload(stub, jit_options=_OPTIONS)
    def choose(x) -> Any:
        return implementations.get(x)


_float32, _float64 = _make(_FLOAT32), _make(_FLOAT64)
for _function in (exp_of_negative, tanh, sigmoid, erf, normal, gelu_slope):
    _publish(_function)
