"""Numbers that no oxide has: most likely the file is in another unit than stated, or a key is another quantity's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from datastore.schema import FloatArray

MAX_ENERGY = 1e5
"""eV per atom; the heaviest all-electron 3d oxides reach 4e4."""

MAX_FORCE = 1e3
"""eV/Angstrom."""

MAX_STRESS = 1.0
"""eV/Angstrom^3 (160 GPa). A stress in kB or GPa that is taken for eV/Angstrom^3 is 1602 or 160 times too large."""

MAX_MOMENT = 10.0
"""muB per atom; no ion has more than 7 from its spin."""

VOLUME = (3.0, 50.0)
"""Angstrom^3 per atom; oxides have 8 to 22. Bohr or nm taken for Angstrom change it 7- or 1000-fold."""

MIN_DISTANCE = 0.5
"""Angstrom between two nuclei, images included; the shortest bond there is, of H2, has 0.74."""


def implausible(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """Reason and detail where a number is outside what any oxide has: most likely another unit than stated."""
    n = len(fields["species"])
    volume = abs(float(np.linalg.det(fields["lattice"]))) / n
    if not VOLUME[0] <= volume <= VOLUME[1]:
        return "implausible volume", f"{volume:.3g} Angstrom^3 per atom; check units.length"
    limits = [("energy", MAX_ENERGY, "eV per atom", n), ("free_energy", MAX_ENERGY, "eV per atom", n)]
    limits += [("forces", MAX_FORCE, "eV/Angstrom", 1), ("stress", MAX_STRESS, "eV/Angstrom^3", 1)]
    limits += [("magmoms_in", MAX_MOMENT, "muB", 1), ("magmoms_out", MAX_MOMENT, "muB", 1)]
    for name, limit, unit, share in limits:
        largest = 0.0 if fields[name] is None else float(np.abs(fields[name]).max()) / share
        if largest > limit:
            key = {"forces": "force", "free_energy": "energy"}.get(name, name)
            hint = "check the key" if name.startswith("magmoms") else f"check units.{key}"
            if name == "stress":
                hint += ": it looks like GPa or kB"
            return f"implausible {name}", f"{largest:.3g} {unit}; {hint}"
    return _on_one_site(fields["lattice"], fields["positions"])


def _on_one_site(lattice: FloatArray, positions: FloatArray) -> tuple[str, str] | None:
    """Reason and detail where two nuclei, images included, are nearer than MIN_DISTANCE."""
    fractional = np.linalg.solve(lattice.T, positions.T).T % 1.0 % 1.0  # -1e-17 % 1.0 is 1.0
    # A ball in space lies within a ball of fractional coordinates; what is in that one only is sorted out below.
    reach = min(MIN_DISTANCE / float(np.linalg.svd(lattice, compute_uv=False)[-1]), 0.49)
    pairs = KDTree(fractional, boxsize=1.0).query_pairs(reach, output_type="ndarray")
    if not len(pairs):
        return None
    apart = fractional[pairs[:, 1]] - fractional[pairs[:, 0]]
    distances = np.linalg.norm((apart - np.round(apart)) @ lattice, axis=1)
    if distances.min() >= MIN_DISTANCE:
        return None
    first, second = pairs[distances.argmin()]
    detail = f"atoms {first} and {second} (counted from 0) are {distances.min():.3g} Angstrom apart; check positions"
    return "two atoms on one site", detail
