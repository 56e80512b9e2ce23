"""Artificial Hamiltonians for unit spins, by name: levels of theory of their own beside the oxide model.

Source: Yu et al., "Spin-dependent graph neural network potential for magnetic materials" (SpinGNN), equations 10 to 12.
What was reconstructed is said in :mod:`.delafossite` and :mod:`.perovskite`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from datastore.schema import FloatArray, SpinConfig
from workflows.engines.interface import LabelError
from workflows.engines.spin_lattice import delafossite, perovskite

TABLES: dict[str, delafossite.Delafossite | perovskite.Perovskite] = {
    "delafossite": delafossite.Delafossite(),
    "perovskite-heisenberg": perovskite.HEISENBERG,
    "perovskite-high-order": perovskite.HIGH_ORDER,
}
"""Frozen parameters by name; a change needs a new version."""

LENGTH_TOLERANCE = 1e-6
"""muB. Files with eight decimals keep unit spins within it."""


class SpinHamiltonian(Protocol):
    """What the engine asks of a model of one structure; moments are (N,) or (N, 3)."""

    def energy(self, m: FloatArray) -> float:
        """eV per cell."""

    def moment_gradient(self, m: FloatArray) -> FloatArray:
        """dE/dm in eV / muB, same shape as ``m``."""

    def forces_and_stress(self, m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Forces (N, 3) in eV/Angstrom and stress (3, 3) in eV/Angstrom^3."""


def level(name: str) -> dict[str, Any]:
    """Level of theory of the Hamiltonian ``name``."""
    table = TABLES[name]
    return {
        "code": "spin-lattice",
        "hamiltonian": name,
        "parameters": table.version,
        "parameters_hash": table.digest(),
    }


def build(name: str, config: SpinConfig) -> SpinHamiltonian:
    """The Hamiltonian ``name`` of one structure. Raises LabelError (refused) where it is not defined."""
    table = TABLES[name]
    if isinstance(table, delafossite.Delafossite):
        _refuse(name, config, delafossite.MAGNETIC, delafossite.PASSENGERS)
        return delafossite.DelafossiteHamiltonian(table, config)
    _refuse(name, config, perovskite.MAGNETIC, (perovskite.A_SITE, perovskite.ANION))
    return perovskite.PerovskiteHamiltonian(table, config)


def _refuse(name: str, config: SpinConfig, magnetic: str, others: tuple[str, ...]) -> None:
    """Wrong elements, moments that are free to relax, spins that are no unit spins."""
    foreign = sorted(set(config.species) - {magnetic, *others})
    if foreign or magnetic not in config.species:
        known = ", ".join((magnetic, *others))
        wrong = f"not {', '.join(foreign)}" if foreign else f"and has to have {magnetic}"
        raise LabelError(
            f"hamiltonian {name!r} knows {known}, {wrong}; use hamiltonian 'oxide' or --engine gpaw", "refused"
        )
    if config.moment_role != "constraint":
        raise LabelError(
            f"hamiltonian {name!r} holds its spins, which cannot relax; give collinear or vector moments with "
            "moment_role='constraint'",
            "refused",
        )
    moments = config.magmoms_in.reshape(len(config.species), -1)
    expected = np.array([symbol == magnetic for symbol in config.species], dtype=float)
    wrong_length = np.abs(np.linalg.norm(moments, axis=1) - expected) > LENGTH_TOLERANCE
    if wrong_length.any():
        site = int(np.argmax(wrong_length))
        length = float(np.linalg.norm(moments[site]))
        raise LabelError(
            f"hamiltonian {name!r} has spins of length 1 muB on {magnetic} and none elsewhere: "
            f"site {site} ({config.species[site]}) has {length:.6g}",
            "refused",
        )
