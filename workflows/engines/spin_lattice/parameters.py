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
    """Amplitudes (eV; magnetic ones eV / muB^2, landau4 eV / muB^4) and lengths (Angstrom). Keys: Ni, or Mn-Ni."""

    offset: dict[str, float] = field(default_factory=dict)
    repulsion: dict[str, float] = field(default_factory=dict)
    repulsion_range: dict[str, float] = field(default_factory=dict)
    charge: float = 0.0
    embedding1: dict[str, float] = field(default_factory=dict)
    embedding2: dict[str, float] = field(default_factory=dict)
    landau2: dict[str, float] = field(default_factory=dict)
    landau4: dict[str, float] = field(default_factory=dict)
    crowding: dict[str, float] = field(default_factory=dict)
    induction: dict[str, float] = field(default_factory=dict)
    direct: dict[str, float] = field(default_factory=dict)
    bridge90: dict[str, float] = field(default_factory=dict)
    bridge180: dict[str, float] = field(default_factory=dict)
    screening: float = 0.3
    bond_length: float = 2.1
    metal_distance: float = 3.0
    crowding_range: float = 0.5
    induction_range: float = 0.5
    bridge_range: float = 0.5
    direct_range: float = 0.3
    coulomb_ends: tuple[float, float] = (6.5, 8.0)
    repulsion_ends: tuple[float, float] = (4.5, 6.0)
    bond_ends: tuple[float, float] = (2.8, 3.4)
    direct_ends: tuple[float, float] = (3.4, 4.0)

    def species(self, name: str) -> FloatArray:
        """One value per element of ELEMENTS, 0 where the table has none."""
        table: dict[str, float] = getattr(self, name)
        return np.array([table.get(element, 0.0) for element in ELEMENTS])

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
