"""Small configurations for the tests of the artificial Hamiltonians."""

from __future__ import annotations

import numpy as np

from datastore.schema import SpinConfig
from workflows.engines import Engine, get_engine
from workflows.engines.spin_lattice.artificial import TABLES, build
from workflows.engines.spin_lattice.samples import (
    delafossite_crystal,
    delafossite_samples,
    perovskite_crystal,
    perovskite_samples,
)

NAMES = tuple(TABLES)


PEROVSKITES = ("perovskite-heisenberg", "perovskite-high-order")


SMALL = (2, 2, 1)


def engine(name: str) -> Engine:
    return get_engine({"type": "spin-lattice", "hamiltonian": name})


def changed(base: SpinConfig, **fields: object) -> SpinConfig:
    return SpinConfig(**{**base.model_dump(), **fields})


def sample(name: str, seed: int = 0) -> SpinConfig:
    """A distorted perovskite with random spins, or random spins on 12 delafossite sites with passengers."""
    if name == "delafossite":
        return next(delafossite_samples(1, seed, SMALL, passengers=True))
    return next(perovskite_samples(1, seed))


def crystal(name: str, *args: object) -> SpinConfig:
    """The ideal crystal with all spins along z."""
    species, lattice, positions = (delafossite_crystal if name == "delafossite" else perovskite_crystal)(*args)
    magnetic = "Fe" if name == "delafossite" else "Mn"
    moments = np.outer([float(symbol == magnetic) for symbol in species], [0, 0, 1])
    return SpinConfig(
        species=species,
        lattice=lattice,
        positions=positions,
        magmoms_in=moments,
        moment_role="constraint",
        ordering="FM",
    )


def energy(name: str, config: SpinConfig) -> float:
    return build(name, config).energy(config.magmoms_in)


def rotation(seed: int, improper: bool = False) -> np.ndarray:
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return q * (np.sign(np.linalg.det(q)) * (-1 if improper else 1))
