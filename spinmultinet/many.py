"""Many structures, or many moments on one structure, from any ASE calculator: in batches where it can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator

from . import keys
from .data import batches, collate, with_axes
from .evaluate import EDGES_PER_BATCH, STRUCTURES_PER_BATCH, graphs_of

if TYPE_CHECKING:
    from .model import SpinMultiNet


@dataclass(frozen=True)
class States:
    """Energies [M, B] (eV) of M members (1 unless the calculator is a committee) in B states of one structure.

    `magmoms` [B, N] or [B, N, 3] (muB) are the mean moments that came out; None where the calculator gives none.
    """

    energies: np.ndarray
    magmoms: np.ndarray | None

    @property
    def energy(self) -> np.ndarray:
        """[B] mean over members (eV)."""
        mean: np.ndarray = self.energies.mean(0)
        return mean

    def spread_from(self, state: int) -> np.ndarray:
        """[B] sample standard deviation over members of the energies above those of `state` (eV); 0 for one member."""
        above = self.energies - self.energies[:, [state]]
        return np.asarray(above.std(0, ddof=1)) if len(above) > 1 else np.zeros(above.shape[1])


def results_of(calculator: Calculator, frames: Sequence[Atoms]) -> list[dict[str, Any]]:
    """Results of each structure under ASE's names; a calculator that has `calculate_many` does them in batches."""
    if hasattr(calculator, "calculate_many"):
        together: list[dict[str, Any]] = calculator.calculate_many(frames)
        return together
    return [_results(calculator, atoms) for atoms in frames]


def states_of(calculator: Calculator, atoms: Atoms, moments: np.ndarray) -> States:
    """Energies of initial moments [B, N] or [B, N, 3] (muB) on one geometry; `states` of a calculator that has it.

    Whatever the calculator raises goes through.
    """
    if hasattr(calculator, "states"):
        together: States = calculator.states(atoms, moments)
        return together
    found = []
    work = atoms.copy()
    for name in (keys.MAGMOM_IN, "initial_magmoms"):  # scalars may become vectors
        work.arrays.pop(name, None)
    for m in moments:
        work.set_initial_magnetic_moments(m)
        found.append(_results(calculator, work))
    energies = np.array([[r["energy"] for r in found]])
    return States(energies, np.array([r["magmoms"] for r in found]) if all("magmoms" in r for r in found) else None)


def _results(calculator: Calculator, atoms: Atoms) -> dict[str, Any]:
    work = atoms.copy()
    calculator.get_potential_energy(work)
    return dict(calculator.results)


def states_of_model(model: SpinMultiNet, atoms: Atoms, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Energies [B] (eV) and predicted moments [B, N] or [B, N, 3] (muB, None if it predicts none) of one model.

    The neighbour list of `atoms` serves all. Raises SpinMultiNetError as `predict`.
    """
    graph = graphs_of(model, [atoms])[0]
    axes = graph.moments.shape[1]
    graphs = [replace(graph, moments=torch.as_tensor(with_axes(m, axes, "state").copy())) for m in moments]
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    energies, magmoms = [], []
    for batch in batches(graphs, range(len(graphs)), STRUCTURES_PER_BATCH, EDGES_PER_BATCH):
        with torch.no_grad():
            out = model(collate([graphs[k] for k in batch]).to(device), forces=False)
        energies.append(out["energy"].double().cpu().numpy())
        if "moments" in out:
            magmoms.append(out["moments"].double().cpu().numpy().reshape(len(batch), len(atoms), axes))
    model.train(was_training)
    found = np.concatenate(magmoms) if magmoms else None
    return np.concatenate(energies), found if found is None or axes > 1 else found[..., 0]
