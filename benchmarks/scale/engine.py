"""An engine that answers at once: what a label still costs is the overhead of everything around it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datastore.schema import SpinConfig
from workflows.engines.interface import Engine, RawLabel
from workflows.trusted import VARIABLE

os.environ.setdefault(VARIABLE, "benchmarks")  # workers, which inherit it, find the engine in documents

ENERGY = -6.0
"""eV per atom."""

SCATTER = 1e-4
"""eV per atom: little enough that no label is taken for an outlier."""


class Instant(Engine):
    """Numbers that pass every check, with as many digits as real ones, which decides the size of documents.

    They follow from the configuration: equal configurations give equal labels. They are no physics.
    """

    type: Literal["instant"] = "instant"

    def level_of_theory(self) -> dict[str, Any]:
        """As long as that of a plane-wave code, as it is part of every document."""
        return {"functional": "none", "hubbard_u": {"Co": 3.32, "Mn": 3.9, "Ni": 6.2}, "cutoff": 520.0, "spin": "z"}

    def version(self) -> str:
        """Of this file."""
        return "1"

    def missing(self) -> list[str]:
        """Nothing."""
        return []

    def compute(self, config: SpinConfig, workdir: Path | None) -> RawLabel:
        """Small random forces; moments and ordering as asked for."""
        rng = np.random.default_rng(int(config.config_id[:12], 16))
        n = len(config.species)
        forces = rng.normal(scale=0.2, size=(n, 3))
        energy = n * (ENERGY + rng.uniform(-SCATTER, SCATTER))
        moments = np.asarray(config.magmoms_in) * (1 - 0.05 * rng.random(n)).reshape(
            n, *[1] * (config.magmoms_in.ndim - 1)
        )
        stress = rng.normal(scale=0.01, size=(3, 3))
        return RawLabel(
            energy=energy,
            free_energy=energy,
            forces=forces - forces.mean(axis=0),
            stress=(stress + stress.T) / 2,
            magmoms_out=moments,
            total_moment=float(moments.sum()),
        )

    def seconds_estimate(self, config: SpinConfig) -> float:
        """A millisecond."""
        return 1e-3
