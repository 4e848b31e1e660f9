"""ReLU, leaky ReLU, GELU, SiLU, SwiGLU, sigmoid and erf, element by element, with their backwards.

Every array is C-contiguous, float32 or float64, of any shape; the results have the first one's shape.

    relu          y = max(x, 0)                         leaky_relu    y = x if x > 0 else slope x
    gelu          y = x P(x), P the normal distribution function, or its approximation by tanh
    sigmoid       y = 1 / (1 + e^-x)                    silu          y = x sigmoid(x)
    swiglu        y = gate sigmoid(gate) up             erf           y = erf(x)

Each loop is one line of arithmetic. The functions that it calls (`math.py`) are inlined, so that all of it becomes
vector code, and the elements are spread over the threads.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .launch import empty_like
from .math import erf as scalar_erf
from .math import gelu_slope, normal
from .math import sigmoid as scalar_sigmoid
from .spread import over_elements

Array = NDArray[np.floating]

_TANH_SCALE = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715
# Beyond this the derivative of GELU is 0 or 1 in either type; further out u' would overflow and give 0 * inf = NaN.
_SATURATED = 50.0


@over_elements
def _relu(start: int, stop: int, worker: int, x: Array, y: Array) -> None:
    x, y = x[start:stop], y[start:stop]
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] <= zero else x[i]  # NaN stays


@over_elements
def _relu_backward(start: int, stop: int, worker: int, grad: Array, y: Array, dx: Array) -> None:
    grad, y, dx = grad[start:stop], y[start:stop], dx[start:stop]
    zero = y.dtype.type(0)
    for i in range(grad.size):
        dx[i] = zero if y[i] <= zero else grad[i]  # y[i] = zero if x[i] <= zero else x[i]


@over_elements
def _leaky_relu(start: int, stop: int, worker: int, x: Array, slope: float, y: Array) -> None:
    x, y = x[start:stop], y[start:stop]
    zero, a = x.dtype.type(0), x.dtype.type(slope)
    for i in range(x.size):
        y[i] = x[i] if x[i] > zero else a * x[i]


@over_elements
def _leaky_relu_backward(start: int, stop: int, worker: int, grad: Array, x: Array, slope: float, dx: Array) -> None:
    grad, x, dx = grad[start:stop], x[start:stop], dx[start:stop]
    zero, a = x.dtype.type(0), x.dtype.type(slope)
    for i in range(grad.size):
        dx[i] = grad[i] if x[i] > zero else a * grad[i]  # y[i] = x[i] if x[i] > zero else a * x[i]


# gelu(x) = x P(x), P the normal distribution function (D. Hendrycks, K. Gimpel, arXiv:1606.08415):
# P(x) = (1 + erf(x / sqrt 2)) / 2, or approximately (1 + tanh(u / 2)) / 2 = sigmoid(u),
# u = 2 sqrt(2 / pi) (x + 0.044715 x^3). Written as a sigmoid, it does not cancel where x < 0.
@over_elements
def _gelu(start: int, stop: int, worker: int, x: Array, approximate: bool, y: Array) -> None:
    x, y = x[start:stop], y[start:stop]
    real = x.dtype.type
    if approximate:
        a, b = real(_TANH_SCALE), real(_TANH_SCALE * _CUBIC)
        for i in range(x.size):
            v = x[i]
            y[i] = v * scalar_sigmoid(v * (a + b * v * v))
    else:
        for i in range(x.size):
            y[i] = x[i] * normal(x[i])


@over_elements
def _gelu_backward(start: int, stop: int, worker: int, grad: Array, x: Array, approximate: bool, dx: Array) -> None:
    grad, x, dx = grad[start:stop], x[start:stop], dx[start:stop]
    real = x.dtype.type
    one, limit = real(1), real(_SATURATED)
    if approximate:
        a, b, b3 = real(_TANH_SCALE), real(_TANH_SCALE * _CUBIC), real(3 * _TANH_SCALE * _CUBIC)
        for i in range(grad.size):
            v = x[i]
            v = limit if v > limit else v
            v = -limit if v < -limit else v
            s = scalar_sigmoid(v * (a + b * v * v))
            # y[i] = v * s
            dx[i] = grad[i] * s * (one + v * (one - s) * (a + b3 * v * v))
    else:
        for i in range(grad.size):
            dx[i] = grad[i] * gelu_slope(x[i])


# silu(x) = x s(x), s the logistic sigmoid
@over_elements
def _silu(start: int, stop: int, worker: int, x: Array, y: Array) -> None:
    x, y = x[start:stop], y[start:stop]
    for i in range(x.size):
        y[i] = x[i] * scalar_sigmoid(x[i])


@over_elements
def _silu_backward(start: int, stop: int, worker: int, grad: Array, x: Array, dx: Array) -> None:
    grad, x, dx = grad[start:stop], x[start:stop], dx[start:stop]
    one = x.dtype.type(1)
    for i in range(grad.size):
        s = scalar_sigmoid(x[i])
        dx[i] = grad[i] * s * (one + x[i] * (one - s))  # y[i] = x[i] * s


# y = silu(gate) up (N. Shazeer, GLU Variants Improve Transformer, arXiv:2002.05202)
@over_elements
def _swiglu(start: int, stop: int, worker: int, gate: Array, up: Array, y: Array) -> None:
    gate, up, y = gate[start:stop], up[start:stop], y[start:stop]
    for i in range(gate.size):
        y[i] = gate[i] * scalar_sigmoid(gate[i]) * up[i]


@over_elements
def _swiglu_backward(
    start: int, stop: int, worker: int, grad: Array, gate: Array, up: Array, dgate: Array, dup: Array
) -> None:
    grad, gate, up, dgate, dup = grad[start:stop], gate[start:stop], up[start:stop], dgate[start:stop], dup[start:stop]
    one = gate.dtype.type(1)
    for i in range(grad.size):
        s = scalar_sigmoid(gate[i])
        # y[i] = gate[i] * s * up[i]
        dgate[i] = grad[i] * up[i] * s * (one + gate[i] * (one - s))
        dup[i] = grad[i] * gate[i] * s


@over_elements
def _sigmoid(start: int, stop: int, worker: int, x: Array, y: Array) -> None:
    x, y = x[start:stop], y[start:stop]
    for i in range(x.size):
        y[i] = scalar_sigmoid(x[i])


@over_elements
def _erf(start: int, stop: int, worker: int, x: Array, y: Array) -> None:
    x, y = x[start:stop], y[start:stop]
    for i in range(x.size):
        y[i] = scalar_erf(x[i])


def relu(x: Array) -> Array:
    """x where it is positive or NaN, else 0."""
    y = empty_like(x)
    _relu(x.reshape(-1), y.reshape(-1))
    return y


def relu_backward(grad: Array, y: Array) -> Array:
    """The gradient of x, given that of y = relu(x)."""
    dx = empty_like(y)
    _relu_backward(grad.reshape(-1), y.reshape(-1), dx.reshape(-1))
    return dx


def leaky_relu(x: Array, slope: float) -> Array:
    """x where it is positive, else slope * x."""
    y = empty_like(x)
    _leaky_relu(x.reshape(-1), float(slope), y.reshape(-1))
    return y


def leaky_relu_backward(grad: Array, x: Array, slope: float) -> Array:
    """The gradient of x, given that of leaky_relu(x, slope)."""
    dx = empty_like(x)
    _leaky_relu_backward(grad.reshape(-1), x.reshape(-1), float(slope), dx.reshape(-1))
    return dx


def gelu(x: Array, tanh: bool = False) -> Array:
    """x times the normal distribution function at x, by erf or by its approximation with tanh."""
    y = empty_like(x)
    _gelu(x.reshape(-1), tanh, y.reshape(-1))
    return y


def gelu_backward(grad: Array, x: Array, tanh: bool = False) -> Array:
    """The gradient of x, given that of gelu(x, tanh)."""
    dx = empty_like(x)
    _gelu_backward(grad.reshape(-1), x.reshape(-1), tanh, dx.reshape(-1))
    return dx


def silu(x: Array) -> Array:
    """x times the logistic sigmoid of x."""
    y = empty_like(x)
    _silu(x.reshape(-1), y.reshape(-1))
    return y


def silu_backward(grad: Array, x: Array) -> Array:
    """The gradient of x, given that of silu(x)."""
    dx = empty_like(x)
    _silu_backward(grad.reshape(-1), x.reshape(-1), dx.reshape(-1))
    return dx


def swiglu(gate: Array, up: Array) -> Array:
    """silu(gate) * up."""
    y = empty_like(gate)
    _swiglu(gate.reshape(-1), up.reshape(-1), y.reshape(-1))
    return y


def swiglu_backward(grad: Array, gate: Array, up: Array) -> tuple[Array, Array]:
    """The gradients of gate and up, given that of swiglu(gate, up)."""
    dgate, dup = empty_like(gate), empty_like(up)
    _swiglu_backward(grad.reshape(-1), gate.reshape(-1), up.reshape(-1), dgate.reshape(-1), dup.reshape(-1))
    return dgate, dup


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x)"""
    y = empty_like(x)
    _sigmoid(x.reshape(-1), y.reshape(-1))
    return y


def erf(x: Array) -> Array:
    """(2 / sqrt(pi)) times the integral of exp(-t^2) from 0 to x."""
    y = empty_like(x)
    _erf(x.reshape(-1), y.reshape(-1))
    return y
