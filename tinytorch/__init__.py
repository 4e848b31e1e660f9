"""tinytorch: reverse-mode automatic differentiation on NumPy, with its hot loops compiled by Numba.

Names, arguments and defaults are those of PyTorch, for the part of PyTorch that is here.
"""

from __future__ import annotations

import builtins
import math

from . import autograd, backends, cuda, func, nn, optim, profiler, quantization, safetensors, testing, utils
from .autograd import Function, grad, is_anomaly_enabled, unfold
from .compiled.compile import compile
from .creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    logspace,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)  # fmt: skip
from .dtypes import (
    bfloat16,
    bool,
    device,
    double,
    finfo,
    float,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    result_type,
    set_default_dtype,
    short,
    uint8,
)  # fmt: skip
from .func import vmap
from .grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .kernels.gemm.gemm import get_matmul_backend, set_matmul_backend
from .kernels.launch import keep_freed_memory
from .kernels.stored.stored import get_float32_matmul_precision, set_float32_matmul_precision
from .kernels.threads import get_num_threads, set_num_threads
from .ops.activation import erf, relu, sigmoid, tanh
from .ops.arithmetic import abs, add, div, mul, neg, pow, reciprocal, square, sub
from .ops.bounds import clamp, clamp_max, clamp_min, maximum, minimum
from .ops.broadcasting import broadcast_to
from .ops.comparison import (
    allclose,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    eq,
    equal,
    ge,
    gt,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
)  # fmt: skip
from .ops.counting import bincount, bucketize, count_nonzero, searchsorted, unique
from .ops.cumulative import cumprod
from .ops.einsum import einsum
from .ops.elementwise import (
    cos,
    exp,
    expm1,
    lerp,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    masked_fill,
    rsqrt,
    sin,
    sqrt,
    where,
)  # fmt: skip
from .ops.extremes import amax, amin, argmax, argmin, max, min
from .ops.gathering import gather, scatter_add
from .ops.histogram import histogram
from .ops.indexing import index_put
from .ops.joining import cat, flip, hstack, roll, stack, tril, triu, unbind, vstack
from .ops.linalg import addmm, bmm, dot, matmul, mm, mv, outer
from .ops.norm import cosine_similarity, norm
from .ops.placing import diag, index_add, index_fill, scatter, trace
from .ops.reduction import all, any, cumsum, mean, prod, std, sum, var
from .ops.repeating import meshgrid, repeat_interleave, tile
from .ops.rounding import ceil, floor, floor_divide, remainder, round, sign, trunc
from .ops.sampling import bernoulli, multinomial
from .ops.selecting import index_select, masked_select, narrow, nonzero, select, take_along_dim
from .ops.shape import (
    chunk,
    flatten,
    movedim,
    permute,
    reshape,
    split,
    squeeze,
    t,
    transpose,
    unflatten,
    unsqueeze,
)
from .ops.softmax import log_softmax, logsumexp, softmax
from .ops.sorting import argsort, sort, topk
from .printing import set_printoptions
from .random import Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from .random_tensors import normal, rand, rand_like, randint, randn, randn_like, randperm
from .tensor import Size, Tensor

__version__ = "0.1.0"

keep_freed_memory()

clip, concat, concatenate, swapaxes, clone = clamp, cat, cat, transpose, Tensor.clone
subtract, multiply, divide, true_divide, negative, fix = sub, mul, div, div, neg, trunc
inf, nan, pi, e = math.inf, math.nan, math.pi, math.e


def is_tensor(obj: object) -> builtins.bool:
    """Whether an object is a Tensor."""
    return isinstance(obj, Tensor)


def numel(input: Tensor) -> builtins.int:
    """The number of elements."""
    return input.numel()
