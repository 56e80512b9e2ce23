"""Small oxides for the tests of the spin-lattice model."""

from __future__ import annotations

import numpy as np

from datastore.schema import SpinConfig
from workflows.engines import get_engine
from workflows.engines.spin_lattice.hamiltonian import Hamiltonian
from workflows.engines.spin_lattice.moments import relax_moments
from workflows.engines.spin_lattice.table import TABLE
from workflows.structures import apply_ordering, rocksalt

ENGINE = get_engine("spin-lattice")
LATTICE = {"Ni": 4.27, "Co": 4.31, "Mn": 4.51}


def oxide(
    species: object = "Ni", ordering: str = "AFM-II", cell: str = "all8", a: float = 4.27, noise: float = 0.0
) -> SpinConfig:
    structure = apply_ordering(rocksalt(species, lattice_constant=a, cell=cell), ordering)
    plain = SpinConfig.from_structure(structure, ordering)
    displaced = plain.positions + noise * np.random.default_rng(7).normal(size=plain.positions.shape)
    return changed(plain, positions=displaced)


def changed(base: SpinConfig, **fields: object) -> SpinConfig:
    return SpinConfig(**{**base.model_dump(), **fields})


MIXED = oxide({"Mn": 0.25, "Co": 0.25, "Ni": 0.5}, noise=0.08)


def hamiltonian(c: SpinConfig) -> Hamiltonian:
    return Hamiltonian(TABLE, c.species, c.lattice, c.positions)


def relaxed_energy(c: SpinConfig, moments: np.ndarray) -> float:
    """Energy at the moments that continue from ``moments``."""
    h = hamiltonian(c)
    return h.energy(relax_moments(h, moments)[0])


def strained(c: SpinConfig, strain: np.ndarray) -> SpinConfig:
    f = np.eye(3) + strain
    return changed(c, lattice=c.lattice @ f, positions=c.positions @ f)
