"""Every example at its edges, on arrays without dimensions or elements, and which of these are refused."""

from __future__ import annotations

from collections.abc import Iterable

from tests.ops.checks import Example

# (error, part of its message): the examples that raise it, by the edge. A shape that is not here is computed.
_REFUSED: dict[tuple[type[Exception], str], dict[str, str]] = {
    # dimensions
    (IndexError, "Dimension out of range"): {
        "0d": "Amax-0 Amin-0 AnyTrue-1 ArgMax-1 ArgSort-0 CumSum-0 Flip-1 Gather-0 Gather-2 LogSoftmaxBackward-0 "
        "LogSumExp-0 LogSumExp-1 Permute-0 Permute-2 Prod-0 Reshape-2 Roll-1 SoftmaxBackward-0 Sum-2 Unfold-0 Var-1",
    },
    (IndexError, "tuple index out of range"): {
        "0d": "LowRankLinear-0 LowRankLinear-1 Linear-2 QuantizedProduct-0 Rope-0 Rope-1"
    },
    (IndexError, "a tensor without dimensions has no slices"): {"0d": "Unbind-0 Unbind-1"},
    (RuntimeError, "expects a tensor of at least one dimension"): {"0d": "Split-0 Split-1 Split-2 Split-3"},
    (RuntimeError, "embedding: 'weight' must be 2-D"): {"0d": "Embedding-0"},
    (RuntimeError, "names a dimension twice"): {"0d": "Flip-0 Sum-1"},
    (RuntimeError, "at least 2 dimensions"): {"0d": "Tril-0 Tril-1 Triu-0"},
    (RuntimeError, "both arguments to matmul need to be at least 1D"): {
        "0d": "Matmul-0 Matmul-1 Matmul-2 Matmul-3 Matmul-4 Matmul-6"
    },
    (RuntimeError, "mT needs a tensor of at least 2 dimensions"): {"0d": "Matmul-5 Transpose-1"},
    (RuntimeError, "scaled_dot_product_attention: expected tensors of at least 2 dimensions"): {
        "0d": "Attention-0 Attention-1 Attention-2 Attention-3 Attention-4 Attention-5"
    },
    (RuntimeError, "zero-dimensional tensors cannot be concatenated"): {"0d": "Cat-0"},
    (RuntimeError, "expected pairs for at most 0 dimensions"): {"0d": "Pad-0 Pad-1"},
    (RuntimeError, "index has 2 dimensions, input 1: they must agree"): {"0d": "ScatterAdd-0"},
    (RuntimeError, "probabilities .* as target must have the shape of the scores"): {
        "0d": "SoftCrossEntropy-0 SoftCrossEntropy-3"
    },
    (RuntimeError, "expected a weight for each of 0 classes"): {"0d": "SoftCrossEntropy-1 SoftCrossEntropy-2"},
    # shapes
    (RuntimeError, "the head size must not be 0"): {
        "no_4": "Attention-0 Attention-1 Attention-2 Attention-3 Attention-4 Attention-5"
    },
    (RuntimeError, r"attn_mask \(3, 5\) does not broadcast"): {"no_3": "Attention-3"},
    (RuntimeError, "could not be broadcast together"): {
        "no_3": "Remainder-2",
        "no_4": "Prod-2 ReluBackward-0 Where-0 Where-1 Where-2",
    },
    (RuntimeError, "gradient has shape .* they must agree"): {
        "0d": "EmbeddingBackward-0 Fold-0 ReluBackward-0 Scatter-1 Unsplit-0",
        "no_3": "EmbeddingBackward-0 Fold-0",
        "no_4": "EmbeddingBackward-0",
    },
    (RuntimeError, "cannot be expanded"): {"no_3": "Expand-0"},
    (RuntimeError, "not broadcastable to correct shape"): {"no_3": "Scatter-0", "no_4": "Scatter-0"},
    (RuntimeError, "cannot be summed to shape"): {"0d": "SumToSize-0", "no_3": "SumToSize-0"},
    (RuntimeError, "cannot reshape"): {"0d": "Reshape-0 View-0", "no_4": "CrossEntropy-3"},
    (RuntimeError, "crops more than there is"): {"no_3": "Pad-1"},
    (RuntimeError, "must add up to 0"): {"no_4": "Split-1"},
    (RuntimeError, "linear: input .* does not fit weight"): {
        "0d": "Linear-0 Linear-1 Linear-3 QuantizedProduct-1",
    },
    (RuntimeError, "must be the last sizes of the input"): {
        "0d": "LayerNorm-0 LayerNorm-1 LayerNorm-2 RMSNorm-0 RMSNorm-1",
        "no_3": "LayerNorm-1 RMSNorm-1",
        "no_4": "LayerNorm-0 LayerNorm-1 LayerNorm-2 RMSNorm-0 RMSNorm-1",
    },
    (ValueError, "expect a target of shape"): {
        "0d": "CrossEntropy-0 CrossEntropy-1 CrossEntropy-2 CrossEntropy-3",
        "no_3": "CrossEntropy-0 CrossEntropy-1 CrossEntropy-2",
    },
    # values, of which there are none
    (IndexError, "out of bounds for 0 classes"): {"no_4": "CrossEntropy-0 CrossEntropy-1 CrossEntropy-2"},
    (IndexError, "the reduced dimensions of shape .* must not be empty"): {
        "no_3": "Amin-0",
        "no_4": "Amax-0 Amin-0",
    },
    (IndexError, "expected a tensor with elements"): {"no_3": "ArgMax-0 ArgMin-0", "no_4": "ArgMax-0 ArgMin-0"},
    (IndexError, "dimension [01] of shape .* must not be empty"): {"no_3": "ArgMin-1", "no_4": "ArgMax-1"},
    (RuntimeError, "has no (largest|smallest) element: give a dimension"): {
        "no_3": "Amax-1 Amin-1 Max-0 Min-0",
        "no_4": "Amax-1 Amin-1 Max-0 Min-0",
    },
    (IndexError, "embedding: .* out of bounds for 0 rows"): {"no_3": "Embedding-0"},
    (IndexError, "too many indices"): {
        "0d": "Index-0 Index-1 Index-2 Index-3 Index-4 IndexAssign-0 IndexAssign-1 IndexAssign-2 IndexAssign-3 Put-0 "
        "Slice-0 Slice-1"
    },
    (IndexError, "is out of bounds for axis"): {
        "no_3": "Index-0 IndexAssign-0 IndexAssign-2 IndexAssign-3 Slice-1",
        "no_4": "Index-0 Index-1 Index-3 Index-4 IndexAssign-1 IndexAssign-3 Slice-1",
    },
    (IndexError, "boolean index did not match"): {"no_3": "Index-2"},
    (RuntimeError, "a tensor without dimensions has one slice"): {"0d": "IndexSelect-0"},
    (IndexError, "index_select: .* out of bounds for 0 slices"): {"no_4": "IndexSelect-0"},
    (RuntimeError, "gather: .* out of bounds for 0 places"): {"no_4": "Gather-0 Gather-2"},
    (RuntimeError, "reaches beyond (input|src)"): {"no_3": "Gather-0 ScatterAdd-0", "no_4": "ScatterAdd-0"},
    (RuntimeError, "take_along_dim: .* does not broadcast"): {"no_3": "Gather-2"},
    (RuntimeError, "unfold: size 2 must be from 0 to [01]"): {"0d": "Unfold-1 Unfold-2", "no_3": "Unfold-1"},
}

REFUSED: dict[tuple[str, str], tuple[type[Exception], str]] = {
    (name, edge): error for error, edges in _REFUSED.items() for edge, names in edges.items() for name in names.split()
}


def at_edges(examples: Iterable[Example]) -> list[tuple[Example, str]]:
    """Every example with every edge that changes its shapes."""
    edges = ("0d", "no_3", "no_4")
    return [(example, edge) for example in examples for edge in edges if example.at(edge).shapes != example.shapes]
