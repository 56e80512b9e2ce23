"""Spin-orbit coupling: an additive block that ties spin space to real space (papers: SpinMultiNet, TENN-e3).

Without it the T-odd features O [N, 2l+1, 3, U] turn separately in space (irrep l) and in spin space (an axial vector).
With it only joint rotations remain a symmetry, and O may change by any joint scalar that acts on both indices:

    O'_l' = O_l' + gain * sum_{l, K} [ T^K(l -> l') . S^K ] O_l W_{l l' K}          K = 1, 2

S^K is the spin operator of rank K (1 x 1 -> K on the spin index), T^K the orbital one (l x K -> l'), and the dot their
scalar product. K = 0 is what the network has anyway; K = 1 is of the form L.S (Dzyaloshinskii-Moriya terms), K = 2 of
the form of the dipolar interaction and of anisotropy. The path l = 2 -> 0 leaves the axial vector of (l = 2) x spin,
e.g. the dipole field of a neighbour, in the channels that the moments are read from. Linear in O: exactly odd under
time reversal. S^K is even under inversion, so l and l' have the same parity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor, nn

SPIN = o3.Irrep("1e")  # moments are axial vectors: they do not change under inversion
RANKS = (1, 2)
_START = 0.1  # relativistic terms are far smaller than exchange: their weights start small


@dataclass(frozen=True)
class Path:
    """One coupling: indices of the irreps, and the rank K of the operators."""

    source: int
    target: int
    rank: int


def paths(irreps: list[o3.Irrep], present: list[int]) -> list[Path]:
    """All couplings that are joint scalars between T-odd features of the irreps whose indices are `present`."""
    return [
        Path(k, o, rank)
        for o in present
        for k in present
        for rank in RANKS
        if o3.Irrep(rank, 1) in SPIN * SPIN and irreps[o] in irreps[k] * o3.Irrep(rank, 1)
    ]


def operator(source: o3.Irrep, target: o3.Irrep, rank: int) -> Tensor:
    """T^K . S^K as a matrix [(2l'+1) * 3, (2l+1) * 3] of float64; it keeps unit variance."""
    orbital = o3.wigner_3j(target.l, source.l, rank, dtype=torch.float64)
    spin = o3.wigner_3j(1, 1, rank, dtype=torch.float64)
    matrix = torch.einsum("abk,stk->asbt", orbital, spin).reshape(target.dim * SPIN.dim, source.dim * SPIN.dim)
    return matrix * (target.dim * SPIN.dim * (2 * rank + 1)) ** 0.5


class SpinOrbit(nn.Module):
    """Adds all couplings between T-odd features with three spin axes, U -> U channels each.

    `present`: indices into `irreps` of the features there are.
    """

    def __init__(self, irreps: list[o3.Irrep], present: list[int], channels: int, gain: float) -> None:
        super().__init__()
        self.gain, self.paths = _START * gain, paths(irreps, present)
        self.weight = nn.Parameter(torch.randn(len(self.paths), channels, channels))
        for n, p in enumerate(self.paths):
            constant = operator(irreps[p.source], irreps[p.target], p.rank)
            self.register_buffer(f"operator_{n}", constant, persistent=False)

    def forward(self, odd: dict[int, Tensor]) -> dict[int, Tensor]:
        """{irrep: [N, 2l+1, 3, U]} -> the same with the couplings added."""
        out = dict(odd)
        fan_in = {o: sum(p.target == o for p in self.paths) * self.weight.shape[1] for o in odd}
        for n, p in enumerate(self.paths):
            mixed = odd[p.source] @ (self.weight[n] * (self.gain * fan_in[p.target] ** -0.5))
            turned = getattr(self, f"operator_{n}") @ mixed.flatten(1, 2)
            out[p.target] = out[p.target] + turned.view_as(out[p.target])
        return out
