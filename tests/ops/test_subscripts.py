"""Random index expressions: what x[...] reads, what x[...] = v writes, and the gradients of both.

Against a reference in NumPy, which takes integers before anything else as PyTorch does, and against PyTorch itself.
NumPy itself puts dimensions elsewhere, where an integer stands beside an index array, or an ellipsis of no dimensions
between two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch.compiled.arrays import NotTraceable

EXPRESSIONS = 600  # each with other shapes, kinds and orders of parts
SEEDS = range(4)


class Index:
    """A random index into a shape: for either library, and for NumPy one part after another."""

    def __init__(self, rng: Any, shape: tuple[int, ...]) -> None:
        self.rng, self.shape = rng, shape
        self.common = tuple(rng.integers(1, 4, rng.integers(1, 3)))  # what index arrays broadcast to
        self.parts: list[tuple[str, Any]] = []
        skipped = int(rng.integers(0, len(shape) + 1)) if rng.random() < 0.4 else None  # dimensions in place of "..."
        dim = 0
        while dim < len(shape):
            if skipped is not None and dim >= skipped:
                self.parts.append(("ellipsis", ...))
                dim += int(rng.integers(0, len(shape) - dim + 1))
                skipped = None
                continue
            if rng.random() < 0.15:
                self.parts.append(("none", None))
            if rng.random() < 0.04:
                self.parts.append(("bool", bool(rng.random() < 0.7)))
            if skipped is None and rng.random() < 0.1:
                break  # fewer parts than dimensions
            dim += self._add(dim)

    def _add(self, dim: int) -> int:
        size, rng = self.shape[dim], self.rng
        kind = rng.choice(["integer", "integer", "slice", "slice", "array", "array", "mask"])
        if kind == "integer" and size:
            self.parts.append(("integer", int(rng.integers(-size, size))))
        elif kind == "array" and size:
            shape = [n if rng.random() < 0.8 else 1 for n in self.common][int(rng.integers(0, len(self.common))) :]
            self.parts.append(("array", rng.integers(-size, size, shape)))
        elif kind == "mask":
            reach = int(rng.integers(1, min(2, len(self.shape) - dim) + 1))
            self.parts.append(("mask", rng.random(self.shape[dim : dim + reach]) < 0.5))
            return reach
        else:
            ends = [None if rng.random() < 0.4 else int(n) for n in rng.integers(-size - 1, size + 2, 2)]
            self.parts.append(("slice", slice(*ends, None if rng.random() < 0.6 else int(rng.integers(1, 4)))))
        return 1

    def forms(self, t: Any) -> Any:
        """The index for a library, each part in one of the forms that users write."""
        rng = np.random.default_rng(len(self.parts) + sum(self.shape))
        parts = tuple(_form(t, kind, value, rng) for kind, value in self.parts)
        if len(parts) == 1 and not (isinstance(parts[0], list) and parts[0] and isinstance(parts[0][0], list)):
            return parts[0] if rng.random() < 0.5 else parts
        return parts

    def read(self, x: Any) -> Any:
        """What PyTorch reads, by NumPy: integers first, from the last dimension to the first, then the rest."""
        reaches = {"integer": 1, "slice": 1, "array": 1, "none": 0, "bool": 0, "ellipsis": None}
        named = sum(value.ndim if kind == "mask" else reaches[kind] or 0 for kind, value in self.parts)
        dims, dim = [], 0
        for kind, value in self.parts:
            dims.append(dim)
            dim += x.ndim - named if kind == "ellipsis" else value.ndim if kind == "mask" else reaches[kind]
        gone = {"integer", "ellipsis"} if named == x.ndim else {"integer"}  # an ellipsis of no dimensions parts nothing
        for (kind, value), dim in reversed(list(zip(self.parts, dims, strict=True))):
            if kind == "integer":
                x = np.take(x, value, axis=dim)
        return x[tuple(value for kind, value in self.parts if kind not in gone)]

    def __repr__(self) -> str:
        return f"shape {self.shape}, index {[value for _, value in self.parts]}"


def _form(t: Any, kind: str, value: Any, rng: Any) -> Any:
    if kind == "integer":
        number = t.tensor(value, dtype=[t.int64, t.int32, t.int16][rng.integers(3)])
        return [value, np.int64(value), np.int32(value), number][rng.integers(4)]
    if kind == "array":
        forms = [t.tensor(value), t.tensor(value, dtype=t.int32), value, value.tolist()]
        return forms[rng.integers(4)] if value.ndim else forms[0]
    if kind == "mask":
        # PyTorch takes an array for a single dimension, beside an ellipsis, whatever it has.
        return [t.tensor(value), value, value.tolist()][rng.integers(3) if value.size and value.ndim == 1 else 0]
    if kind == "slice" and rng.random() < 0.2 and value.start is not None:
        return slice(t.tensor(value.start), value.stop, value.step)
    return value


def drawn(seed: int) -> Any:
    """Pairs of an array and an index into it that PyTorch and NumPy take."""
    rng = np.random.default_rng(seed)
    found = 0
    while found < EXPRESSIONS:
        shape = tuple(int(n) for n in rng.integers(0 if rng.random() < 0.1 else 1, 5, rng.integers(1, 5)))
        index = Index(rng, shape)
        array = rng.standard_normal(shape)
        try:
            index.read(array)
        except IndexError:  # index arrays that do not broadcast together
            with pytest.raises(IndexError):
                tinytorch.from_numpy(array)[index.forms(tinytorch)]
            continue
        found += 1
        yield array, index, rng


def value_for(shape: tuple[int, ...], rng: Any) -> Any:
    """Something to write into a shape: sometimes broadcast, sometimes with ones in front."""
    start = int(rng.integers(0, len(shape) + 1)) if rng.random() < 0.5 else 0
    shape = tuple(n if rng.random() < 0.8 else 1 for n in shape[start:])
    return rng.standard_normal((1,) * int(rng.integers(0, 3) if not start and rng.random() < 0.3 else 0) + shape)


def results(t: Any, array: Any, index: Index, value: Any, cotangent: Any, written_cotangent: Any) -> Any:
    """What is read, its gradient, what is written, with its gradients; and written without recording."""
    x, v = (t.from_numpy(a.copy()).requires_grad_() for a in (array, value))
    read = x[index.forms(t)]
    read.backward(t.from_numpy(cotangent))
    read_gradient, x.grad = x.grad, None
    y = x.clone()
    y[index.forms(t)] = v
    y.backward(t.from_numpy(written_cotangent))
    z = t.from_numpy(array.copy())
    z[index.forms(t)] = v.detach()
    return [r.detach().numpy() for r in (read, read_gradient, y, x.grad, v.grad, z)]


def cotangents(array: Any, index: Index, rng: Any) -> Any:
    shape = index.read(array).shape
    return value_for(shape, rng), np.asarray(rng.standard_normal(shape)), rng.standard_normal(array.shape)


@pytest.mark.parametrize("seed", SEEDS)
def test_as_numpy_with_integers_first(seed: int) -> None:
    for array, index, rng in drawn(seed):
        value, cotangent, written_cotangent = cotangents(array, index, rng)
        places = index.read(np.arange(array.size).reshape(array.shape))  # which element each of the result is
        gradient = np.zeros(array.size)
        np.add.at(gradient, places, cotangent)
        stripped = value.reshape(value.shape[max(value.ndim - places.ndim, 0) :])
        written = array.reshape(-1).copy()
        written[places] = stripped
        is_written = np.zeros(array.size, np.bool_)
        is_written[places] = True
        expected = (
            array.reshape(-1)[places],
            gradient.reshape(array.shape),
            written.reshape(array.shape),
            np.where(is_written.reshape(array.shape), 0, written_cotangent),
            None,
            written.reshape(array.shape),
        )
        found = results(tinytorch, array, index, value, cotangent, written_cotangent)
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            if b is not None:
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=f"result {i}: {index!r}")
        # Each value written gets the gradient of its place, summed where it was broadcast.
        at_places = written_cotangent.reshape(-1)[places]
        onto = np.zeros(stripped.shape)
        origin = np.broadcast_to(np.arange(stripped.size).reshape(stripped.shape), places.shape)
        np.add.at(onto.reshape(-1), origin, at_places)
        np.testing.assert_allclose(found[4].reshape(stripped.shape), onto, rtol=1e-9, atol=1e-9, err_msg=repr(index))


@pytest.mark.oracle
@pytest.mark.parametrize("seed", SEEDS)
def test_as_pytorch(seed: int) -> None:
    import torch

    for array, index, rng in drawn(100 + seed):
        arguments = array, index, *cotangents(array, index, rng)
        pairs = zip(results(tinytorch, *arguments), results(torch, *arguments), strict=True)
        for i, (a, b) in enumerate(pairs):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=f"result {i}: {index!r}")


def compiled_as_written(function: Any, *calls: tuple[Any, ...]) -> None:
    compiled = tinytorch.compile(function)
    for arguments in (*calls, calls[0]):
        np.testing.assert_array_equal(compiled(*arguments).numpy(), function(*arguments).numpy())


def test_integers_that_are_tensors_may_change_between_compiled_calls() -> None:
    """Beside an index array too, where the integer selects first, and in what is written."""
    x = tinytorch.arange(24.0).reshape(2, 3, 4)
    first, second = (tinytorch.tensor(1), tinytorch.tensor([0, 3])), (tinytorch.tensor(0), tinytorch.tensor([2, 2]))

    def write(x: Any, i: Any, places: Any) -> Any:
        y = x.clone()
        y[i, :, places] = 5.0
        return y

    def write_without_recording(x: Any, i: Any, places: Any) -> Any:
        with tinytorch.no_grad():
            return write(x, i, places)

    def gradient(x: Any, i: Any, places: Any) -> Any:
        leaf = x.clone().requires_grad_()
        (leaf[i, :, places] * leaf[i, :, :2]).sum().backward()
        return leaf.grad

    reads = (lambda x, i, places: x[i, :, places], lambda x, i, _: x[i])
    for function in (*reads, write, write_without_recording, gradient):
        compiled_as_written(function, (x, *first), (-x, *second))


def test_by_hand() -> None:
    x = tinytorch.arange(8.0).reshape(2, 2, 2)
    assert x[0, :, tinytorch.tensor([0, 1])].tolist() == [[0, 1], [2, 3]]
    assert x[tinytorch.tensor(1), :, [1, 0]].tolist() == [[5, 4], [7, 6]]
    assert x[..., 0, [1, 1, 0]].tolist() == [[1, 1, 0], [5, 5, 4]]
    assert x[[0, 1], None, np.int64(1)].tolist() == [[[2, 3]], [[6, 7]]]
    x[1, :, tinytorch.tensor([0, 1])] = tinytorch.tensor([[10.0, 11.0], [12.0, 13.0]])
    assert x[1].tolist() == [[10, 11], [12, 13]]
    x[0, :, [1]] = -1.0
    assert x[0].tolist() == [[0, -1], [2, -1]]


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8")
def test_uint8_is_a_mask_as_in_pytorch() -> None:
    import torch

    array = np.arange(12.0).reshape(3, 4)
    for mask in (np.array([1, 0, 1]), np.array([[1, 0, 1, 0]] * 3), np.array(1)):
        ours = tinytorch.from_numpy(array)[tinytorch.tensor(mask, dtype=tinytorch.uint8)]
        np.testing.assert_array_equal(ours.numpy(), torch.from_numpy(array)[torch.tensor(mask, dtype=torch.uint8)])


@pytest.mark.parametrize("recording", [True, False])
@pytest.mark.parametrize(
    "index, error, words",
    [
        ([np.array([0, 1]), 1], IndexError, "ambiguous"),
        ([[0, 1], [1, 0]], IndexError, "ambiguous"),
        ([slice(1), 0], IndexError, "ambiguous"),
        (([np.array([0]), np.array([1])],), IndexError, "sequence of Tensors"),
        ((((0,),),), IndexError, "sequence of Tensors, arrays or tuples"),
        ((slice(None), [[0, 1], [0]]), IndexError, "one length"),
        (slice(None, None, -1), ValueError, "greater than zero"),
        (0.5, IndexError, "got float"),
        ("a", IndexError, "got str"),
    ],
    ids=str,
)
def test_what_has_no_one_meaning_is_refused_in_one_line(index: Any, error: Any, words: str, recording: bool) -> None:
    x = tinytorch.zeros(2, 3, requires_grad=recording) * 1
    for use in (lambda: x[index], lambda: x.__setitem__(index, 1.0)):
        with pytest.raises(error, match=words) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_numbers_in_a_list_may_be_tensors() -> None:
    x = tinytorch.arange(6).reshape(2, 3)
    assert x[:, [tinytorch.tensor(2), 0, np.int64(1)]].tolist() == [[2, 0, 1], [5, 3, 4]]
    with pytest.raises(NotTraceable, match="item"):
        tinytorch.compile(lambda x, i: x[:, [i, 0]])(x, tinytorch.tensor(2))
