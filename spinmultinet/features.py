"""What a trained model sees in a structure, as vectors: learned features, and gradients of its last layer.

Both stay the same when a structure is translated, rotated, inverted, written in another order of sites, or has all its
moments reversed, and they are those of its supercells too. They come from one model; of a committee take the first
member: all members see the same structures much alike, and features of k of them cost k times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from .data import Graph, batches, collate
from .evaluate import EDGES_PER_BATCH, STRUCTURES_PER_BATCH, graphs_of
from .model import SpinMultiNet

FloatArray = NDArray[np.float64]
Tell = Callable[[float], None]

FORCE_DIRECTIONS = 8
"""Random directions in the space of the energy readout's weights whose forces are features."""


def structure_features(model: SpinMultiNet, frames: Sequence[Atoms], tell: Tell | None = None) -> FloatArray:
    """Learned features [n, d] of structures, per atom and without unit.

    By species and channel: the T-even scalars of the last layer, summed over the atoms of the species and divided by
    all atoms; then, where the model has a T-odd sector, the root mean square of those (see :func:`_rms`), which forgets
    their common sign. d = species x channels, or twice that. ``tell`` gets the share that is done. Raises
    SpinMultiNetError as :func:`spinmultinet.evaluate.predict`.
    """
    return _batched(model, frames, _learned, tell)


def gradient_features(
    model: SpinMultiNet,
    frames: Sequence[Atoms],
    forces: int = FORCE_DIRECTIONS,
    sketch: int = 0,
    tell: Tell | None = None,
) -> FloatArray:
    """How predictions of structures move with the weights w of the readouts: [n, g], in three blocks.

    energy
        d(E/N)/dw in eV/atom, as if each species had weights of its own: species x channels columns. Summed over the
        species they are the derivative with respect to the weights that there are.
    forces
        For ``forces`` fixed random directions v of unit length in the space of w (0: no block): the root mean square of
        v . dF/dw in eV/Angstrom, species x forces columns. The larger it is, the better forces as labels fix w along v.
        A direction costs a backward pass.
    moments
        The root mean square of dm/dw in muB, species x channels columns; none for models without moments.

    The blocks have units and sizes of their own; who measures distances over all columns should scale them.

    Where ``sketch`` > 0 is less than g, a fixed random projection to so many columns, which keeps scalar products up to
    about sketch^-0.5 of the lengths. ``tell`` and errors as in :func:`structure_features`. Source of energy block:
    last-layer gradient features of Zaverkin and Kaestner, Mach. Learn.: Sci. Technol. 2, 035009 (2021).
    """
    found = _batched(model, frames, lambda model, graph: _gradients(model, graph, forces), tell)
    if not 0 < sketch < found.shape[1]:
        return found
    return found @ np.random.default_rng(0).normal(scale=sketch**-0.5, size=(found.shape[1], sketch))


def _batched(
    model: SpinMultiNet,
    frames: Sequence[Atoms],
    compute: Callable[[SpinMultiNet, Graph], Tensor],
    tell: Tell | None,
) -> FloatArray:
    """``compute`` on batches of structures, one row each, in the order given."""
    was_training = model.training
    model.eval()
    rows: dict[int, FloatArray] = {}
    try:
        for start in range(0, len(frames), STRUCTURES_PER_BATCH):  # neighbour lists of a batch at a time
            graphs = graphs_of(model, frames[start : start + STRUCTURES_PER_BATCH], start)
            order = sorted(range(len(graphs)), key=lambda k: graphs[k].moments.shape[1])
            for batch in batches(graphs, order, STRUCTURES_PER_BATCH, EDGES_PER_BATCH):
                graph = collate([graphs[k] for k in batch]).to(model.energy_readout.weight.device)
                values = compute(model, graph).detach().cpu().numpy().astype(float)
                rows.update(zip([start + k for k in batch], values, strict=True))
            if tell is not None:
                tell((start + len(graphs)) / len(frames))
    finally:
        model.train(was_training)
    return np.stack([rows[k] for k in range(len(frames))]) if rows else np.zeros((0, 0))


@torch.no_grad()
def _learned(model: SpinMultiNet, graph: Graph) -> Tensor:
    even, odd = model.features(graph, graph.edge_vectors(), graph.moments)
    blocks = [_mean(model, graph, even)]
    if odd is not None:
        blocks.append(_rms(model, graph, odd))
    return torch.cat(blocks, dim=1)


def _gradients(model: SpinMultiNet, graph: Graph, directions: int) -> Tensor:
    readout = model.energy_readout
    with torch.set_grad_enabled(directions > 0):
        vectors = graph.edge_vectors().requires_grad_(directions > 0)
        even, odd = model.features(graph, vectors, graph.moments)
        slopes = readout.scale[graph.species, None] * even.double() * even.shape[1] ** -0.5
    blocks = [_mean(model, graph, slopes.detach())]
    if directions:
        blocks.append(_rms(model, graph, _directed_forces(graph, vectors, slopes, directions)))
    if model.moment_readout is not None:
        scale = model.moment_readout.scale[graph.species, None, None] * even.shape[1] ** -0.5
        seen = even.unsqueeze(1) if odd is None else odd
        blocks.append(_rms(model, graph, scale * seen.detach().double()))
    return torch.cat(blocks, dim=1)


def _directed_forces(graph: Graph, vectors: Tensor, slopes: Tensor, directions: int) -> Tensor:
    """Forces [N, 3, directions] of energies that have fixed random unit vectors for weights."""
    weights = np.random.default_rng(0).normal(size=(slopes.shape[1], directions))
    weights /= np.linalg.norm(weights, axis=0)
    energies = (slopes @ torch.as_tensor(weights, device=slopes.device)).sum(0)
    found = []
    for energy in energies:
        (slope,) = torch.autograd.grad(energy, vectors, retain_graph=True)
        zero = slope.new_zeros(len(graph.species), 3)
        found.append(zero.index_add(0, graph.receiver, slope).index_add(0, graph.sender, -slope))
    return torch.stack(found, dim=2)


def _mean(model: SpinMultiNet, graph: Graph, values: Tensor) -> Tensor:
    """Of values [N, U] the sum over the atoms of each species, by the number of all atoms: [B, species x U]."""
    n_species, n = len(model.species), len(graph.n_atoms)
    sums = values.new_zeros(n * n_species, values.shape[1], dtype=torch.float64)
    sums = sums.index_add(0, graph.structure * n_species + graph.species, values.double())
    return sums.reshape(n, -1) / graph.n_atoms[:, None]


def _rms(model: SpinMultiNet, graph: Graph, values: Tensor) -> Tensor:
    """Root mean square of vectors [N, s, U] for each species, by the number of all atoms: [B, species x U]."""
    return torch.sqrt(_mean(model, graph, values.double().square().sum(1)))
