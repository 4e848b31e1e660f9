"""What NumPy does to traced arrays, done again to other numbers: keywords, places for results, orders, refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.compiled.arrays import NotTraceable, Recorded, escaped
from tinytorch.compiled.tape import Tape
from tinytorch.kernels import embedding
from tinytorch.kernels.activation import relu
from tinytorch.kernels.launch import launched

Function = Callable[..., Any]  # of x (4, 3), y (4, 3), a mask (4, 3), an index (2,), and zeros (4, 3) to write into

# Every keyword of a ufunc and of its methods.
UFUNCS: dict[str, Function] = {
    "call": lambda x, y, m, i, o: np.add(x, y),
    "where": lambda x, y, m, i, o: np.add(x, y, where=m, out=o),
    "where alone": lambda x, y, m, i, o: np.where(m, np.multiply(x, y, where=m, out=None), 0),
    "out": lambda x, y, m, i, o: (np.subtract(x, y, out=o), o * 1),
    "out by place": lambda x, y, m, i, o: (np.subtract(x, y, o), o * 1),
    "out of maximum": lambda x, y, m, i, o: (np.maximum(x, y, out=o), o * 1),
    "out of two": lambda x, y, m, i, o: (np.divmod(x, y, out=(o, np.zeros_like(x))), o * 1),
    "one out of two": lambda x, y, m, i, o: np.modf(x * 3),
    "out is an argument": lambda x, y, m, i, o: (np.multiply(o, 0, out=o), np.add(o, x, out=o), o * 1),
    "dtype": lambda x, y, m, i, o: np.add(x, y, dtype=np.float64),
    "casting": lambda x, y, m, i, o: np.add(x, y, casting="unsafe", dtype=np.float32),
    "casting and out": lambda x, y, m, i, o: np.add(x, y, casting="unsafe", out=np.zeros((4, 3), np.int32, like=x)),
    "order": lambda x, y, m, i, o: np.add(x, y, order="F"),
    "subok": lambda x, y, m, i, o: np.add(x, y, subok=False),
    "signature": lambda x, y, m, i, o: np.add(x, y, signature="dd->d"),
    "axes": lambda x, y, m, i, o: np.matmul(x, y, axes=[(0, 1), (1, 0), (0, 1)]),
    "reduce": lambda x, y, m, i, o: np.add.reduce(x),
    "reduce axis": lambda x, y, m, i, o: np.add.reduce(x, axis=1),
    "reduce axis by place": lambda x, y, m, i, o: np.add.reduce(x, 1),
    "reduce all axes": lambda x, y, m, i, o: np.multiply.reduce(x, axis=None),
    "reduce keepdims": lambda x, y, m, i, o: np.maximum.reduce(x, axis=-1, keepdims=True),
    "reduce initial": lambda x, y, m, i, o: np.maximum.reduce(x, axis=0, initial=0.25),
    "reduce where": lambda x, y, m, i, o: np.add.reduce(x, axis=0, where=m, initial=1.0),
    "reduce dtype": lambda x, y, m, i, o: np.add.reduce(x, axis=0, dtype=np.float64),
    "reduce out": lambda x, y, m, i, o: (np.add.reduce(x, axis=0, out=o[1]), o * 1),
    "accumulate": lambda x, y, m, i, o: np.add.accumulate(x, axis=1),
    "accumulate out": lambda x, y, m, i, o: (np.multiply.accumulate(x, axis=0, dtype=np.float32, out=o), o * 1),
    "reduceat": lambda x, y, m, i, o: np.add.reduceat(x, [0, 2], axis=0),
    "reduceat by a traced index": lambda x, y, m, i, o: np.add.reduceat(x, i, axis=0, dtype=np.float64),
    "outer": lambda x, y, m, i, o: np.multiply.outer(x, y),
    "outer dtype": lambda x, y, m, i, o: np.subtract.outer(x[0], y[0], dtype=np.float64),
    "at": lambda x, y, m, i, o: (np.add.at(o, i, x[:2]), o * 1),
    "at of one argument": lambda x, y, m, i, o: (np.add(o, x, out=o), np.negative.at(o, i), o * 1),
    "in place": lambda x, y, m, i, o: o.__iadd__(x).__imul__(y),
}

METHODS: dict[str, Function] = {
    "sum": lambda x, y, m, i, o: x.sum(axis=1, keepdims=True, initial=2.0, where=m),
    "sum out": lambda x, y, m, i, o: (x.sum(axis=0, out=o[0]), o * 1),
    "mean": lambda x, y, m, i, o: x.mean(axis=1, dtype=np.float64),
    "max": lambda x, y, m, i, o: (x.max(axis=1, keepdims=True), x.max(0, initial=0.5, where=m)),
    "max out": lambda x, y, m, i, o: (x.max(axis=0, out=o[0]), o * 1),
    "cumsum out": lambda x, y, m, i, o: (np.cumsum(x, axis=0, out=o), o * 1),
    "np.sum out": lambda x, y, m, i, o: (np.sum(x, axis=0, out=o[0]), o * 1),
    "clip out": lambda x, y, m, i, o: (np.clip(x, -0.5, 0.5, out=o), o * 1),
    "clip out by place": lambda x, y, m, i, o: (np.clip(x, -0.5, 0.5, o), o * 1),
    "take": lambda x, y, m, i, o: (x.take(i, 0), np.take(x, i, axis=1, mode="wrap"), np.take(x, 5)),
    "take out": lambda x, y, m, i, o: (np.take(x, i, axis=0, out=o[:2]), o * 1),
    "concatenate": lambda x, y, m, i, o: np.concatenate([x, y], 1),
    "concatenate dtype": lambda x, y, m, i, o: np.concatenate([x, y], axis=0, dtype=np.float64),
    "concatenate out": lambda x, y, m, i, o: (np.concatenate([x[:2], y[:2]], out=o), o * 1),
    "copy": lambda x, y, m, i, o: (x.copy(), x.T.copy("F"), np.copy(x.T, order="K")),
    "reshape": lambda x, y, m, i, o: (x.reshape(3, 4), x.reshape((2, -1)), x.reshape(6, 2, order="F")),
    "reshape of nothing": lambda x, y, m, i, o: (x[:0].reshape(-1), x[:0].reshape(3, 0)),
    "where": lambda x, y, m, i, o: (np.where(m, x, y), np.where(m, x, 0.5)),
    "copyto": lambda x, y, m, i, o: (np.copyto(o, x, where=m), o * 1),
    "copyto cast": lambda x, y, m, i, o: (np.copyto(o, x.astype(np.float64), casting="unsafe"), o * 1),
    "order of new arrays": lambda x, y, m, i, o: [
        make((4, 3), np.float32, order="F", like=x) * 0 + x for make in (np.zeros, np.ones)
    ],
    "like": lambda x, y, m, i, o: (np.zeros_like(x) + x, np.full_like(x, 2) * x, np.empty_like(x, np.float64) * 0 + x),
    "views of an index": lambda x, y, m, i, o: (x[i], x[i, 1], x[i[0]], x[1, ...], x[m], x[:, None, ::-1]),
    "set": lambda x, y, m, i, o: (o.__setitem__(i, x[:2]), o.__setitem__((m, ...), 9.0), o * 1),
    "splits": lambda x, y, m, i, o: (*np.split(x, 2), *np.array_split(x, [1, 3]), *np.hsplit(x, [1])),
    "itself": lambda x, y, m, i, o: (np.atleast_2d(x) * 2, np.squeeze(x) + 1, x.astype(x.dtype, copy=False) * 3),
}


def numbers(seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 4, 3)).astype(np.float32)
    index = np.array([[0, 2], [1, 3], [0, 3]][seed])
    mask = np.zeros(12, np.bool_)
    mask[rng.permutation(12)[:5]] = True  # always as many
    return [x, y, mask.reshape(4, 3), index, np.zeros((4, 3), np.float32)]


def found(result: Any) -> list[Any]:
    """The arrays of a result."""
    if isinstance(result, (tuple, list)):
        return [array for item in result for array in found(item)]
    return [] if result is None else [result.value if type(result) is Recorded else np.asarray(result)]


@pytest.mark.filterwarnings("ignore:'where' used without 'out'")
@pytest.mark.parametrize("name", [*UFUNCS, *[f"method {name}" for name in METHODS]])
def test_is_done_again_to_other_numbers(name: str) -> None:
    function = UFUNCS[name] if name in UFUNCS else METHODS[name.removeprefix("method ")]
    arrays = numbers(0)
    tape = Tape()
    with tape:
        *traced, out = [tape.outside(array) for array in arrays]
        results = found(function(*traced, np.zeros_like(out)))
    for seed in (0, 1, 2):
        inputs = numbers(seed)
        for array, new in zip(arrays, inputs, strict=True):
            array[...] = new
        expected = found(function(*inputs))
        for step, args in tape.steps:
            step(*args)
        assert len(results) == len(expected)
        for ours, theirs in zip(results, expected, strict=True):
            assert (ours.dtype, ours.shape, ours.strides) == (theirs.dtype, theirs.shape, theirs.strides)
            np.testing.assert_array_equal(ours, theirs)


REFUSED: dict[str, Function] = {
    "a place that is not traced": lambda x, y, m, i, o: np.add(x, y, out=np.zeros((4, 3), np.float32)),
    "such a place of at": lambda x, y, m, i, o: np.add.at(np.zeros((4, 3), np.float32), i, x[:2]),
    "such a place of copyto": lambda x, y, m, i, o: np.copyto(np.zeros((4, 3), np.float32), x),
    "a mask alone": lambda x, y, m, i, o: np.add(1.0, 2.0, where=m, out=np.zeros((4, 3))),
    "parts by values": lambda x, y, m, i, o: np.split(x, i),
    "parts that are not zero": lambda x, y, m, i, o: np.trim_zeros(x[0]),
    "a method that is not there": lambda x, y, m, i, o: x.searchsorted(1.0),
    "a sort in place": lambda x, y, m, i, o: x.sort(),
    "a choice": lambda x, y, m, i, o: np.array_equal(x, y),
    "a slice by values": lambda x, y, m, i, o: x[: i[0]],
    "a plain view": lambda x, y, m, i, o: y * np.asarray(x)[1:2],
    "a plain view in a function": lambda x, y, m, i, o: np.concatenate([y, np.asarray(x.T).T]),
    "a plain view that is written": lambda x, y, m, i, o: o.__setitem__(0, np.asarray(x)[0]),
    "a plain view from outside": lambda x, y, m, i, o: o.tape.outside(np.asarray(x)),
    "a kernel's plain view": lambda x, y, m, i, o: launched(np.copyto)(o, np.asarray(x)),
    "a kernel's copy": lambda x, y, m, i, o: launched(np.copyto)(o, np.array(x)),
    "a copy unseen": lambda x, y, m, i, o: np.array(x, subok=True),
    "a shape assigned": lambda x, y, m, i, o: x.__setattr__("shape", (3, 4)),
    "its bytes": lambda x, y, m, i, o: x.tobytes(),
    "its elements": lambda x, y, m, i, o: x.flat,
    "another class": lambda x, y, m, i, o: np.ndarray.view(x),
    "Numba's functions": lambda x, y, m, i, o: embedding._take.__wrapped__(x, i, o),  # type: ignore[attr-defined]
    "an integer": lambda x, y, m, i, o: [0, 1][i[0]],
    "a kernel's array that is not traced": lambda x, y, m, i, o: launched(np.copyto)(x, np.zeros((4, 3), np.float32)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    tape = Tape()
    with tape, pytest.raises((NotTraceable, AttributeError) if "assigned" in name else NotTraceable):
        REFUSED[name](*[tape.outside(array) for array in numbers(0)])


KNOWN = {
    "T", "all", "any", "argmax", "argmin", "argsort", "astype", "base", "copy", "ctypes", "cumsum", "device", "dtype",
    "fill", "flags", "flatten", "itemsize", "mT", "max", "mean", "min", "nbytes", "ndim", "prod", "ravel", "repeat",
    "reshape", "shape", "size", "squeeze", "strides", "sum", "swapaxes", "take", "transpose", "view",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in dir(np.ndarray) if not name.startswith("_") and name not in KNOWN])
def test_what_is_not_recorded_of_an_array_is_refused(name: str) -> None:
    with Tape() as tape, pytest.raises(NotTraceable):
        getattr(tape.outside(np.ones(3)), name)()


def test_recorded_arrays_are_arrays_and_give_their_memory_back_when_the_last_view_goes() -> None:
    with Tape() as tape:
        first = tape.empty((4, 3), np.float32)
        memory = first.memory
        view, plain_view = first.T[1:], np.asarray(first)
        assert isinstance(first, np.ndarray) and isinstance(view, np.ndarray) and type(plain_view) is np.ndarray
        assert view.base is view.root is first.root is first and not escaped(first) and escaped(plain_view[1:].T)
        del first
        assert tape.empty((4, 3), np.float32).memory is not memory
        del view
        assert tape.empty((4, 3), np.float32).memory is not memory  # whoever has a plain view might write into it
        del plain_view
        again = tape.empty((4, 3), np.float32)
        assert again.memory is memory and list(tape.alive) == [id(again)]


def test_kernels_get_their_memory_from_the_tape_of_the_thread() -> None:
    with Tape() as tape:
        x = tape.outside(np.asarray([[-1.0, 2.0]]))
        y = relu(x)
        assert type(y) is Recorded and [function.__name__ for function, _ in tape.steps] == ["_relu"]
        assert all(type(array) is np.ndarray for _, args in tape.steps for array in args)
        elsewhere: list[Any] = []
        thread = threading.Thread(target=lambda: elsewhere.append(relu(np.ones((1, 2)))))
        thread.start()
        thread.join()
        assert type(elsewhere[0]) is np.ndarray
        with tape.paused("not now"):
            assert type(relu(x.value)) is np.ndarray
            with pytest.raises(NotTraceable, match="not now"):
                relu(x)
    assert type(relu(x.value)) is np.ndarray and len(tape.steps) == 1


def test_an_attribute_that_no_array_has_is_an_attribute_error() -> None:
    tape = Tape()
    with tape:
        x = tape.outside(np.ones(3))
        assert not hasattr(x, "nothing")


def test_writes_are_counted_where_the_memory_is() -> None:
    tape = Tape()
    with tape:
        x = tape.outside(np.zeros((2, 3)))
        view = x[0]
        counts = []
        for write in (
            lambda: view.fill(1),
            lambda: x.__setitem__(0, 2),
            lambda: np.add(x, 1, out=x),
            lambda: np.add.at(view, [0], 1),
            lambda: np.copyto(x.T, 3),
            lambda: np.clip(x, 0, 2, x),
            lambda: np.cumsum(view, out=view),
            lambda: np.take(x, [0], axis=0, out=x[:1]),
            lambda: x + 1,
            lambda: np.atleast_1d(x),
        ):
            write()
            counts.append(x.writes)
        assert view.writes == 0 and counts == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]


def test_memory_is_laid_out_as_asked_for() -> None:
    tape = Tape()
    with tape:
        backward = tape.empty((2, 3), np.float32, (-16, 4), 16)
        backward.value[...] = np.arange(6).reshape(2, 3)
        assert backward.strides == (-16, 4) and backward.value.tolist() == [[0, 1, 2], [3, 4, 5]]
        apart = tape.empty((3,), np.float64, (16,))
        assert apart.memory is not None and apart.memory.nbytes >= 40 and apart.memory.ctypes.data % 64 == 0
