"""The sum over edges of K x W in one pass over the processor's cache, differentiable any number of times.

The messages of all edges, [E, rows, channels], are never written. The kernels need a compiler, which numba brings;
where it fails, torch's own operations do the same, with a warning.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import SpinMultiNetError

VARIABLE = "SPINMULTINET_KERNEL"
CHOICES = ("auto", "torch")
_K, _X, _W, _G = range(4)
_PARTS = 4  # per thread
_SERIAL = 200_000  # products of edges and channels below which starting threads costs more than it saves


class KernelWarning(UserWarning):
    """The compiled kernels cannot be used; torch's operations do the same, more slowly."""


@dataclass(frozen=True)
class Edges:
    """Directed edges [E] from `sender` to `receiver`, among n nodes; orders by node and by pair are made once.

    `reverse` [E] is the index of the edge in the other direction, or an edge's own. The two are one pair: whatever
    depends on the distance only is computed for pairs.
    """

    receiver: Tensor
    sender: Tensor
    reverse: Tensor
    n: int

    @cached_property
    def chosen(self) -> Tensor:
        """One edge [pairs] of each pair."""
        return self._first.nonzero().squeeze(1)

    @cached_property
    def pair(self) -> Tensor:
        """Number [E] of the pair of each edge."""
        number = torch.cumsum(self._first, 0) - 1
        return torch.where(self._first, number, number[self.reverse])

    @cached_property
    def _first(self) -> Tensor:
        return torch.arange(self.reverse.shape[0], device=self.reverse.device) <= self.reverse

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Receivers, senders and pairs as arrays."""
        return self.receiver.numpy(), self.sender.numpy(), self.pair.numpy()

    @cached_property
    def by_receiver(self) -> tuple[np.ndarray, np.ndarray]:
        """`first` [n + 1] and `order` [E]: the edges order[first[i]:first[i + 1]] have receiver i."""
        return _sorted_by(self.arrays[0], self.n)

    @cached_property
    def by_sender(self) -> tuple[np.ndarray, np.ndarray]:
        """The same for senders."""
        return _sorted_by(self.arrays[1], self.n)

    @cached_property
    def by_pair(self) -> tuple[np.ndarray, np.ndarray]:
        """The same for pairs."""
        return _sorted_by(self.arrays[2], self.chosen.shape[0])


def _sorted_by(node: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(node, minlength=n), out=first[1:])
    return first, np.argsort(node, kind="stable")


@lru_cache(maxsize=1)
def _kernels() -> Any:
    """The module of compiled kernels, or None (with a warning) where numba cannot compile them."""
    try:
        from . import kernels

        kernels.compile_one()  # numba compiles at the first call: better here than in the middle of a step
        return kernels
    except Exception as error:  # whatever a compiler may raise: a slower result is better than none
        warnings.warn(f"compiled kernels cannot be used ({error}); torch's operations are slower", KernelWarning, 2)
        return None


def wanted(features: Tensor) -> bool:
    """Whether to use the kernels: on processors, unless the environment variable SPINMULTINET_KERNEL is 'torch'.

    Raises SpinMultiNetError for another value than 'auto' or 'torch'.
    """
    choice = os.environ.get(VARIABLE, "auto")
    if choice not in CHOICES:
        raise SpinMultiNetError(f"environment variable {VARIABLE} is '{choice}'; give one of {', '.join(CHOICES)}")
    return choice == "auto" and features.device.type == "cpu" and _kernels() is not None


def contract(
    edges: Edges, paths: Sequence[tuple[int, ...]], n_rows: int, folded: Tensor, features: Tensor, weights: Tensor
) -> Tensor:
    """Messages [N, n_rows, C] summed at the receivers; arguments as in `FoldedTensorProduct`."""
    sizes = (folded.shape[1], *features.shape[1:], weights.shape[2])
    plan = _Plan(edges, np.array(paths, dtype=np.int64).reshape(-1, 5), n_rows, *sizes)
    result: Tensor = _apply(plan, _G, folded, features, weights, None)
    return result


@dataclass(frozen=True)
class _Plan:
    """What a contraction needs besides its operands: paths [T, 5] (see `kernels`) and shapes."""

    edges: Edges
    paths: np.ndarray
    n_rows: int
    n_columns: int
    n_components: int
    channels: int
    n_weights: int

    @property
    def n_blocks(self) -> int:
        """Blocks of channels that take their weights from different places; one where each channel has its own."""
        return 1 if self.channels == self.n_weights else self.channels // (self.n_weights // 2)

    def shape(self, target: int) -> tuple[int, ...]:
        """Shape of K, x, W or G."""
        n_edges, n_pairs, n = len(self.edges.receiver), len(self.edges.chosen), self.edges.n
        return {
            _K: (n_edges, self.n_columns),
            _X: (n, self.n_components, self.channels),
            _W: (n_pairs, len(self.paths), self.n_weights),
            _G: (n, self.n_rows, self.channels),
        }[target]


class _Contraction(torch.autograd.Function):
    """The derivative of F(K, x, W, G) (see `kernels`) by one of its operands, given the three others.

    F is linear in each operand, so derivatives of it are contractions of the same kind: this one class is closed under
    differentiation.
    """

    @staticmethod
    def forward(ctx: Any, plan: _Plan, target: int, *operands: Tensor | None) -> Tensor:
        """Operands K, x, W, G; that of `target` is None."""
        ctx.plan, ctx.target = plan, target
        ctx.save_for_backward(*operands)
        return _evaluate(plan, target, operands)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        """F with the cotangent in place of the target, differentiated by the other operands."""
        full = list(ctx.saved_tensors)
        full[ctx.target] = cotangent
        out: list[Tensor | None] = [None, None]
        for k in range(4):
            if k == ctx.target or not ctx.needs_input_grad[2 + k]:
                out.append(None)
            else:
                out.append(_apply(ctx.plan, k, *(None if n == k else x for n, x in enumerate(full))))
        return tuple(out)


_apply: Any = _Contraction.apply


def _evaluate(plan: _Plan, target: int, operands: Sequence[Tensor | None]) -> Tensor:
    """The derivative of F by one operand."""
    given = [None if t is None else t.detach().contiguous().numpy() for t in operands]
    some = next(t for t in operands if t is not None)
    out = torch.empty(plan.shape(target), dtype=some.dtype)
    kernel, order = _kernel(plan, target)
    arrays = [a for a in given if a is not None]

    def work(start: int, stop: int) -> None:
        kernel(*order, plan.paths, plan.n_blocks, *arrays, out.numpy(), start, stop)

    _in_parts(work, len(out), len(plan.edges.receiver) * plan.channels)
    return out


def _kernel(plan: _Plan, target: int) -> tuple[Any, tuple[np.ndarray, ...]]:
    """The kernel for a target, and its view of the edges."""
    kernels, edges = _kernels(), plan.edges
    receiver, sender, pair = edges.arrays
    if target == _G:
        return kernels.to_receivers, (*edges.by_receiver, sender, pair)
    if target == _X:
        return kernels.to_senders, (*edges.by_sender, receiver, pair)
    if target == _W:
        return kernels.to_weights, (*edges.by_pair, receiver, sender)
    return kernels.to_geometry, (receiver, sender, pair)


def _in_parts(work: Callable[[int, int], None], n_rows: int, amount: int) -> None:
    """Run work(start, stop) over all rows, on as many threads as torch uses; the kernels release the lock."""
    threads = torch.get_num_threads() if amount > _SERIAL else 1
    if threads == 1:
        work(0, n_rows)
        return
    bounds = np.linspace(0, n_rows, _PARTS * threads + 1).astype(int).tolist()
    parts = iter(list(pairwise(bounds)))

    def run() -> None:
        for start, stop in parts:
            work(start, stop)

    # This thread works too, and whoever is free takes the next part: a processor on which a thread of PyTorch still
    # waits for work, spinning, then only gets less of it.
    others = [_pool(threads, os.getpid()).submit(run) for _ in range(threads - 1)]
    run()
    for other in others:
        other.result()


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process; a fork has to make its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="spinmultinet")
