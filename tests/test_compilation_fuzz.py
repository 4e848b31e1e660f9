"""Random functions, compiled and as they are written: the same bits, the same state outside, the same errors.

A function is a list of instructions on Tensors: arithmetic, views, writes in place, several backward calls, gradients
that are read, replaced and added to, an optimizer, random numbers. Its arguments alias otherwise at each call.
TINYTORCH_FUZZ is the number of functions, 200 where it is not set; TINYTORCH_FUZZ_START the seed of the first.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import tinytorch as torch
from tinytorch import nn
from tinytorch.compiled.arrays import NotTraceable
from tinytorch.nn import functional as F

COUNT = int(os.environ.get("TINYTORCH_FUZZ", "200"))
START = int(os.environ.get("TINYTORCH_FUZZ_START", "0"))
CALLS = 4


class World:
    """What a function may come to from outside."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.parameters = [nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.randn(3))]
        self.frozen = nn.Parameter(torch.randn(3), requires_grad=False)
        self.buffers = [torch.randn(2, 3), torch.randn(3)]
        self.view = self.buffers[0].view(-1)
        self.optimizer = torch.optim.SGD(self.parameters, lr=0.1, momentum=0.9)
        self.seen: list[Any] = []
        self.kept: list[Any] = []  # gradients and results of earlier calls
        if seed % 3 == 0:
            self.parameters[0].register_hook(lambda g: self.seen.append(g))
            self.parameters[1].register_hook(lambda g: g * 2)

    def tensors(self) -> list[Any]:
        return [*self.parameters, self.frozen, *self.buffers, self.view]

    def picture(self, versions: bool) -> list[Any]:
        """All there is to see, in the same order in each world."""
        tensors = self.tensors()
        seen = [bits(t) for t in tensors] + [t.requires_grad for t in tensors] + [bits(p.grad) for p in tensors]
        seen += [bits(t) for t in (*self.seen, *self.kept)] + [bits(torch.get_rng_state())]
        seen += [bits(self.optimizer.state[p].get("momentum_buffer")) for p in self.parameters]
        return seen + [t._version for t in tensors] if versions else seen


def bits(tensor: Any) -> Any:
    if not isinstance(tensor, torch.Tensor):
        return tensor
    array = tensor.detach().numpy()
    array = np.where(np.isnan(array), np.nan, array) if array.dtype.kind == "f" else array
    return array.dtype.name, array.shape, array.tobytes()


# ---------------------------------------------------------------------- instructions

Values = list[Any]
Instruction = Callable[[World, Values], Any]


def one(rng: random.Random) -> Callable[[Values], Any]:
    """Chooses a value; later ones more often, as functions do."""
    back = rng.random() ** 1.5
    return lambda values: values[-1 - int(back * len(values))]


def unary(rng: random.Random) -> Instruction:
    x = one(rng)
    function = rng.choice([torch.tanh, torch.sigmoid, torch.relu, F.gelu, lambda v: v.softmax(-1), torch.abs])
    return lambda world, values: function(x(values))


def binary(rng: random.Random) -> Instruction:
    x, y = one(rng), one(rng)
    function = rng.choice([torch.add, torch.sub, torch.mul, torch.maximum, lambda a, b: torch.where(a > b, a, b * 2)])
    return lambda world, values: function(x(values), y(values))


def product(rng: random.Random) -> Instruction:
    x, y = one(rng), one(rng)
    return lambda world, values: x(values).reshape(-1, 3) @ y(values).reshape(-1, 3).T


def reduction(rng: random.Random) -> Instruction:
    x = one(rng)
    function = rng.choice([torch.sum, torch.mean, lambda v: v.sum(0), lambda v: v.amax(-1), lambda v: v.cumsum(0)])
    return lambda world, values: function(x(values))


VIEWS: list[Callable[[Any], Any]] = [
    lambda v: v[0],
    lambda v: v[1:],
    lambda v: v[..., ::2],
    lambda v: v.T,
    lambda v: v.reshape(-1),
    lambda v: v.view(-1)[:3],
    lambda v: v.unsqueeze(0).expand(2, *v.shape),
    lambda v: v.split(2, dim=-1)[0],
    lambda v: v.detach(),
    lambda v: v.data,
]


def view(rng: random.Random) -> Instruction:
    x, function = one(rng), rng.choice(VIEWS)
    return lambda world, values: function(x(values))


def copied(rng: random.Random) -> Instruction:
    x, leaf = one(rng), rng.random() < 0.3
    return lambda world, values: x(values).detach().clone().requires_grad_() if leaf else x(values).clone()


def write(rng: random.Random) -> Instruction:
    x, y, recorded = one(rng), one(rng), rng.random() < 0.2
    kind = rng.choice(["add", "mul", "copy", "item", "part", "zero", "numpy"])

    def run(world: World, values: Values) -> Any:
        target, source = x(values), y(values)
        with torch.set_grad_enabled(recorded):
            if kind == "add":
                target.add_(source)
            elif kind == "mul":
                target.mul_(0.5)
            elif kind == "copy":
                target.copy_(source)
            elif kind == "item":
                target[0] = 1.5
            elif kind == "part":
                target[..., 1:] = source[..., 1:]
            elif kind == "zero":
                target.zero_()
            else:
                np.multiply(target.detach().numpy(), 2, out=target.detach().numpy())

    return run


def backward(rng: random.Random) -> Instruction:
    x, y, retain, inputs = one(rng), one(rng), rng.random() < 0.3, rng.random() < 0.1

    def run(world: World, values: Values) -> Any:
        loss = (x(values) * world.parameters[1]).sum() + (y(values) * world.parameters[0][0]).tanh().sum()
        loss.backward(retain_graph=retain, inputs=world.parameters[:1] if inputs else None)
        return loss

    return run


def backward_of_one(rng: random.Random) -> Instruction:
    x = one(rng)
    return lambda world, values: x(values).sum().backward()


def derivative(rng: random.Random) -> Instruction:
    x, second = one(rng), rng.random() < 0.5

    def run(world: World, values: Values) -> Any:
        leaf = world.parameters[1]
        (gradient,) = torch.autograd.grad((x(values) * leaf**3).sum(), leaf, create_graph=second)
        return gradient

    return run


def gradient(rng: random.Random) -> Instruction:
    number, kind = rng.randrange(2), rng.choice(["read", "read", "read", "none", "zero", "half", "set", "share"])
    x = one(rng)

    def run(world: World, values: Values) -> Any:
        leaf = world.parameters[number]
        if kind == "none":
            leaf.grad = None
        elif kind == "set":
            leaf.grad = x(values).detach() * torch.ones_like(leaf)
        elif kind == "share":
            world.frozen.grad = world.parameters[1].grad
        elif leaf.grad is None:
            return None
        elif kind == "zero":
            leaf.grad.zero_()
        elif kind == "half":
            leaf.grad.mul_(0.5)
        return leaf.grad if kind != "none" else None

    return run


def training(rng: random.Random) -> Instruction:
    kind = rng.choice(["step", "zero", "keep", "clip", "by hand"])

    def run(world: World, values: Values) -> Any:
        if kind == "step":
            world.optimizer.step()
        elif kind == "clip":
            return nn.utils.clip_grad_norm_(world.parameters, 0.5)
        elif kind == "by hand":
            with torch.no_grad():
                for leaf in world.parameters:
                    if leaf.grad is not None:
                        leaf.sub_(0.1 * leaf.grad)
        else:
            world.optimizer.zero_grad(set_to_none=kind == "zero")

    return run


def drawn(rng: random.Random) -> Instruction:
    x, kind = one(rng), rng.choice(["randn", "dropout", "uniform", "seed"])

    def run(world: World, values: Values) -> Any:
        if kind == "seed":
            torch.manual_seed(7)
        if kind == "uniform":
            with torch.no_grad():
                return torch.empty(3).uniform_()
        return torch.randn(3) if kind in ("randn", "seed") else F.dropout(x(values), 0.5)

    return run


def history(rng: random.Random) -> Instruction:
    """Asks, freezes, retains."""
    x, kind = one(rng), rng.choice(["ask", "freeze", "unfreeze", "retain"])

    def run(world: World, values: Values) -> Any:
        if kind == "ask":
            return x(values) * (2 if world.frozen.requires_grad else 3)
        if kind == "retain" and x(values).requires_grad:
            x(values).retain_grad()
            return x(values)
        if kind in ("freeze", "unfreeze"):
            world.frozen.requires_grad_(kind == "unfreeze")
        return None

    return run


INSTRUCTIONS = [
    *(5 * [unary, binary, view]),
    *(3 * [write, gradient, backward]),
    *(2 * [product, reduction, copied, training, drawn]),
    backward_of_one,
    derivative,
    history,
]


def program(rng: random.Random) -> Callable[[World, Any, Any], Any]:
    instructions = [rng.choice(INSTRUCTIONS)(rng) for _ in range(rng.randint(3, 14))]
    results = [one(rng) for _ in range(rng.randint(0, 3))]
    nested = rng.random() < 0.5
    captured = rng.random() < 0.7
    careful = rng.random() < 0.7  # goes on after an error

    def run(world: World, x: Any, y: Any) -> Any:
        values: Values = [*world.tensors(), x, y] if captured else [x, y]
        for instruction in instructions:
            try:
                value = instruction(world, values)
            except (RuntimeError, IndexError):
                if not careful:
                    raise
                value = None
            if value is not None:
                values.append(value)
        chosen = [result(values) for result in results]
        return {"results": (chosen, values[-1])} if nested else chosen

    return run


def arguments(rng: random.Random, world: World, pattern: int) -> Any:
    """Two, which may be one, or views of one, or of what is outside."""
    numbers = np.array([[rng.gauss(0, 1) for _ in range(3)] for _ in range(2)], np.float32)
    x = torch.from_numpy(numbers)
    return [
        lambda: (x, torch.from_numpy(numbers[0] * 2)),
        lambda: (x, x[0]),
        lambda: (x, x),
        lambda: (x, x.view(-1)[2:5]),
        lambda: (torch.from_numpy(numbers.T.copy()).T, x[1]),
        lambda: (x, world.buffers[1]),
        lambda: (world.parameters[0].detach(), x[0]),
    ][pattern]()


def listed(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return listed(list(value.values()))
    return [t for item in value for t in listed(item)] if isinstance(value, (list, tuple)) else [value]


def outcome(function: Any, world: World, args: Any, versions: bool) -> list[Any]:
    """What a call gave, left, and raised; what its results are made of shows when they are written to."""
    try:
        results = [t for t in listed(function(world, *args)) if t is not None]
    except NotTraceable:
        raise
    except Exception as error:
        return [type(error).__name__, bits(args[0]), bits(args[1]), *world.picture(False)]
    seen = [bits(t) for t in results]
    world.kept = [*results, *[p.grad for p in world.parameters]]
    for result in results[:1]:
        if result.detach().numpy().flags.writeable:
            result.detach().add_(1)
    return [*seen, bits(args[0]), bits(args[1]), *world.picture(versions)]


def run_both(seed: int) -> str:
    """Whether the function of a seed is the same compiled, refused, or raises as it is written."""
    rng = random.Random(seed)
    function = program(rng)
    worlds = World(seed), World(seed)
    compiled: Any = torch.compile(lambda x, y: function(worlds[1], x, y))
    functions = function, lambda world, x, y: compiled(x, y)
    usual, raised = rng.randrange(7), False
    torch.manual_seed(seed)
    streams = [torch.get_rng_state()] * 2
    for k in range(CALLS):
        pattern = usual if rng.random() < 0.7 else rng.randrange(7)
        place, outcomes = rng.getstate(), []
        for number, (call, world) in enumerate(zip(functions, worlds, strict=True)):
            rng.setstate(place)
            torch.set_rng_state(streams[number])
            try:
                outcomes.append(outcome(call, world, arguments(rng, world, pattern), not raised))
            except NotTraceable:
                return "refused"
            streams[number] = torch.get_rng_state()
        raised = raised or isinstance(outcomes[0][0], str)
        assert outcomes[0] == outcomes[1], f"function {seed} differs at call {k}"
    return "raises" if raised else "same"


def test_random_functions_are_the_same_compiled() -> None:
    found = [run_both(seed) for seed in range(START, START + COUNT)]
    assert found.count("same") > 0.3 * COUNT, {kind: found.count(kind) for kind in set(found)}
