"""Scales and shifts of a training set by least squares: what makes the network's own outputs of order one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .data import Graph, collate
from .nn.embedding import bounded
from .nn.readout import direction


@dataclass(frozen=True)
class Statistics:
    """Per species [S], float64: shift and scale of energies (eV), prior and scale of moments (muB), magnetic or not."""

    energy_shift: Tensor
    energy_scale: Tensor
    moment_prior: Tensor
    moment_scale: Tensor
    magnetic: Tensor
    avg_neighbours: float


def training_statistics(
    graphs: Sequence[Graph],
    n_species: int,
    moment_unit: float,
    kind: str,
    moment_species: str,
    as_trained: Callable[[Graph], Graph] = lambda g: g,
) -> Statistics:
    """Statistics of a labelled training set; `kind` as in MomentReadout, `moment_species` as in TrainOptions.

    `as_trained` gives a graph the input moments of a training step, if they are not those of the data.
    """
    g = collate([_without_pairs(x) for x in graphs])
    n_pairs = sum(len(x.receiver) for x in graphs)
    magnetic = _per_species((g.moments.abs().sum(-1) > 0).double(), g.species, n_species) > 0
    prior, scale = _moments(as_trained(g), n_species, moment_unit, kind)
    trained = torch.ones_like(magnetic) if moment_species == "all" else magnetic
    return Statistics(
        energy_shift=fit_shifts(compositions(g, n_species), g.energy),
        energy_scale=_energy_scale(g, n_species),
        moment_prior=prior * trained,
        moment_scale=scale * trained,
        magnetic=magnetic,
        avg_neighbours=max(n_pairs / len(g.species), 1.0),
    )


def _without_pairs(g: Graph) -> Graph:
    """The same without neighbours: all structures side by side then fit into memory."""
    return replace(g, receiver=g.receiver[:0], sender=g.sender[:0], shift=g.shift[:0], reverse=g.reverse[:0])


def _per_species(values: Tensor, species: Tensor, n_species: int) -> Tensor:
    """Mean of values [N] per species [S]; NaN values are left out, species without values give 0."""
    known = torch.isfinite(values)
    total = values.new_zeros(n_species).index_add(0, species[known], values[known])
    count = values.new_zeros(n_species).index_add(0, species[known], torch.ones_like(values[known]))
    return total / count.clamp_min(1.0)


def compositions(g: Graph, n_species: int) -> Tensor:
    """Number of atoms per structure and species [B, S], float64."""
    counts = torch.zeros(len(g.n_atoms), n_species, dtype=torch.float64)
    counts.index_put_((g.structure, g.species), torch.ones(len(g.species), dtype=torch.float64), accumulate=True)
    return counts


def fit_shifts(counts: Tensor, energies: Tensor) -> Tensor:
    """Energies per species [S] (eV) that explain energies [B] of structures of compositions `counts` [B, S] best.

    The shortest solution where compositions do not tell the species apart (one compound only). Absolute energies may
    be huge: all in float64.
    """
    return torch.linalg.lstsq(counts, energies.double().unsqueeze(1), driver="gelsd").solution.squeeze(1)


def _energy_scale(g: Graph, n_species: int) -> Tensor:
    """Root mean square of the force components per species (eV/Angstrom taken as eV), as equivariant potentials do."""
    squares = g.forces.square().mean(-1)
    overall = squares[torch.isfinite(squares)]
    fallback = overall.mean().sqrt() if len(overall) else torch.tensor(1.0, dtype=torch.float64)
    scale = _per_species(squares, g.species, n_species).sqrt()
    scale = torch.where(scale > 1e-3, scale, fallback)
    return torch.where(scale > 1e-3, scale, torch.ones_like(scale))


def _moments(g: Graph, n_species: int, unit: float, kind: str) -> tuple[Tensor, Tensor]:
    """prior_Z of m_out ~ prior_Z x (x = b(m), or the direction of m) and the root mean square of what it leaves."""
    x = bounded(g.moments, unit)
    x = direction(x) if kind == "magnitude" else x
    numerator = _per_species((x * g.moments_out).sum(-1), g.species, n_species)
    prior = numerator / _per_species((x * x).sum(-1), g.species, n_species).clamp_min(1e-12)
    if kind == "even":
        prior = torch.zeros_like(prior)
    rest = (g.moments_out - prior[g.species].unsqueeze(-1) * x).square().sum(-1)
    scale = _per_species(rest, g.species, n_species).sqrt()
    known = _per_species(torch.isfinite(rest).double(), g.species, n_species) > 0
    return prior, torch.where(known, scale.clamp_min(1e-4), torch.ones_like(scale))
