"""Readouts: energies from T-even scalars, moments from T-odd ones, with scales and shifts of the training set."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EnergyReadout(nn.Module):
    """U_i = scale_Z * (linear readout of the T-even 0e channels) + shift_Z, in eV."""

    scale: Tensor
    shift: Tensor

    def __init__(self, n_species: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels))
        self.register_buffer("scale", torch.ones(n_species, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(n_species, dtype=torch.float64))

    def raw(self, even: Tensor) -> Tensor:
        """even [N, U] -> [N], before scale and shift."""
        return even @ (self.weight * even.shape[-1] ** -0.5)

    def forward(self, even: Tensor, species: Tensor) -> Tensor:
        """even [N, U] -> energies [N] in float64: total energies of 1e5 eV per atom keep their millielectronvolts."""
        return self.scale[species] * self.raw(even).double() + self.shift[species]


class MomentReadout(nn.Module):
    """Predicted moments in muB; `kind` says from which channels.

    odd        prior_Z b(m_i) + scale_Z (T-odd readout): exactly odd under time reversal, signs included.
    even       scale_Z (T-even readout), for time_reversal = invariant: it cannot know the sign.
    magnitude  (prior_Z + scale_Z (T-even readout)) m_i / |m_i|, for the no-spin baseline: the sign of the input is
               given to it for free, the ordering of the neighbours is not; sites without input moment get zero.
    """

    prior: Tensor
    scale: Tensor

    def __init__(self, n_species: int, channels: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.randn(channels))
        self.register_buffer("prior", torch.zeros(n_species, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(n_species, dtype=torch.float64))

    def forward(self, even: Tensor, odd: Tensor | None, species: Tensor, b: Tensor) -> Tensor:
        """even [N, U], odd [N, s, U], bounded moments b [N, s] -> moments [N, s] (float64)."""
        weight = self.weight * even.shape[-1] ** -0.5
        prior, scale = self.prior[species].unsqueeze(-1), self.scale[species].unsqueeze(-1)
        if odd is not None:
            return prior * b.double() + scale * (odd @ weight).double()
        raw = (even @ weight).double().unsqueeze(-1)
        if self.kind == "even":
            return (scale * raw).expand_as(b)
        return (prior + scale * raw) * direction(b).double()


def direction(b: Tensor) -> Tensor:
    """Unit vector of b [N, s], or zero where b is zero."""
    length = b.norm(dim=-1, keepdim=True)
    return torch.where(length > 0, b / length.clamp_min(1e-12), torch.zeros_like(b))
