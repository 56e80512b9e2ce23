"""Rocksalt transition-metal oxides: cells of the fcc cation lattice, decorated with one metal or a mixture.

Every site lies on the *grid*: Cartesian position = (a / 2) n with an integer triple n. Cations have an even sum of n
(the fcc lattice), anions an odd one. The triple travels with its site as the site property ``grid_index`` through
every deformation, so orderings are decided by integers and never by distances in a deformed cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element, Lattice, Structure

from workflows.structures.errors import StructureError
from workflows.structures.identity import parent_id

IntArray = NDArray[np.int64]

ANION = "O"
MIN_DISTANCE = 1.2
"""Angstrom; atoms closer than this are a mistake, not a configuration worth labelling."""

LATTICE_CONSTANTS = {"Mn": 4.445, "Co": 4.26, "Ni": 4.17}
"""Experimental cubic lattice constants of MnO, CoO, NiO in Angstrom (near room temperature)."""

PRIMITIVE = ((0, 1, 1), (1, 0, 1), (1, 1, 0))
"""Rows are the primitive fcc vectors in units of a/2."""

CELLS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "primitive": PRIMITIVE,
    "rhombohedral4": ((1, -1, 0), (0, 1, -1), (2, 1, 1)),
    "tetragonal4": ((1, -1, 0), (1, 1, 0), (0, 0, 2)),
    "all8": ((1, -1, 0), (1, 1, -2), (1, 1, 2)),
    "conventional": ((2, 0, 0), (0, 2, 0), (0, 0, 2)),
    "conventional_2x2x2": ((4, 0, 0), (0, 4, 0), (0, 0, 4)),
}
"""Lattice vectors (rows) of the named cells in units of a/2, all right-handed (VASP refuses left-handed ones).

primitive: 2 atoms. rhombohedral4: 4 atoms, FM and AFM-II. tetragonal4: 4 atoms, FM and AFM-I. all8: 8 atoms, FM,
AFM-I and AFM-II. conventional: the 8-atom cube. conventional_2x2x2: 64 atoms.
"""

CellLike = str | Sequence[Sequence[int]]
SpeciesLike = str | Mapping[str, float]


def rocksalt(
    species: SpeciesLike, lattice_constant: float | None = None, cell: CellLike = "all8", seed: int = 0
) -> Structure:
    """Rocksalt oxide with the cubic axes along x, y, z.

    Args:
        species: cation symbol, or fractions that sum to 1 such as ``{"Ni": 0.5, "Mn": 0.5}``. A mixture is placed
            at random with ``seed``, exactly at the fractions.
        lattice_constant: cubic a in Angstrom; default from LATTICE_CONSTANTS, mixed linearly (Vegard).
        cell: name in CELLS, or a 3x3 integer matrix M acting on the primitive fcc cell: rows of
            ``M @ PRIMITIVE * a / 2`` are the lattice vectors. A left-handed M is negated.
        seed: of the placement.

    Returns:
        Structure with cations first, grouped by element in alphabetical order, then O (input files that group
        species keep this order). Site property ``grid_index``; ``properties`` hold ``cell``, ``lattice_constant``
        (Angstrom), ``grid_vectors`` (lattice vectors in units of a/2), ``parent`` (the id of this structure) and
        ``parent_lattice`` (its lattice, Angstrom), which stay with it through deformations.

    Raises:
        StructureError: unknown element or cell, fractions that do not fit, impossible lattice constant.
    """
    fractions = parse_species(species)
    a = resolve_lattice_constant(fractions, lattice_constant)
    name, vectors = resolve_cell(cell)
    cations, anions = grid_points(vectors)
    symbols = place_cations(cation_counts(fractions, len(cations)), seed)
    # A stable sort groups the elements and keeps the lattice order within each group.
    order = np.argsort(symbols, kind="stable")
    grid = np.concatenate([cations[order], anions])
    structure = Structure(
        Lattice(vectors * (a / 2)),
        [symbols[i] for i in order] + [ANION] * len(anions),
        grid @ np.linalg.inv(vectors),
        site_properties={"grid_index": grid.tolist()},
        properties={"cell": name, "lattice_constant": a, "grid_vectors": vectors.tolist()},
    )
    structure.properties |= {"parent": parent_id(structure), "parent_lattice": structure.lattice.matrix.tolist()}
    return structure


def parse_species(species: SpeciesLike) -> dict[str, float]:
    """Fractions per cation symbol in alphabetical order, summing to 1; StructureError names what is wrong."""
    given = {species: 1.0} if isinstance(species, str) else dict(species)
    if not given:
        raise StructureError("species is empty: name a cation such as 'Ni' or fractions {'Ni': 0.5, 'Mn': 0.5}")
    for symbol, fraction in given.items():
        if not Element.is_valid_symbol(symbol):
            raise StructureError(f"species: {symbol!r} is not a chemical element; write a symbol such as 'Ni'")
        if symbol == ANION:
            raise StructureError("species: O is the anion and is added by itself; name only the cations")
        if not (math.isfinite(fraction) and fraction > 0):
            raise StructureError(f"species: the fraction of {symbol} is {fraction}; it must be above 0")
    total = sum(given.values())
    if abs(total - 1) > 1e-6:
        raise StructureError(f"species: the fractions sum to {total:g}; they must sum to 1")
    return dict(sorted(given.items()))


def resolve_lattice_constant(fractions: Mapping[str, float], lattice_constant: float | None) -> float:
    """Cubic lattice constant in Angstrom: as given, or Vegard's mean of the table."""
    if lattice_constant is None:
        unknown = [symbol for symbol in fractions if symbol not in LATTICE_CONSTANTS]
        if unknown:
            known = ", ".join(sorted(LATTICE_CONSTANTS))
            raise StructureError(
                f"no lattice constant is known for {', '.join(unknown)} (known: {known}); set it in Angstrom"
            )
        return sum(x * LATTICE_CONSTANTS[symbol] for symbol, x in fractions.items())
    if not math.isfinite(lattice_constant) or lattice_constant < 2 * MIN_DISTANCE:
        raise StructureError(
            f"lattice_constant is {lattice_constant} Angstrom, which gives no volume or atoms closer than "
            f"{MIN_DISTANCE} Angstrom; NiO has {LATTICE_CONSTANTS['Ni']}"
        )
    return float(lattice_constant)


def resolve_cell(cell: CellLike) -> tuple[str, IntArray]:
    """Name and (3, 3) lattice vectors in units of a/2, right-handed; a matrix is called ``custom``."""
    if isinstance(cell, str):
        if cell not in CELLS:
            raise StructureError(f"cell {cell!r} is unknown; use {', '.join(CELLS)} or a 3x3 integer matrix")
        return cell, np.array(CELLS[cell], dtype=np.int64)
    try:
        matrix = np.array(cell, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape != (3, 3) or not np.array_equal(matrix, np.round(matrix)):
        raise StructureError(
            f"cell {cell!r} is not a 3x3 matrix of integers; such as [[1, 0, 0], [0, 1, 0], [0, 0, 2]]"
        )
    vectors = matrix.astype(np.int64) @ np.array(PRIMITIVE, dtype=np.int64)
    volume = _integer_det(vectors)
    if volume == 0:
        raise StructureError(f"cell {cell!r} has zero volume: its rows are linearly dependent; change one of them")
    return "custom", vectors if volume > 0 else -vectors


def grid_points(vectors: IntArray) -> tuple[IntArray, IntArray]:
    """Grid indices of the cations and of the anions in a cell, each ordered by fractional coordinates in [0, 1)."""
    det = _integer_det(vectors)
    adjugate = np.round(np.linalg.inv(vectors) * det).astype(np.int64)
    # The parallelepiped lies in the box spanned by the sums of negative and of positive components.
    low = np.minimum(vectors, 0).sum(axis=0)
    high = np.maximum(vectors, 0).sum(axis=0)
    axes = [np.arange(lo, hi + 1) for lo, hi in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    scaled = points @ adjugate  # fractional coordinates times det: exact integers
    inside = np.all((scaled >= 0) & (scaled < det), axis=1)
    points, scaled = points[inside], scaled[inside]
    points = points[np.lexsort(scaled.T[::-1])]
    odd = points.sum(axis=1) % 2 == 1
    return points[~odd], points[odd]


def cation_counts(fractions: Mapping[str, float], n_cations: int) -> dict[str, int]:
    """Whole atoms per cation; StructureError names the counts that fit and the cells that would."""
    counts = {symbol: round(x * n_cations) for symbol, x in fractions.items()}
    if all(abs(counts[s] - x * n_cations) < 1e-4 for s, x in fractions.items()) and sum(counts.values()) == n_cations:
        return counts
    wanted = ", ".join(f"{symbol} {x * n_cations:.3g}" for symbol, x in fractions.items())
    need = math.lcm(*(Fraction(x).limit_denominator(1000).denominator for x in fractions.values()))
    fitting = [name for name, rows in CELLS.items() if abs(_integer_det(np.array(rows))) // 2 % need == 0]
    raise StructureError(
        f"the fractions ask for {wanted} of {n_cations} cations, which are no whole atoms; use multiples of "
        f"1/{n_cations}, or a cell whose number of cations is a multiple of {need}"
        + (f" ({', '.join(fitting)})" if fitting else "")
    )


def place_cations(counts: Mapping[str, int], seed: int) -> list[str]:
    """Symbol per cation site, shuffled by ``seed``; a pure oxide draws nothing."""
    symbols = [symbol for symbol in sorted(counts) for _ in range(counts[symbol])]
    if len(counts) == 1:
        return symbols
    permutation = np.random.default_rng(seed).permutation(len(symbols))
    return [symbols[i] for i in permutation]


def _integer_det(matrix: IntArray) -> int:
    """Exact determinant of a 3x3 integer matrix."""
    a, b, c = matrix.tolist()
    return int(
        a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
