"""Loops of the fused product, compiled by numba for the processor at hand and cached on disk.

All four are derivatives of one number, F = sum W[u, t, c] G[i, p + a, c] K[e, k + a d1 + b] x[j, row + b, c] over edges
e from sender j to receiver i, paths t, components a and b, and channels c; u is the pair of e. Shapes: K [E, Q],
x [N, D, C], W [pairs, paths, U or 2U], G [N, P, C]; C = n_blocks U. Block 0 (T-even) has the weights [:U], every other
(one per spin axis) the weights [U:]. A row of `paths` is (k, row, d1, p, d3): where the path begins in K, x and G, and
the dimensions 2 l1 + 1 and 2 l3 + 1. Each kernel writes the rows `start` <= n < `stop` of `out`. Sums have a fixed
order, whatever the number of threads.

The innermost loops run over channels, so that they become vector instructions. That works only with the dimensions
1, 3 and 5 (l <= 2) written out and chosen outside the loop; higher ones are sums of dimension 1. Slices of arrays, or
one function with the choice inside, made it slower. NaN stays NaN: fastmath leaves out `nnan`.
"""

# ruff: noqa: PLR0913 - indices instead of slices are the reason for the many arguments

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_njit: Any = njit
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    "error_model": "numpy",
}


def _compiled(function: Any) -> Any:
    try:
        return _njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder can be written: every process compiles anew
        return _njit(**_OPTIONS)(function)


_inlined = _njit(inline="always")


@_inlined
def _add1(out, i, p, c0, w, e, t, w0, K, m, k, step, x, j, row, x0, n):  # type: ignore[no-untyped-def]
    """out[i, p, c0 + c] += w[e, t, w0 + c] * sum_b K[m, k + b step] x[j, row + b, x0 + c] for c < n; here b = 0."""
    k0 = K[m, k]
    for c in range(n):
        out[i, p, c0 + c] += w[e, t, w0 + c] * (k0 * x[j, row, x0 + c])


@_inlined
def _add3(out, i, p, c0, w, e, t, w0, K, m, k, step, x, j, row, x0, n):  # type: ignore[no-untyped-def]
    """The same with b = 0, 1, 2."""
    k0, k1, k2 = K[m, k], K[m, k + step], K[m, k + 2 * step]
    for c in range(n):
        out[i, p, c0 + c] += w[e, t, w0 + c] * (
            k0 * x[j, row, x0 + c] + k1 * x[j, row + 1, x0 + c] + k2 * x[j, row + 2, x0 + c]
        )


@_inlined
def _add5(out, i, p, c0, w, e, t, w0, K, m, k, step, x, j, row, x0, n):  # type: ignore[no-untyped-def]
    """The same with b = 0 ... 4."""
    k0, k1, k2, k3, k4 = K[m, k], K[m, k + step], K[m, k + 2 * step], K[m, k + 3 * step], K[m, k + 4 * step]
    for c in range(n):
        out[i, p, c0 + c] += w[e, t, w0 + c] * (
            k0 * x[j, row, x0 + c]
            + k1 * x[j, row + 1, x0 + c]
            + k2 * x[j, row + 2, x0 + c]
            + k3 * x[j, row + 3, x0 + c]
            + k4 * x[j, row + 4, x0 + c]
        )


@_inlined
def _sum1(out, e, k, w, u, t, w0, g, i, p, x, j, row, c0, n):  # type: ignore[no-untyped-def]
    """out[e, k + b] += sum_c w[u, t, w0 + c] g[i, p, c0 + c] x[j, row + b, c0 + c]; here b = 0."""
    s0 = out.dtype.type(0)
    for c in range(n):
        s0 += w[u, t, w0 + c] * g[i, p, c0 + c] * x[j, row, c0 + c]
    out[e, k] += s0


@_inlined
def _sum3(out, e, k, w, u, t, w0, g, i, p, x, j, row, c0, n):  # type: ignore[no-untyped-def]
    """The same with b = 0, 1, 2."""
    s0 = s1 = s2 = out.dtype.type(0)
    for c in range(n):
        v = w[u, t, w0 + c] * g[i, p, c0 + c]
        s0 += v * x[j, row, c0 + c]
        s1 += v * x[j, row + 1, c0 + c]
        s2 += v * x[j, row + 2, c0 + c]
    out[e, k] += s0
    out[e, k + 1] += s1
    out[e, k + 2] += s2


@_inlined
def _sum5(out, e, k, w, u, t, w0, g, i, p, x, j, row, c0, n):  # type: ignore[no-untyped-def]
    """The same with b = 0 ... 4."""
    s0 = s1 = s2 = s3 = s4 = out.dtype.type(0)
    for c in range(n):
        v = w[u, t, w0 + c] * g[i, p, c0 + c]
        s0 += v * x[j, row, c0 + c]
        s1 += v * x[j, row + 1, c0 + c]
        s2 += v * x[j, row + 2, c0 + c]
        s3 += v * x[j, row + 3, c0 + c]
        s4 += v * x[j, row + 4, c0 + c]
    out[e, k] += s0
    out[e, k + 1] += s1
    out[e, k + 2] += s2
    out[e, k + 3] += s3
    out[e, k + 4] += s4


@_compiled
def to_receivers(first, order, sender, pair, paths, n_blocks, K, x, W, out, start, stop):  # type: ignore[no-untyped-def]
    """dF/dG: messages summed at receivers i. The edges order[first[i]:first[i + 1]] end at node i."""
    n = x.shape[2] // n_blocks
    for i in range(start, stop):
        out[i] = 0.0
        for s in range(first[i], first[i + 1]):
            e = order[s]
            j, u = sender[e], pair[e]
            for block in range(n_blocks):
                c0, w0 = block * n, n if block > 0 else 0
                for t in range(paths.shape[0]):
                    k, row, d1, p, d3 = paths[t, 0], paths[t, 1], paths[t, 2], paths[t, 3], paths[t, 4]
                    for a in range(d3):
                        if d1 == 1:
                            _add1(out, i, p + a, c0, W, u, t, w0, K, e, k + a * d1, 1, x, j, row, c0, n)
                        elif d1 == 3:
                            _add3(out, i, p + a, c0, W, u, t, w0, K, e, k + a * d1, 1, x, j, row, c0, n)
                        elif d1 == 5:
                            _add5(out, i, p + a, c0, W, u, t, w0, K, e, k + a * d1, 1, x, j, row, c0, n)
                        else:
                            for q in range(d1):
                                _add1(out, i, p + a, c0, W, u, t, w0, K, e, k + a * d1 + q, 1, x, j, row + q, c0, n)


@_compiled
def to_senders(first, order, receiver, pair, paths, n_blocks, K, W, G, out, start, stop):  # type: ignore[no-untyped-def]
    """dF/dx: the transpose. The edges order[first[j]:first[j + 1]] begin at node j."""
    n = G.shape[2] // n_blocks
    for j in range(start, stop):
        out[j] = 0.0
        for s in range(first[j], first[j + 1]):
            e = order[s]
            i, u = receiver[e], pair[e]
            for block in range(n_blocks):
                c0, w0 = block * n, n if block > 0 else 0
                for t in range(paths.shape[0]):
                    k, row, d1, p, d3 = paths[t, 0], paths[t, 1], paths[t, 2], paths[t, 3], paths[t, 4]
                    for b in range(d1):
                        if d3 == 1:
                            _add1(out, j, row + b, c0, W, u, t, w0, K, e, k + b, d1, G, i, p, c0, n)
                        elif d3 == 3:
                            _add3(out, j, row + b, c0, W, u, t, w0, K, e, k + b, d1, G, i, p, c0, n)
                        elif d3 == 5:
                            _add5(out, j, row + b, c0, W, u, t, w0, K, e, k + b, d1, G, i, p, c0, n)
                        else:
                            for q in range(d3):
                                _add1(out, j, row + b, c0, W, u, t, w0, K, e, k + b + q * d1, d1, G, i, p + q, c0, n)


@_compiled
def to_weights(first, order, receiver, sender, paths, n_blocks, K, x, G, out, start, stop):  # type: ignore[no-untyped-def]
    """dF/dW. The edges order[first[u]:first[u + 1]] are pair u."""
    n = x.shape[2] // n_blocks
    for u in range(start, stop):
        out[u] = 0.0
        for s in range(first[u], first[u + 1]):
            e = order[s]
            i, j = receiver[e], sender[e]
            for block in range(n_blocks):
                c0, w0 = block * n, n if block > 0 else 0
                for t in range(paths.shape[0]):
                    k, row, d1, p, d3 = paths[t, 0], paths[t, 1], paths[t, 2], paths[t, 3], paths[t, 4]
                    for a in range(d3):
                        if d1 == 1:
                            _add1(out, u, t, w0, G, i, p + a, c0, K, e, k + a * d1, 1, x, j, row, c0, n)
                        elif d1 == 3:
                            _add3(out, u, t, w0, G, i, p + a, c0, K, e, k + a * d1, 1, x, j, row, c0, n)
                        elif d1 == 5:
                            _add5(out, u, t, w0, G, i, p + a, c0, K, e, k + a * d1, 1, x, j, row, c0, n)
                        else:
                            for q in range(d1):
                                _add1(out, u, t, w0, G, i, p + a, c0, K, e, k + a * d1 + q, 1, x, j, row + q, c0, n)


@_compiled
def to_geometry(receiver, sender, pair, paths, n_blocks, x, W, G, out, start, stop):  # type: ignore[no-untyped-def]
    """dF/dK: where forces come from."""
    n = x.shape[2] // n_blocks
    for e in range(start, stop):
        out[e] = 0.0
        i, j, u = receiver[e], sender[e], pair[e]
        for block in range(n_blocks):
            c0, w0 = block * n, n if block > 0 else 0
            for t in range(paths.shape[0]):
                k, row, d1, p, d3 = paths[t, 0], paths[t, 1], paths[t, 2], paths[t, 3], paths[t, 4]
                for a in range(d3):
                    if d1 == 1:
                        _sum1(out, e, k + a * d1, W, u, t, w0, G, i, p + a, x, j, row, c0, n)
                    elif d1 == 3:
                        _sum3(out, e, k + a * d1, W, u, t, w0, G, i, p + a, x, j, row, c0, n)
                    elif d1 == 5:
                        _sum5(out, e, k + a * d1, W, u, t, w0, G, i, p + a, x, j, row, c0, n)
                    else:
                        for q in range(d1):
                            _sum1(out, e, k + a * d1 + q, W, u, t, w0, G, i, p + a, x, j, row + q, c0, n)


def compile_one() -> None:
    """Compile one kernel, or raise what numba raises where it cannot."""
    index, one = np.zeros(1, dtype=np.int64), np.ones((1, 1), dtype=np.float32)
    first, paths = np.array([0, 1]), np.array([[0, 0, 1, 0, 1]])
    out = np.empty((1, 1, 1), dtype=np.float32)
    to_receivers(first, index, index, index, paths, 1, one, one[None], one[None], out, 0, 1)
    if out[0, 0, 0] != 1.0:
        raise RuntimeError("a compiled kernel gives wrong numbers")
