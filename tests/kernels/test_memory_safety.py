"""No kernel works in memory that it does not own or may not write: see guarded.py, which runs them all."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch as torch
from tinytorch import kernels, nn, optim
from tinytorch.kernels.gemm.gemm import matmul
from tinytorch.kernels.optim import ArrayList, adam_coefficients, adamw, scale, zero

PROGRAM = Path(__file__).parent / "guarded.py"
SOURCES = sorted(Path(kernels.__path__[0]).rglob("*.py"))


def run(*arguments: str, **environment: str) -> str:
    """What a program prints. Its last lines say which kernel it ended in."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, f"{done.stdout[-300:]}\n{done.stderr[-3000:]}"
    return done.stdout


# ---------------------------------------------------------------------- what it does not own


@pytest.fixture(scope="module")
def digests() -> Any:
    """Of every kernel's results, in ordinary memory and between protected pages, on three threads."""
    if not hasattr(os, "fork"):
        pytest.skip("needs mmap and mprotect")
    return json.loads(run(str(PROGRAM), "protected", NUMBA_NUM_THREADS="3").splitlines()[-1])


def test_kernels_stay_between_protected_pages(digests: Any) -> None:
    assert len(digests) > 150


def test_memory_that_is_free_is_not_worked_in(digests: Any) -> None:
    """Freed memory is overwritten at once, and taken by whoever asks next; threads take turns on few cores."""
    disturbed = {"MALLOC_ARENA_MAX": "1", "MALLOC_PERTURB_": "165", "NUMBA_NUM_THREADS": "24"}
    assert json.loads(run(str(PROGRAM), "plain", **disturbed).splitlines()[-1]) == digests


@pytest.mark.parametrize("at_end", [True, False])
def test_one_byte_too_many_ends_the_program(at_end: bool) -> None:
    """Or the tests above would show nothing."""
    if not hasattr(os, "fork"):
        pytest.skip("needs mmap and mprotect")
    code = f"""
import ctypes, sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import numpy as np
from guarded import Protected
x = Protected({at_end})(np.arange(5, dtype=np.float32), written=True)
x[:] = 1
frozen = Protected({at_end})(x)
print(ctypes.string_at(x.ctypes.data, x.nbytes) == x.tobytes() == frozen.tobytes(), flush=True)
"""
    touches = [
        f"ctypes.string_at(x.ctypes.data + {'x.nbytes' if at_end else '-1'}, 1)",
        "frozen.__setitem__(0, 2)",
    ]
    for touch in touches:
        done = subprocess.run([sys.executable, "-c", code + touch], capture_output=True, text=True)
        assert done.stdout == "True\n" and done.returncode < 0, (touch, done.returncode, done.stderr)


def compiled_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Those of tinytorch/kernels with a decorator of the compiler's, and those that are compiled at their first use."""
    late = {"_gemm", "_planned", "_dot_products", "_product", "_product_in_pairs"}
    for source in SOURCES:
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                names = {decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name)}
                if names & {"serial", "inner", "apart"} or (node.name in late and source.stem in ("gemm", "stored")):
                    yield f"{source.stem}.{node.name}", node


def test_compiled_code_allocates_in_one_place_alone() -> None:
    """Memory that a kernel makes is gone after the last statement that names it, whatever addresses were taken."""
    makers = {"empty", "zeros", "ones", "full", "array", "arange", "empty_like", "zeros_like", "ones_like", "full_like",
              "copy", "astype", "ascontiguousarray", "concatenate", "where", "repeat", "flatten"}  # fmt: skip
    found, makes = [], []
    for name, function in compiled_functions():
        found.append(name)
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in makers:
                makes.append(name)
    assert {"gemm._gemm", "stored._product_in_pairs", "forward.forward", "optim._piece"} <= set(found)
    assert makes == ["tiles.scratch"]


def test_addresses_are_those_of_arguments() -> None:
    """Which the caller keeps: an array that a function makes itself, or has from another, may be gone before."""
    taken = 0
    for name, function in compiled_functions():
        arguments = {argument.arg for argument in function.args.args}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):  # a part of an argument
                whole, part = node.value.value, node.targets[0]
                if isinstance(whole, ast.Name) and whole.id in arguments and isinstance(part, ast.Name):
                    arguments.add(part.id)
        for node in ast.walk(function):
            array: ast.expr | None = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "pointer":
                array = node.args[0]
            elif isinstance(node, ast.Attribute) and node.attr == "ctypes":
                array = node.value
            if array is not None:
                taken += 1
                array = array.value if isinstance(array, ast.Subscript) else array
                assert isinstance(array, ast.Name) and array.id in arguments, f"{name}: {ast.unparse(node)}"
    assert taken > 20


@pytest.mark.slow
def test_a_backward_whose_scratch_memory_is_mapped(tmp_path: Path) -> None:
    """Blocks of 67 MB a worker, which are unmapped as soon as they are free."""
    code = """
import hashlib, sys
import numpy as np
from tinytorch.kernels.attention.attention import attention, attention_backward
rng = np.random.default_rng(0)
q, grad = (rng.standard_normal((2, 8, 64, 128)).astype(np.float32) for _ in range(2))
k, v = (rng.standard_normal((2, 8, 32768, 128)).astype(np.float32) for _ in range(2))
found = set()
for _ in range(2):
    out, stats = attention(q, k, v)
    results = attention_backward(grad, q, k, v, out, stats)
    found.add(hashlib.sha256(b"".join(x.tobytes() for x in (out, stats, *results))).hexdigest())
print(*found)
"""
    printed = {run("-c", code, NUMBA_NUM_THREADS=threads) for threads in ("1", "2", "24")}
    assert len(printed) == 1 and len(printed.pop().split()) == 1


# ---------------------------------------------------------------------- what it may not write


def frozen(*shape: int, dtype: Any = np.float32) -> Any:
    """A Tensor in memory that must not be written: as of a mapped file, a write to which ends the program."""
    array = np.ones(shape, dtype)
    array.flags.writeable = False
    return torch.from_numpy(array)


def parameter(*shape: int, grad: Any = None) -> Any:
    p = nn.Parameter(torch.ones(*shape))
    p.grad = torch.ones(*shape) if grad is None else grad
    return p


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
@pytest.mark.parametrize("grad", [frozen(2, 3), torch.ones(1).expand(2, 3), frozen(3, 2).mT], ids=["", "expanded", "T"])
def test_clip_grad_norm_leaves_read_only_gradients_alone(grad: Any, norm_type: float) -> None:
    parameters = [parameter(4), nn.Parameter(torch.ones(1)), parameter(2, 3, grad=grad)]
    with pytest.raises(RuntimeError, match=r"clip_grad_norm_: the gradient of parameter 2, float32 \(2, 3\), .*clone"):
        nn.utils.clip_grad_norm_(parameters, 0.1, norm_type)
    assert parameters[0].grad.tolist() == [1.0] * 4  # not even those that it may write
    assert grad.tolist() == [[1.0] * 3] * 2
    assert nn.utils.clip_grad_norm_(parameters, 100.0, norm_type) > 0  # nothing to write


def test_clip_grad_value_names_a_read_only_gradient() -> None:
    parameters = [parameter(4), parameter(2, grad=frozen(2))]
    with pytest.raises(RuntimeError, match=r"clip_grad_value_: the gradient of parameter 1, float32 \(2,\)"):
        nn.utils.clip_grad_value_(parameters, 0.1)
    assert parameters[0].grad.tolist() == [1.0] * 4


def test_zero_grad_names_a_read_only_gradient() -> None:
    layer = nn.Linear(2, 3)
    layer.weight.grad, layer.bias.grad = torch.ones(3, 2), frozen(3)
    for owner in (layer, optim.SGD(layer.parameters(), lr=0.1)):
        with pytest.raises(RuntimeError, match=r"zero_grad: the gradient of parameter 1, float32 \(3,\)"):
            owner.zero_grad(set_to_none=False)
    layer.zero_grad()
    assert layer.bias.grad is None


def test_a_read_only_gradient_is_accumulated_into_another() -> None:
    p = parameter(2, grad=frozen(2))
    kept = p.grad
    (p * 3).sum().backward()
    assert p.grad.tolist() == [4.0, 4.0] and kept.tolist() == [1.0, 1.0]


OPTIMIZERS = [
    lambda params: optim.SGD(params, lr=0.1),
    lambda params: optim.SGD(params, lr=0.1, momentum=0.9),
    lambda params: optim.Adam(params),
    lambda params: optim.AdamW(params),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("first", [True, False], ids=["at first", "later"])
def test_optimizers_name_a_read_only_parameter(make: Any, first: bool) -> None:
    parameters = [parameter(4), parameter(2, 3)]
    optimizer = make(parameters)
    if not first:
        optimizer.step()
    before = parameters[0].tolist()
    parameters[1].data = frozen(2, 3)
    with pytest.raises(RuntimeError, match=r"value of parameter 1, float32 \(2, 3\), cannot be written: .*read-only"):
        optimizer.step()
    assert parameters[0].tolist() == before and parameters[1].tolist() == [[1.0] * 3] * 2
    parameters[1].grad = None
    optimizer.step()
    assert parameters[0].tolist() != before


@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq"])
def test_adam_names_a_read_only_moment(name: str) -> None:
    p, other = parameter(2), parameter(3)
    optimizer = optim.AdamW([p, other])
    optimizer.step()
    optimizer.state[other][name] = frozen(3)
    optimizer.state = optimizer.state.copy()
    with pytest.raises(RuntimeError, match=rf"AdamW: {name} of parameter 1, float32 \(3,\)"):
        optimizer.step()


def test_sgd_names_a_read_only_momentum() -> None:
    p = parameter(2)
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    optimizer.step()
    optimizer.state[p]["momentum_buffer"] = frozen(2)
    with pytest.raises(RuntimeError, match=r"SGD: momentum_buffer of parameter 0, float32 \(2,\)"):
        optimizer.step()


def test_a_compiled_step_names_a_read_only_parameter() -> None:
    p = parameter(2)
    optimizer = optim.AdamW([p])

    @torch.compile
    def step(x: Any) -> Any:
        loss = (p * x).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step(torch.ones(2))
    p.data = frozen(2)
    with pytest.raises(RuntimeError, match="value of parameter 0"):
        step(torch.ones(2))
    assert p.tolist() == [1.0, 1.0]


IN_PLACE = {
    "add_": lambda x: x.add_(1), "mul_": lambda x: x.mul_(2), "copy_": lambda x: x.copy_(torch.zeros(2, 3)),
    "fill_": lambda x: x.fill_(0), "zero_": lambda x: x.zero_(), "normal_": lambda x: x.normal_(),
    "uniform_": lambda x: x.uniform_(), "bernoulli_": lambda x: x.bernoulli_(), "clamp_": lambda x: x.clamp_(0, 0.5),
    "+=": lambda x: x.__iadd__(1), "[]": lambda x: x.__setitem__(0, 0.0), "[...]": lambda x: x.__setitem__(..., x),
    "scatter_add_": lambda x: x.scatter_add_(1, torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1)),
    "view": lambda x: x[1:].mul_(2), "data": lambda x: x.data.mul_(2), "detach": lambda x: x.detach().mul_(2),
    "init": lambda x: nn.init.kaiming_uniform_(x), "eye_": lambda x: nn.init.eye_(x),
    "vector": lambda x: nn.utils.vector_to_parameters(torch.zeros(6), [x]),
}  # fmt: skip


@pytest.mark.parametrize("call", IN_PLACE.values(), ids=IN_PLACE)
@pytest.mark.parametrize("expanded", [False, True])
def test_in_place_operations_leave_read_only_memory_alone(call: Any, expanded: bool) -> None:
    x = torch.ones(3).expand(2, 3) if expanded else frozen(2, 3)
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"float32 \(\d.*\), cannot be written: .*clone\(\) it"):
        call(x)
    assert x.tolist() == [[1.0] * 3] * 2


def test_load_state_dict_names_what_it_cannot_load_into() -> None:
    layer = nn.Linear(2, 3)
    layer.bias.data = frozen(3)
    before = layer.weight.tolist()
    with pytest.raises(RuntimeError, match="bias: the model's tensor lies in read-only memory"):
        layer.load_state_dict({"weight": torch.zeros(3, 2), "bias": torch.zeros(3)})
    assert layer.weight.tolist() == before
    layer.load_state_dict({"weight": torch.zeros(3, 2)}, strict=False)
    assert layer.weight.tolist() == [[0.0, 0.0]] * 3


def test_kernels_refuse_to_write_read_only_arrays() -> None:
    array = frozen(3, 3).numpy()
    with pytest.raises(ValueError, match="writable out"):
        matmul(np.ones((3, 3), np.float32), np.ones((3, 3), np.float32), array)
    good, bad = ArrayList([np.ones(9)]), ArrayList([array.astype(np.float64).reshape(-1)])
    bad.arrays[0].flags.writeable = False
    row = np.array([adam_coefficients(1, 0.1, 0.9, 0.9, 1e-8, 0.0, True)])
    for lists, name in (((bad, good, good, good), "parameter"), ((good, good, bad, good), "exp_avg"),
                        ((good, good, good, bad), "exp_avg_sq")):  # fmt: skip
        with pytest.raises(RuntimeError, match=rf"{name} 0, float64 \(9,\), cannot be written"):
            adamw(*lists, row)
    adamw(good, bad, ArrayList([np.ones(9)]), ArrayList([np.ones(9)]), row)  # gradients are read alone
    for call in (lambda: scale(bad, 0.5), lambda: zero(bad)):
        with pytest.raises(RuntimeError, match="array 0"):
            call()
    assert bad.arrays[0].tolist() == [1.0] * 9


def test_arrays_off_their_alignment_are_not_taken_by_address() -> None:
    off = np.frombuffer(bytearray(17), np.float32, 4, 1)
    with pytest.raises(ValueError, match="not C-contiguous and aligned"):
        ArrayList([off])
    p = nn.Parameter(torch.from_numpy(off))
    p.grad = torch.from_numpy(np.frombuffer(bytearray(b"?" + np.ones(4, np.float32).tobytes()), np.float32, 4, 1))
    assert nn.utils.clip_grad_norm_([p], 1.0) == 2.0
    np.testing.assert_allclose(p.grad.tolist(), [0.5] * 4, rtol=1e-5)
    optim.AdamW([p], lr=0.5).step()
    np.testing.assert_allclose(p.tolist(), [-0.5] * 4, rtol=1e-5)
