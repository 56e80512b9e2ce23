"""Parameters of the spin-lattice model: a frozen table with a version, fitted to PBE+U labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from datastore.schema import FloatArray, content_hash

ELEMENTS = ("Mn", "Co", "Ni", "O")
METALS = ELEMENTS[:3]


@dataclass(frozen=True)
class Parameters:
    """Amplitudes (eV; exchange eV / muB^2; landauN eV / muB^N) and lengths (Angstrom). Keys: Ni, or Mn-Ni."""

    offset: dict[str, float] = field(default_factory=dict)
    charge: float = 0.0
    repulsion: dict[str, float] = field(default_factory=dict)
    repulsion_range: dict[str, float] = field(default_factory=dict)
    soft: dict[str, float] = field(default_factory=dict)
    embedding1: dict[str, float] = field(default_factory=dict)
    embedding2: dict[str, float] = field(default_factory=dict)
    landau2: dict[str, float] = field(default_factory=dict)
    landau4: dict[str, float] = field(default_factory=dict)
    landau6: dict[str, float] = field(default_factory=dict)
    landau8: dict[str, float] = field(default_factory=dict)
    crowding: dict[str, float] = field(default_factory=dict)
    induction: dict[str, float] = field(default_factory=dict)
    direct: dict[str, float] = field(default_factory=dict)
    bridge90: dict[str, float] = field(default_factory=dict)
    bridge180: dict[str, float] = field(default_factory=dict)
    two_site: float = 0.0
    three_site: float = 0.0
    four_site: float = 0.0
    saturation: dict[str, float] = field(default_factory=dict)
    """Of exchange with the length of a moment, 1 / muB^2."""
    reference_moment: dict[str, float] = field(default_factory=dict)
    """muB; unit of the moments in the terms of fourth order."""
    bond_length: float = 2.1
    metal_distance: float = 3.0
    soft_range: float = 0.6
    embedding_range: float = 0.5
    crowding_range: float = 0.15
    induction_range: float = 0.5
    bridge_range: float = 0.5
    direct_range: float = 0.3
    repulsion_ends: tuple[float, float] = (4.5, 6.0)
    bond_ends: tuple[float, float] = (2.8, 3.4)
    direct_ends: tuple[float, float] = (3.4, 4.0)

    def species(self, name: str, default: float = 0.0) -> FloatArray:
        """One value per element of ELEMENTS, ``default`` where the table has none."""
        table: dict[str, float] = getattr(self, name)
        return np.array([table.get(element, default) for element in ELEMENTS])

    def pair(self, name: str, default: float = 0.0) -> FloatArray:
        """Symmetric matrix over ELEMENTS, ``default`` where the table has no entry."""
        table: dict[str, float] = getattr(self, name)
        out = np.full((len(ELEMENTS), len(ELEMENTS)), default)
        for key, value in table.items():
            a, b = (ELEMENTS.index(element) for element in key.split("-"))
            out[a, b] = out[b, a] = value
        return out

    def digest(self) -> str:
        """Hash of all values, part of the level of theory."""
        table: dict[str, Any] = asdict(self)
        return content_hash(table, 16)
