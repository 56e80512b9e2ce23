"""The spin-lattice engine: labels in milliseconds from an analytic model fitted to PBE+U."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from threadpoolctl import ThreadpoolController

from datastore.schema import FloatArray, SpinConfig
from workflows.engines.interface import Engine, LabelError, RawLabel
from workflows.engines.spin_lattice import artificial
from workflows.engines.spin_lattice.hamiltonian import Hamiltonian
from workflows.engines.spin_lattice.moments import relax_moments
from workflows.engines.spin_lattice.parameters import ELEMENTS
from workflows.engines.spin_lattice.table import TABLE, TABLE_VERSION

_SHORTEST = 1.0
"""Angstrom; closer atoms are outside what the model was fitted to by far."""


class SpinLatticeEngine(Engine):
    """A model of (Mn, Co, Ni)O with magnetic energy: for tests, demonstrations and studies, not for publication.

    Guess moments, collinear or vectors, relax to the minimum their branch leads to; constraint moments are held.
    ``hamiltonian`` chooses another model in its place, for held unit spins on a crystal of its own (see
    docs/reference-hamiltonian.md).
    """

    type: Literal["spin-lattice"] = "spin-lattice"
    hamiltonian: Literal["oxide", "delafossite", "perovskite-heisenberg", "perovskite-high-order"] = Field(
        default="oxide", description="oxide: (Mn, Co, Ni)O; the others are artificial Hamiltonians for unit spins"
    )
    moment_roles: ClassVar[tuple[str, ...]] = ("guess", "constraint")

    def level_of_theory(self) -> dict[str, Any]:
        """Name and version of the table of parameters, and the hash of its values."""
        if self.hamiltonian != "oxide":
            return artificial.level(self.hamiltonian)
        return {"code": "spin-lattice", "parameters": TABLE_VERSION, "parameters_hash": TABLE.digest()}

    def version(self) -> str:
        """Version of the parameter table."""
        return TABLE_VERSION if self.hamiltonian == "oxide" else artificial.TABLES[self.hamiltonian].version

    def missing(self) -> list[str]:
        """Nothing: numpy, scipy and vesin come with the project."""
        return []

    def seconds_estimate(self, config: SpinConfig) -> float:
        """About 0.4 ms per atom."""
        return 0.003 + 0.0004 * len(config.species)

    def compute(self, config: SpinConfig, workdir: Path | None) -> RawLabel:
        """Relax or hold the moments, then energy, forces and stress at them. Writes no files."""
        with _threads().limit(limits=1):  # small matrices: waiting for other threads costs far more than they bring
            hamiltonian, m, steps = self._prepare(config)
            energy = hamiltonian.energy(m)
            forces, stress = hamiltonian.forces_and_stress(m)
        total = m.sum(axis=0)
        return RawLabel(
            energy=energy,
            free_energy=energy,  # no electrons, no smearing
            forces=forces,
            stress=stress,
            magmoms_out=m,
            total_moment=float(total if m.ndim == 1 else np.linalg.norm(total)),
            magnetic_forces=-hamiltonian.moment_gradient(m) if config.moment_role == "constraint" else None,
            timings={"iterations": float(steps)},
        )

    def _prepare(self, config: SpinConfig) -> tuple[artificial.SpinHamiltonian, FloatArray, int]:
        """The Hamiltonian of the structure, its moments held or relaxed, and steps taken to relax them."""
        if self.hamiltonian != "oxide":
            return artificial.build(self.hamiltonian, config), config.magmoms_in, 0
        _refuse(config)
        hamiltonian = Hamiltonian(TABLE, config.species, config.lattice, config.positions)
        _refuse_too_close(hamiltonian)
        if config.moment_role == "constraint":
            return hamiltonian, config.magmoms_in, 0
        return hamiltonian, *relax_moments(hamiltonian, config.magmoms_in)


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


def _refuse(config: SpinConfig) -> None:
    foreign = sorted(set(config.species) - set(ELEMENTS))
    if foreign:
        raise LabelError(
            f"engine 'spin-lattice' knows {', '.join(ELEMENTS)}, not {', '.join(foreign)}; use --engine gpaw", "refused"
        )
    oxygens = config.species.count("O")
    if 2 * oxygens != len(config.species):
        metals = len(config.species) - oxygens
        raise LabelError(
            f"engine 'spin-lattice' needs as many metals as O (its charges must balance), not {metals} and {oxygens}",
            "refused",
        )


def _refuse_too_close(hamiltonian: Hamiltonian) -> None:
    shortest = float(hamiltonian.pairs.d.min())
    if shortest < _SHORTEST:
        raise LabelError(f"two atoms are {shortest:.2f} Angstrom apart; the model starts at {_SHORTEST}", "refused")
