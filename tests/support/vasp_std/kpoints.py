"""KPOINTS, or KSPACING of the INCAR: meshes and lists, reduced by time reversal only."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from tests.support.vasp_std.messages import StopError


@dataclass(frozen=True)
class Mesh:
    """K points in reciprocal coordinates (K, 3) with weights (K,) that add up to one."""

    comment: str
    style: str
    """Gamma, Monkhorst-Pack, or Reciprocal for a list."""
    divisions: tuple[int, int, int]
    points: np.ndarray
    weights: np.ndarray


def read_mesh(lattice: np.ndarray, spacing: float, gamma: bool) -> Mesh:
    """From KPOINTS; where there is none, from the INCAR's KSPACING (1/Angstrom) and KGAMMA."""
    reciprocal = 2 * np.pi * np.linalg.norm(np.linalg.inv(lattice).T, axis=1)
    if not Path("KPOINTS").exists():
        return _grid("Automatically generated mesh", _counts(np.ceil(reciprocal / spacing)), "G" if gamma else "M")
    lines = Path("KPOINTS").read_text().splitlines()
    try:
        comment, count, style = lines[0].strip(), int(lines[1].split()[0]), lines[2].strip()[0].upper()
        if count > 0:
            return _listed(comment, lines[3 : 3 + count])
        if style == "A":
            return _grid(comment, _counts(reciprocal / (2 * np.pi) * float(lines[3].split()[0]) + 0.5), "G")
        return _grid(comment, _counts([int(n) for n in lines[3].split()[:3]]), style)
    except (ValueError, IndexError):
        raise StopError(" Error reading KPOINTS file\n") from None


def _counts(numbers: object) -> tuple[int, int, int]:
    a, b, c = (max(1, int(n)) for n in np.asarray(numbers))
    return a, b, c


def _listed(comment: str, lines: list[str]) -> Mesh:
    rows = np.array([[float(x) for x in line.split()[:4]] for line in lines])
    return Mesh(comment, "Reciprocal", (0, 0, 0), rows[:, :3], rows[:, 3] / rows[:, 3].sum())


def _grid(comment: str, divisions: tuple[int, int, int], style: str) -> Mesh:
    shifted = style == "M"
    if style not in "GM":
        raise ValueError(style)
    kept: dict[tuple[float, ...], int] = {}
    for index in product(*(range(n) for n in divisions)):
        offset = [0.5 * (1 - n % 2) if shifted else 0.0 for n in divisions]
        point = np.array([(i + o) / n for i, o, n in zip(index, offset, divisions, strict=True)])
        key = tuple(np.round(point - np.round(point - 1e-9), 8) + 0.0)
        mirror = tuple(np.round(-point - np.round(-point - 1e-9), 8) + 0.0)
        kept[mirror if mirror in kept else key] = kept.get(mirror, kept.get(key, 0)) + 1
    weights = np.array(list(kept.values()), dtype=float)
    name = "Monkhorst-Pack" if shifted else "Gamma"
    return Mesh(comment, name, divisions, np.array(list(kept)), weights / weights.sum())
