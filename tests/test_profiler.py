"""The profiler: times, calls, arithmetic, memory kept for backward, the table and the trace."""

from __future__ import annotations

import json
import math
import re
import threading
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytorch
from tinytorch import nn
from tinytorch.engine.function import Function
from tinytorch.nn import functional as F
from tinytorch.ops.low_rank import low_rank_linear
from tinytorch.profiler import profile
from tinytorch.profiler_flops import _MOVES
from tinytorch.profiler_table import Average, Averages
from tinytorch.quantization import QuantizedWeight, quantized_linear
from tinytorch.utils.checkpoint import checkpoint


def rand(*shape: int, grad: bool = True, dtype: Any = tinytorch.float32) -> Any:
    return tinytorch.rand(*shape, dtype=dtype).requires_grad_(grad)


def by_name(prof: profile, what: str) -> dict[str, Any]:
    """One column of the averages, where it is not zero."""
    return {average.key: getattr(average, what) for average in prof.key_averages() if getattr(average, what)}


# ---------------------------------------------------------------------- events


def test_events_of_a_step() -> None:
    model, x = nn.Linear(3, 2), tinytorch.ones(4, 3)
    optimizer = tinytorch.optim.SGD(model.parameters(), lr=0.1)
    with profile() as prof:
        model(x).exp().sum().backward()
        optimizer.step()
    assert prof is not None
    counts = by_name(prof, "count")
    for name, count in {"Linear": 1, "Exp": 1, "Sum": 1, "LinearBackward0": 1, "AccumulateGrad": 2}.items():
        assert counts[name] == count
    assert counts["SGD.step"] == 1
    events = prof.events()
    assert [event.start for event in events] == sorted(event.start for event in events)
    linear = next(event for event in events if event.name == "Linear")
    assert linear.input_shapes == [(4, 3), (2, 3), (2,)] and linear.thread == threading.get_native_id()
    after = len(events)
    model(x)
    assert len(prof.events()) == after  # nothing is noted outside


def test_time_of_events_inside_of_others() -> None:
    x = rand(2, 3)
    with profile() as prof:
        (x * x).sum().backward()
    for event in prof.events():
        inside = [e for e in prof.events() if e.parent is event]
        assert event.cpu_time_total >= sum(e.cpu_time_total for e in inside)
        assert event.self_cpu_time_total == pytest.approx(event.cpu_time_total - sum(e.cpu_time_total for e in inside))
        assert all(event.start <= e.start for e in inside)
    outermost = [event.cpu_time_total for event in prof.events() if event.parent is None]
    assert sum(a.self_cpu_time_total for a in prof.key_averages()) == pytest.approx(sum(outermost))
    assert all(a.cpu_time == a.cpu_time_total / a.count for a in prof.key_averages())


def test_a_name_inside_of_itself_takes_its_time_once() -> None:
    class Twice(tinytorch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, depth: int) -> Any:
            return Twice.apply(x, depth - 1) if depth else x.clone()

    with profile() as prof:
        Twice.apply(rand(3), 2)
    (average,) = [a for a in prof.key_averages() if a.key == "Twice"]
    assert average.count == 3
    assert average.cpu_time_total == max(e.cpu_time_total for e in prof.events() if e.name == "Twice")


def test_exceptions_and_ctrl_c_close_what_is_open() -> None:
    class Interrupted(tinytorch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            (x * 2).exp()
            raise KeyboardInterrupt

    before = tinytorch.engine.mode.mode.run
    prof = profile()
    with pytest.raises(KeyboardInterrupt), prof:
        Interrupted.apply(rand(3))
    assert tinytorch.engine.mode.mode.run is before
    with prof:  # it goes on
        with pytest.raises(RuntimeError, match="inner sizes"):
            rand(2, 3) @ rand(2, 3)
        with pytest.raises(RuntimeError, match="Matmul"):
            tinytorch.ops.linalg.Matmul.apply(rand(2, 3), rand(2, 3))
        rand(3).sin()
    events = {event.name: event for event in prof.events()}
    assert events["Exp"].parent is events["Interrupted"] and events["Sin"].parent is None
    assert "Matmul" in events and events["Matmul"].flops == 0


def test_each_thread_enters_for_itself() -> None:
    prof, barrier = profile(), threading.Barrier(3)

    def work(inside: bool) -> None:
        with prof if inside else tinytorch.enable_grad():
            barrier.wait(10)
            for _ in range(20):
                (rand(3) * 2).sum().backward()
            barrier.wait(10)

    threads = [threading.Thread(target=work, args=(inside,)) for inside in (True, True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = [event for event in prof.events() if event.name == "Mul" and event.parent is None]
    assert sorted(Counter(event.thread for event in events).values()) == [20, 20]
    assert all(event.parent.thread == event.thread for event in prof.events() if event.parent)


def test_entered_twice() -> None:
    with profile() as prof:
        with pytest.raises(RuntimeError, match="already active on this thread"), prof:
            pass
        rand(3).sin()
        with profile() as other:
            rand(3).cos()
    assert "Cos" in by_name(prof, "count") and list(by_name(other, "count")).count("Cos") == 1
    assert "Sin" not in by_name(other, "count")


# ---------------------------------------------------------------------- arithmetic


def products(prof: profile) -> int:
    """What products count."""
    return sum(v for k, v in by_name(prof, "flops").items() if re.match("Matmul|Linear|LowRank|Quantized|Attention", k))


def weights(dtype: Any) -> Any:
    return tinytorch.from_numpy(np.sin(np.arange(30.0)).reshape(6, 5)).to(dtype)


LAYERS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda needs: F.linear(rand(2, 4, 5, grad=needs[0]), rand(6, 5, grad=needs[1]), rand(6, grad=needs[2])),
    "bfloat16": lambda needs: F.linear(
        rand(2, 4, 5, grad=needs[0]), weights(tinytorch.bfloat16), rand(6, grad=needs[2])
    ),
    "float16": lambda needs: F.linear(rand(4, 5, grad=needs[0]), weights(tinytorch.float16)),
    "int8": lambda needs: quantized_linear(
        rand(2, 4, 5, grad=needs[0]), QuantizedWeight.quantize(weights(tinytorch.float32).numpy(), "int8")
    ),
    "nf4": lambda needs: quantized_linear(
        rand(4, 5, grad=needs[0]), QuantizedWeight.quantize(weights(tinytorch.float32).numpy(), "nf4")
    ),
    "low rank": lambda needs: low_rank_linear(
        rand(2, 4, 5, grad=needs[0]), rand(6, 5, grad=False), None, rand(3, 5, grad=needs[1]),
        rand(6, 3, grad=needs[2]), 0.5,
    ),
    "matmul": lambda needs: rand(3, 4, 5, grad=needs[0]) @ rand(5, 2, grad=needs[1]),
    "batches": lambda needs: rand(3, 4, 5, grad=needs[0]) @ rand(2, 1, 5, 6, grad=needs[1]),
}  # fmt: skip
NEEDS = [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)]


@pytest.mark.parametrize("layer", LAYERS)
def test_products_count_what_their_elementary_operations_do(layer: str) -> None:
    """Forward, and in backward the gradients that are needed; whatever form the weight is stored in."""
    for needs in NEEDS:
        found = []
        for switch in (tinytorch.enable_grad, tinytorch.unfold):
            with profile() as forward, switch():
                y = LAYERS[layer](needs)
            with profile() as backward:
                if y.requires_grad:
                    y.sum().backward()
            found.append((products(forward), products(backward)))
        assert found[0] == found[1] and found[0][0] > 0, (needs, found)
        assert bool(found[0][1]) is any(needs[: 3 if layer == "low rank" else 2 if layer[:3] not in WHOLE else 1])


WHOLE = ("bfl", "flo", "int", "nf4")  # only x is multiplied in backward


def test_attention_counts_the_pairs_that_may_see_each_other() -> None:
    B, H, T, S, D = 2, 4, 5, 7, 3
    q, k, v = rand(B, H, T, D), rand(B, 2, S, D), rand(B, 2, S, D + 1)
    for causal, pairs in ((False, T * S), (True, T * (T + 1) // 2)):
        with profile() as prof:
            F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True).sum().backward()
        flops = by_name(prof, "flops")
        assert flops["Attention"] == 2 * B * H * pairs * (D + D + 1)
        # Scores once more, their gradient from the values, and the gradients of all three.
        assert flops["AttentionBackward0"] == 2 * B * H * pairs * (3 * D + 2 * (D + 1))
    with profile() as prof:
        F.scaled_dot_product_attention(k, rand(B, 2, 4, D), rand(B, 2, 4, D), is_causal=True)
    assert by_name(prof, "flops")["Attention"] == 2 * B * 2 * (1 + 2 + 3 + 4 * 4) * 2 * D  # more queries than keys


@pytest.mark.oracle
def test_attention_counts_as_pytorchs_counter_where_all_is_seen() -> None:
    counter = pytest.importorskip("torch.utils.flop_counter")
    q, k, v = (2, 4, 5, 3), (2, 4, 7, 3), (2, 4, 7, 6)
    with profile() as prof:
        F.scaled_dot_product_attention(rand(*q), rand(*k), rand(*v)).sum().backward()
    flops = by_name(prof, "flops")
    assert flops["Attention"] == counter.sdpa_flop_count(q, k, v)
    assert flops["AttentionBackward0"] == counter.sdpa_backward_flop_count((2, 4, 5, 6), q, k, v)


@pytest.mark.oracle
def test_counts_as_pytorchs_profiler() -> None:
    """Which counts products, additions and multiplications, of whole tensors."""
    torch = pytest.importorskip("torch")

    def model(t: Any, w: Any, b: Any, x: Any) -> Any:
        h = t.nn.functional.linear(x, w, b)
        h = h * h + h
        return (h @ h.mT) @ x

    def run(t: Any, **options: Any) -> Counter[str]:
        w, b, x = (t.ones(*shape, requires_grad=True) for shape in ((6, 5), (6,), (4, 5)))
        kinds = {"mm": "products", "addmm": "products", "Matmul": "products", "Linear": "products", "mul": "mul"}
        kinds |= {"LinearBackward0": "products", "Mul": "mul", "add": "add", "Add": "add"}
        counted: Counter[str] = Counter()
        for inside in ("forward", "backward"):
            with t.profiler.profile(**options) as prof:
                if inside == "forward":
                    y = model(t, w, b, x)
                else:
                    y.backward(t.ones(4, 5))
            for a in prof.key_averages():
                kind = kinds.get(a.key.removeprefix("aten::"))
                if kind == "products" or (kind and inside == "forward"):  # PyTorch adds gradients up in place
                    counted[f"{kind} {inside}"] += a.flops
        return counted

    theirs = run(torch, with_flops=True, record_shapes=True)
    assert run(tinytorch) == theirs and len(theirs) == 4


def test_anything_else_counts_elements_and_moves_count_nothing() -> None:
    x = rand(3, 4)
    with profile() as prof:
        for y in (x.exp(), x.sum(), x.reshape(12), tinytorch.cat([x, x]), x > 0, x.argmax(), x[0], F.gelu(x)):
            assert y is not None
    assert by_name(prof, "flops") == {"Exp": 12, "Sum": 12, "Gelu": 12}


def test_a_fused_backward_that_is_recorded_counts_as_its_composite() -> None:
    x = rand(3, 5)
    for create_graph in (False, True):
        y = F.linear(x, rand(6, 5)).sum()
        with profile() as prof:
            tinytorch.autograd.grad(y, x, create_graph=create_graph)
        flops = by_name(prof, "flops")
        assert ("LinearBackward0" in flops) is not create_graph and ("Matmul" in flops) is create_graph


def test_names_of_moves_are_operations() -> None:
    def below(cls: Any) -> set[str]:
        return {cls.__name__}.union(*[below(child) for child in cls.__subclasses__()])

    assert below(Function) >= _MOVES


# ---------------------------------------------------------------------- memory

N = 1 << 16
PARTS: dict[str, Callable[[Any], Any]] = {
    "exp": lambda h: h.exp(),
    "mul": lambda h: h * h,
    "two": lambda h: h.sin() * h.cos(),
    "softmax": lambda h: h.softmax(-1),
    "layer_norm": lambda h: F.layer_norm(h, (64,)),
    "gelu of a view": lambda h: F.gelu(h[:16]),
    "attention": lambda h: F.scaled_dot_product_attention(*[h.reshape(1, 4, -1, 64)] * 3, is_causal=True),
    "linear": lambda h: F.linear(h, rand(64, 64)),
    "dropout": lambda h: F.dropout(h, 0.5),
    "cross_entropy": lambda h: F.cross_entropy(h, tinytorch.zeros(N // 64, dtype=tinytorch.int64)),
    "views": lambda h: h.reshape(-1)[:10].t(),
    "cat": lambda h: tinytorch.cat([h, h]).sum(),
    "checkpoint": lambda h: checkpoint(lambda z: z.exp().sin().exp(), h),
    "checkpoints": lambda h: checkpoint(lambda z: checkpoint(lambda u: u.exp().exp(), z).exp(), h),
    "clamp": lambda h: h.clamp(0.2, 0.7),
    "max": lambda h: h.max(),
}


@pytest.mark.parametrize("part", PARTS)
def test_saved_bytes_are_what_the_graph_keeps_alive(part: str) -> None:
    """Once everything else is dropped, as NumPy tells tracemalloc."""
    leaf = rand(N // 64, 64)
    PARTS[part](leaf * 2)  # what is made once is made
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        prof = profile()
        with prof:
            node = PARTS[part](leaf * 2).grad_fn
        saved = sum(event.saved for event in prof.events())
        del prof
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert node is not None
    assert kept == pytest.approx(saved, abs=30_000), (part, saved / 4 / N)


def test_leaves_and_what_comes_from_outside_are_not_counted() -> None:
    w, x, frozen = rand(64, 64), tinytorch.ones(32, 64), rand(6, 5, grad=False)
    mask = x > 0
    with profile() as prof:
        F.linear(x, w)  # saves x
        (x * w[:32]).masked_fill(mask, 0.0)
        w * w
        x @ w.mT
        quantized_linear(x[:, :5], QuantizedWeight.quantize(weights(tinytorch.float32).numpy(), "nf4"))
        low_rank_linear(rand(2, 5), frozen, None, rand(3, 5), rand(6, 3), 0.5)
    assert by_name(prof, "saved") == {"LowRankLinear": 4 * 2 * 3}  # x A^T
    with profile() as prof:
        bias = tinytorch.nn.Parameter(tinytorch.rand(32))  # made inside, and a leaf all the same
        bias * bias
        noise = tinytorch.rand(64)  # made inside, and not a parameter
        bias.sum() * noise
    assert by_name(prof, "saved") == {"Mul": 4 * 64}


def test_gradients_are_made_inside() -> None:
    x, w = rand(1000), rand(1000)
    for function in (F.gelu, tinytorch.exp):  # a fused one and an elementary one
        with profile() as prof:
            (g,) = tinytorch.autograd.grad(function(x).sum(), x)
            g * w
        assert by_name(prof, "saved").get("Mul") == 4000


def test_what_a_packing_hook_makes_is_what_is_kept() -> None:
    x = rand(1000)
    for pack, unpack, kept in (
        (lambda t: t.half(), lambda t: t.float(), 2000),
        (lambda t: t.numpy().astype(np.float64), lambda a: tinytorch.from_numpy(a).float(), 8000),
        (lambda t: "a file", lambda name: x, 0),
    ):
        h = x * 2
        with profile() as prof, tinytorch.autograd.graph.saved_tensors_hooks(pack, unpack):
            y = h.exp()
        assert by_name(prof, "saved").get("Exp", 0) == kept
        y.sum().backward()


def test_what_several_nodes_save_is_counted_once_and_not_held() -> None:
    x = rand(1000)
    with profile() as prof:
        h = x * 2
        a, b = h.sin(), h.cos()
        c = h[:10] * h[:10]
    assert by_name(prof, "saved") == {"Sin": 4000}
    alive = weakref.ref(h.array)
    del h, a, b, c
    assert alive() is None and prof.events()


def test_checkpointing_keeps_less_and_what_it_computes_again_is_not_counted() -> None:
    blocks = [nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16)) for _ in range(3)]
    x, found = tinytorch.rand(8, 16), []
    for run in (lambda block, h: block(h), checkpoint):
        with profile() as prof:
            h = x
            for block in blocks:
                h = run(block, h)
            h.sum().backward()
        found.append((sum(by_name(prof, "saved").values()), by_name(prof, "count")["Linear"]))
    assert found == [(4 * 8 * (3 * (64 + 64) + 2 * 16), 6), (4 * 8 * 2 * 16, 12)]


def test_recorded_backwards_save_and_others_do_not() -> None:
    x, seed = rand(100), tinytorch.ones(())
    for create_graph in (False, True):
        y = (x * 2).sin().sum()
        with profile() as prof:
            tinytorch.autograd.grad(y, x, seed, create_graph=create_graph)  # takes cos(x * 2)
        assert by_name(prof, "saved") == ({"Cos": 400} if create_graph else {})


# ---------------------------------------------------------------------- the table and the trace


def measured() -> profile:
    model, x = nn.Sequential(nn.Linear(30, 40), nn.GELU(), nn.LayerNorm(40), nn.Linear(40, 5)), tinytorch.rand(6, 30)
    optimizer = tinytorch.optim.AdamW(model.parameters())
    with profile() as prof:
        for _ in range(3):
            F.cross_entropy(model(x), tinytorch.zeros(6, dtype=tinytorch.int64)).backward()
            optimizer.step()
    return prof


@pytest.mark.parametrize("key", ["self_cpu_time_total", "cpu_time_total", "cpu_time", "count", "flops", "saved"])
def test_table_is_sorted_and_fits(key: str) -> None:
    averages = measured().key_averages()
    table = averages.table(sort_by=key, row_limit=4).splitlines()
    names = [average.key for average in sorted(averages, key=lambda a: -getattr(a, key))][:4]
    assert [line.split()[0] for line in table[2:6]] == names
    assert table[6] == f"... and {len(averages) - 4} more" and table[7].startswith("In all ")
    assert len({len(line) for line in table[:6]}) == 1 and max(map(len, table)) <= 100
    assert re.split("  +", table[0]) == ["Name", *" Self  Self %  Time  Each  Calls  FLOPs  Saved".strip().split("  ")]


def test_table_of_other_orders() -> None:
    averages = measured().key_averages()
    assert averages.table().splitlines()[2].split()[0] == "Linear"  # as they came
    assert len(averages.table().splitlines()) == len(averages) + 3
    with pytest.raises(ValueError, match="cannot sort by 'cuda_time': choose among self_cpu_time_total, cpu"):
        averages.table(sort_by="cuda_time")
    assert profile().key_averages().table().splitlines()[-1] == (
        "In all -, - floating-point operations, - saved for backward"
    )


def test_the_widest_table_fits() -> None:
    wide = [
        Average("x" * 50, 10_000_000, 9.99e8, 9.99e8, 999_400_000_000, 1023 * 2**20),
        Average("y", 1, 999.4, 999.4, 1, 1),
    ]
    lines = Averages(wide).table().splitlines()
    assert max(map(len, lines)) <= 100
    assert " ".join(lines[2].split()[1:]) == "999 s 100.0% 999 s 99.9 us 10000000 999 G 1023 MiB"
    assert " ".join(lines[3].split()[1:]) == "999 us 0.0% 999 us 999 us 1 1 1 B"


def test_long_names_are_cut() -> None:
    class AnOperationWithANameThatNobodyWouldWantToSeeInFull(tinytorch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

    with profile() as prof:
        AnOperationWithANameThatNobodyWouldWantToSeeInFull.apply(rand(3))
    assert "AnOperationWithANameThatNob...  " in prof.key_averages().table()


def test_chrome_trace(tmp_path: Path) -> None:
    prof = measured()
    path = tmp_path / "trace.json"
    prof.export_chrome_trace(path)
    events = json.loads(path.read_text())["traceEvents"]
    assert [event["name"] for event in events] == [event.name for event in prof.events()]
    for event, ours in zip(events, prof.events(), strict=True):
        assert (event["ph"], event["ts"], event["dur"]) == ("X", ours.start, ours.cpu_time_total)
        assert event["args"]["flops"] == ours.flops and math.isfinite(event["dur"])
        if ours.parent is not None:  # which is how viewers nest them
            assert ours.parent.start <= event["ts"] and event["tid"] == ours.parent.thread
            assert event["ts"] + event["dur"] <= ours.parent.start + ours.parent.cpu_time_total
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="nowhere"):
        prof.export_chrome_trace(str(tmp_path / "nowhere" / "trace.json"))
