"""python -m bench.by_hand > docs/by-hand.md: attention's backward on 3 x 2 numbers, with every number computed.

The numbers are computed here by sums over indices, without tinytorch; a test compares them with those of a trace, and
the page with what this prints.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinytorch import study, tensor

Array = np.ndarray[Any, Any]

T, D = 3, 2
Q = np.array([[1.0, 0.0], [2.0, 1.0], [1.0, 2.0]])
K = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
V = np.array([[1.0, 2.0], [0.0, 1.0], [2.0, 0.0]])
Z = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])


def numbers() -> dict[str, Array]:
    """Everything on the page by its name, gradients as "dq"."""
    n: dict[str, Array] = {"q": Q, "k": K, "v": V, "z": Z}
    scale = 1 / math.sqrt(D)
    seen = np.tri(T, dtype=np.bool_)
    n["s"] = np.array([[scale * sum(Q[i, d] * K[j, d] for d in range(D)) for j in range(T)] for i in range(T)])
    n["m"] = np.where(seen, n["s"], -np.inf)
    n["e"] = np.exp(n["m"])
    total = [sum(n["e"][i, j] for j in range(T)) for i in range(T)]
    n["p"] = np.array([[n["e"][i, j] / total[i] for j in range(T)] for i in range(T)])
    n["y"] = np.array([[sum(n["p"][i, j] * V[j, d] for j in range(T)) for d in range(D)] for i in range(T)])
    n["L"] = np.array(sum((n["y"][i, d] - Z[i, d]) ** 2 for i in range(T) for d in range(D)) / 2)
    n["dy"] = n["y"] - Z
    n["dp"] = np.array([[sum(n["dy"][i, d] * V[j, d] for d in range(D)) for j in range(T)] for i in range(T)])
    n["dv"] = np.array([[sum(n["p"][i, j] * n["dy"][i, d] for i in range(T)) for d in range(D)] for j in range(T)])
    row = [sum(n["dp"][i, j] * n["p"][i, j] for j in range(T)) for i in range(T)]
    n["row"] = np.array(row)
    n["dm"] = np.array([[n["p"][i, j] * (n["dp"][i, j] - row[i]) for j in range(T)] for i in range(T)])
    n["ds"] = np.where(seen, n["dm"], 0)
    n["dq"] = np.array([[scale * sum(n["ds"][i, j] * K[j, d] for j in range(T)) for d in range(D)] for i in range(T)])
    n["dk"] = np.array([[scale * sum(n["ds"][i, j] * Q[i, d] for i in range(T)) for d in range(D)] for j in range(T)])
    n["J"] = np.array([[n["p"][2, i] * ((i == j) - n["p"][2, j]) for j in range(T)] for i in range(T)])
    return n


def traced() -> study.Trace:
    """The same by tinytorch, in float64."""
    q, k, v = [tensor(array).requires_grad_() for array in (Q, K, V)]
    z, hidden = tensor(Z), tensor(~np.tri(T, dtype=np.bool_))
    with study.trace() as t:
        s = q @ k.mT / math.sqrt(D)
        m = s.masked_fill(hidden, -math.inf)
        p = m.softmax(-1)
        y = p @ v
        L = (y - z).square().sum() / 2
    t.backward(L)
    return t


def f(number: float) -> str:
    """Four decimals, whole numbers without any."""
    number = float(number) + 0.0
    if not math.isfinite(number):
        return str(number)
    text = f"{number:.4f}"
    return str(int(number)) if number == int(number) else text


def b(number: float) -> str:
    """The same, in brackets where it is negative, for products."""
    return f"({f(number)})" if number < 0 else f(number)


def matrix(name: str, array: Array) -> str:
    """name = rows, aligned."""
    cells = [[f(x) for x in row] for row in np.atleast_2d(array)]
    width = max(len(cell) for row in cells for cell in row)
    lines = ["  ".join(cell.rjust(width) for cell in row) for row in cells]
    return "\n".join((f"{name} = " if i == 0 else " " * (len(name) + 3)) + line for i, line in enumerate(lines))


def block(*matrices: str) -> str:
    """A block of text."""
    return "```text\n" + "\n\n".join(matrices) + "\n```"


def dot(left: Any, right: Any) -> str:
    """a1 b1 + a2 b2 + ..., with numbers."""
    return " + ".join(f"{b(x)} × {b(y)}" for x, y in zip(left, right, strict=True))


def page() -> str:
    """docs/by-hand.md."""
    n = numbers()
    s, e, p, y, dy, dp, dv, ds = (n[name] for name in ("s", "e", "p", "y", "dy", "dp", "dv", "ds"))
    dq, dk, row, J = n["dq"], n["dk"], n["row"], n["J"]
    root = math.sqrt(D)
    why = traced().why("m[2,1]").text
    return f"""# Attention's backward, by hand

One attention head on numbers small enough for pencil and paper: three positions, two numbers each. First forward, then
backward from the loss L to dL/dq, dL/dk and dL/dv, one line of the program at a time. Every number on this page is
computed when the page is built (`python -m bench.by_hand`), by sums over indices, and a test compares each with what
tinytorch computes. Numbers are shown with four decimals and not rounded in between.

i is the position that asks (a row of q), j and l are positions that are looked at (rows of k and v), d is one of the
D = 2 numbers of a row. Rows and columns are counted from 0.

## The numbers

{block(matrix("q", Q), matrix("k", K), matrix("v", V), matrix("z", Z))}

z is what y should have been: the loss is half the sum of the squares of y - z. The head is causal: position i looks at
positions j ≤ i.

## Forward

**1. Scores**, s_ij = (1/√2) Σ_d q_id k_jd. For i = 2 and j = 1:
s_21 = ({dot(Q[2], K[1])}) / {f(root)} = {f(Q[2] @ K[1])} / {f(root)} = {f(s[2, 1])}

{block(matrix("s", s))}

**2. Mask**, m_ij = s_ij where j ≤ i, else -∞:

{block(matrix("m", n["m"]))}

**3. Softmax of each row**, p_ij = e^(m_ij) / Σ_l e^(m_il). Row 2 is e^{f(s[2, 0])}, e^{f(s[2, 1])}, e^{f(s[2, 2])} =
{f(e[2, 0])}, {f(e[2, 1])}, {f(e[2, 2])}. Their sum is {f(e[2].sum())}, so
p_21 = {f(e[2, 1])} / {f(e[2].sum())} = {f(p[2, 1])}

{block(matrix("p", p))}

Each row adds up to 1, and e^(-∞) = 0 is why what is masked has no weight.

**4. Output**, y_id = Σ_j p_ij v_jd: the mean of the rows of v, by the weights in p.
y_20 = {dot(p[2], V[:, 0])} = {f(y[2, 0])}

{block(matrix("y", y))}

**5. Loss**, L = ½ Σ_id (y_id - z_id)² = {f(n["L"])}

## Backward

Backward goes through the same lines from the last to the first. At each it knows dL/d(what the line made), and asks for
dL/d(what the line was given). There is one rule: **an element gets, from every element that it goes into, the gradient
of that element times the derivative of that element by it, and adds these up.**

**5. Loss.** ∂L/∂y_id = y_id - z_id: the square gives a 2, which the ½ takes away.

{block(matrix("dL/dy", dy))}

**4. Output**, y_id = Σ_j p_ij v_jd. p_ij goes into the whole row y_i, and its factor in y_id is v_jd. v_jd goes into
column d of every row i, and its factor there is p_ij:

    dL/dp_ij = Σ_d dL/dy_id v_jd          dL/dp = dL/dy vᵀ
    dL/dv_jd = Σ_i p_ij dL/dy_id          dL/dv = pᵀ dL/dy

dL/dp_21 = {dot(dy[2], V[1])} = {f(dp[2, 1])}

dL/dv_10 = {dot(p[:, 1], dy[:, 0])} = {f(dv[1, 0])}

{block(matrix("dL/dp", dp), matrix("dL/dv", dv))}

dL/dv is done. dL/dp has numbers where p is masked, too: if there were weight there, it would count.

**3. Softmax**: the heart of it, so it is derived three times. Each row is by itself; i is fixed.

*By index.* p_j = e_j / S with e_j = e^(m_j) and S = Σ_l e_l. m_j is in the numerator of p_j alone, but in S it is in
the denominator of every p_l. By the rule for quotients:

    ∂p_l/∂m_j = ([l = j] e_j S - e_l e_j) / S²
              = [l = j] p_l - p_l p_j
              = p_l ([l = j] - p_j)

where [l = j] is 1 if l = j, else 0. So m_j gets, from every p_l of its row:

    dL/dm_j = Σ_l dL/dp_l p_l ([l = j] - p_j)
            = p_j dL/dp_j - p_j Σ_l dL/dp_l p_l
            = p_j (dL/dp_j - Σ_l dL/dp_l p_l)

The sum is the same for the whole row: the mean of dL/dp, by the weights in p. What lies above the mean is to be raised.
Row 2: the mean is {dot(dp[2], p[2])} = {f(row[2])}, so
dL/dm_21 = {f(p[2, 1])} × ({f(dp[2, 1])} - {b(row[2])}) = {f(n["dm"][2, 1])}

*By matrix.* The derivatives of a row are the matrix J = diag(p) - p pᵀ, and dL/dm = J dL/dp (J is symmetric). Row 2:

{block(matrix("J", J), matrix("J dL/dp", (J @ dp[2])[:, None]))}

Each row and each column of J adds up to 0: adding one number to all scores changes nothing. So a row of dL/dm adds up
to 0, too, which is a check that costs nothing: {" + ".join(b(x) for x in n["dm"][2])} = 0.

*By `why()`.* tinytorch takes the same number apart. The trace is made at the end of this page.

```text
{why}
```

All three say {f(n["dm"][2, 1])}. The whole of it:

{block(matrix("dL/dm", n["dm"]))}

**2. Mask.** m_ij is s_ij where j ≤ i: there the gradient goes on as it is. Where j > i, m_ij is -∞ whatever s_ij is,
so dL/ds_ij = 0. Here it was 0 already, since p_ij = 0. So dL/ds = dL/dm.

**1. Scores**, s_ij = (1/√2) Σ_d q_id k_jd. q_id goes into row i of s, with the factor k_jd/√2; k_jd goes into column
j, with the factor q_id/√2:

    dL/dq_id = (1/√2) Σ_j dL/ds_ij k_jd          dL/dq = dL/ds k / √2
    dL/dk_jd = (1/√2) Σ_i dL/ds_ij q_id          dL/dk = dL/dsᵀ q / √2

dL/dq_20 = ({dot(ds[2], K[:, 0])}) / {f(root)} = {f(ds[2] @ K[:, 0])} / {f(root)} = {f(dq[2, 0])}

dL/dk_10 = ({dot(ds[:, 1], Q[:, 0])}) / {f(root)} = {f(ds[:, 1] @ Q[:, 0])} / {f(root)} = {f(dk[1, 0])}

{block(matrix("dL/dq", dq), matrix("dL/dk", dk))}

Row 0 of dL/dq is 0: position 0 sees only itself, its weight is 1 whatever its score, so nothing that it asks matters.

## What usually goes wrong

- The sum in softmax's derivative is left out: p_j dL/dp_j in place of p_j (dL/dp_j - Σ_l dL/dp_l p_l).
- dL/ds in place of its transpose in dL/dk.
- 1/√2 is left out: it belongs into dL/dq and into dL/dk.

## Check your own

The same in tinytorch. `study.compare` says what is right in numbers that you have worked out, and for what is wrong
what was done in its place.

```python
>>> import math
>>> import tinytorch as torch
>>> from tinytorch import study
>>> q = torch.tensor({Q.tolist()}, requires_grad=True)
>>> k = torch.tensor({K.tolist()}, requires_grad=True)
>>> v = torch.tensor({V.tolist()}, requires_grad=True)
>>> z = torch.tensor({Z.tolist()})
>>> hidden = torch.ones(3, 3).triu(1).bool()
>>> with study.trace() as t:
...     s = q @ k.mT / math.sqrt(2)
...     m = s.masked_fill(hidden, -math.inf)
...     p = m.softmax(-1)
...     y = p @ v
...     L = (y - z).square().sum() / 2
>>> t.backward(L)
>>> mine = [[{f(dk[0, 0])}, {f(dk[0, 1])}], [{f(dk[1, 0])}, {f(dk[1, 1])}], [{f(dk[2, 0])}, {f(dk[2, 1])}]]
>>> study.compare(t, {{"dk": mine}})
dk: right to 4 decimals
>>> study.compare(t, {{"dm": t["p"].value * t["p"].grad}})
dm: the sum in the derivative of softmax is left out: it is p x dL/dp ({_right(p * dp, n["dm"])} of 9 cells are right)
{_starred(p * dp, n["dm"])}
>>> abs(t.why("k[1,0]").total - t["k"].grad[1, 0].item()) < 1e-6
True
>>> t.check().ok
True

```

`t.why("dk[1,0]", depth=3)` goes on from there to dL/ds and dL/dm; `t.table()` and `t.svg()` show all of it at once.
More in [looking at what runs](looking.md).
"""


def _right(mine: Array, expected: Array) -> int:
    return int(np.isclose(mine, expected, atol=1e-5).sum())


def _starred(mine: Array, expected: Array) -> str:
    """As `study.compare` prints it."""
    cells = [
        [f"{x + 0.0:.4g}" + (" " if abs(x - right) < 1e-5 else "*") for x, right in zip(*rows, strict=True)]
        for rows in zip(mine, expected, strict=True)
    ]
    width = max(len(cell) for row in cells for cell in row)
    return "\n".join("    " + " ".join(cell.rjust(width) for cell in row).rstrip() for row in cells)


if __name__ == "__main__":
    print(page(), end="")
