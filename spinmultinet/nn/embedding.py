"""Radial and spin bases, and the embedding of nodes (design: node features, radial weight)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

SILU_GAIN = 1.6790  # 1 / sqrt(<silu(x)^2>) for x ~ N(0, 1): keeps the second moment at one
SIGMOID_GAIN = 1.8467  # the same for the logistic function


def envelope(x: Tensor, power: int) -> Tensor:
    """Polynomial cutoff, 1 at x = 0; value, slope and curvature vanish at x = r / r_cut = 1 and beyond. Any shape."""
    p = float(power)
    y = 1.0 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return torch.where(x < 1.0, y, torch.zeros_like(y))


class BesselBasis(nn.Module):
    """sqrt(2) sin(n pi x) / x with x = r / cutoff: [E] distances in Angstrom -> [E, n_bessel]."""

    frequencies: Tensor

    def __init__(self, cutoff: float, n_bessel: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer(
            "frequencies", math.pi * torch.arange(1, n_bessel + 1, dtype=torch.float64), persistent=False
        )

    def forward(self, distance: Tensor) -> Tensor:
        """Distances [E] (Angstrom) -> basis [E, n_bessel], of order one."""
        x = (distance / self.cutoff).unsqueeze(-1)
        return math.sqrt(2.0) * torch.sin(self.frequencies * x) / x


def bounded(moments: Tensor, unit: float) -> Tensor:
    """b(m) = (m/m0) / sqrt(1 + |m/m0|^2): moments [N, s] in muB -> [N, s] inside the unit ball; odd and smooth."""
    m = moments / unit
    return m / torch.sqrt(1.0 + (m * m).sum(-1, keepdim=True))


def legendre(x: Tensor, count: int) -> Tensor:
    """Legendre polynomials P_1 .. P_count of x in [-1, 1], times sqrt(2n+1): [...] -> [..., count]."""
    values = [torch.ones_like(x), x]
    for n in range(1, count):
        values.append(((2 * n + 1) * x * values[n] - n * values[n - 1]) / (n + 1))
    return torch.stack([math.sqrt(2 * n + 1) * values[n] for n in range(1, count + 1)], dim=-1)


class RadialNetwork(nn.Module):
    """f_cut(r) * MLP(Bessel(r) || basis(m_i . m_j)): the envelope multiplies the OUTPUT, so a message ends at zero."""

    def __init__(self, n_inputs: int, hidden: list[int], n_outputs: int) -> None:
        super().__init__()
        widths = [n_inputs, *hidden, n_outputs]
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(a, b)) for a, b in pairwise(widths))

    def forward(self, inputs: Tensor, cut: Tensor) -> Tensor:
        """Edge inputs [E, n_inputs] and envelope [E, 1] -> weights [E, n_outputs]."""
        x = inputs
        last = len(self.weights) - 1
        for k, weight in enumerate(self.weights):
            if k == last:
                x = x * cut  # the last map is linear: the same as on the output, which is far wider
            # 1/sqrt(fan-in) in the forward pass keeps unit variance with N(0, 1) weights and one learning rate for all.
            x = x @ (weight * weight.shape[0] ** -0.5)
            if k < last:
                x = SILU_GAIN * torch.nn.functional.silu(x)
        return x


class NodeEmbedding(nn.Module):
    """Even start Linear(Embed(Z) || B(|m|^2)) and odd seed Embed'(Z) * b(m)."""

    def __init__(self, n_species: int, channels: int, n_spin_basis: int, spin: bool, odd: bool, gain: float) -> None:
        super().__init__()
        self.n_spin_basis = n_spin_basis
        self.gain = gain * n_spin_basis**-0.5
        self.even = nn.Parameter(torch.randn(n_species, channels))
        self.spin = nn.Parameter(torch.randn(n_species, n_spin_basis, channels)) if spin else None
        self.odd = nn.Parameter(torch.randn(n_species, channels)) if odd else None

    def forward(self, species: Tensor, b: Tensor) -> tuple[Tensor, Tensor | None]:
        """species [N], bounded moments [N, s] -> even [N, 1, U] and odd [N, 1, s, U] (or None)."""
        even = self.even[species]
        if self.spin is not None:
            basis = legendre(2.0 * (b * b).sum(-1) - 1.0, self.n_spin_basis)
            even = even + self.gain * torch.einsum("nk,nku->nu", basis, self.spin[species])
        odd = None
        if self.odd is not None:
            odd = (b.unsqueeze(-1) * self.odd[species].unsqueeze(1)).unsqueeze(1)
        return even.unsqueeze(1), odd
