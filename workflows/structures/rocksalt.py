"""Rocksalt transition-metal oxides: cells of the fcc cation lattice, decorated with one metal or a mixture.

Every site lies on the *grid*: Cartesian position = (a / 2) n with an integer triple n. Cations have an even sum of n
(the fcc lattice), anions an odd one. The triple travels with its site as the site property ``grid_index`` through
every deformation, so orderings are decided by integers and never by distances in a deformed cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from workflows.structures.cells import CELLS, PRIMITIVE, CellLike, IntArray, grid_points, integer_det, resolve_cell
from workflows.structures.decoration import RANDOM, DecorationLike, decorate
from workflows.structures.errors import StructureError
from workflows.structures.identity import parent_id

__all__ = ["ANION", "CELLS", "PRIMITIVE", "CellLike", "IntArray", "grid_points", "resolve_cell", "rocksalt"]

ANION = "O"
MIN_DISTANCE = 1.2
"""Angstrom; atoms closer than this are a mistake, not a configuration worth labelling."""

LATTICE_CONSTANTS = {"Ti": 4.18, "Mn": 4.445, "Fe": 4.33, "Co": 4.26, "Ni": 4.17}
"""Experimental cubic lattice constants of the rocksalt monoxides in Angstrom (near room temperature).

FeO is the value extrapolated to full stoichiometry; TiO has vacancies on both lattices. The other 3d metals have no
rocksalt monoxide at ambient conditions, or measurements disagree (VO): give a number for them.
"""

SpeciesLike = str | Mapping[str, float]


def rocksalt(
    species: SpeciesLike,
    lattice_constant: float | None = None,
    cell: CellLike = "all8",
    seed: int = 0,
    decoration: DecorationLike = RANDOM,
) -> Structure:
    """Rocksalt oxide with the cubic axes along x, y, z.

    Args:
        species: cation symbol, or fractions that sum to 1 such as ``{"Ni": 0.5, "Mn": 0.5}``, met exactly.
        lattice_constant: cubic a in Angstrom; default from LATTICE_CONSTANTS, mixed linearly (Vegard).
        cell: name in CELLS, or a 3x3 integer matrix M acting on the primitive fcc cell: rows of
            ``M @ PRIMITIVE * a / 2`` are the lattice vectors. A left-handed M is negated.
        seed: of the placement.
        decoration: of a mixture: ``random``, ``sqs`` (``properties["sqs"]`` tell its quality), ``L1_0``, ``L1_1``,
            ``L1_2``, or a symbol per cation in the site order of the same cell of a pure oxide.

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
    symbols, quality = decorate(cation_counts(fractions, len(cations)), decoration, cations, vectors, seed)
    # A stable sort groups the elements and keeps the lattice order within each group.
    order = np.argsort(symbols, kind="stable")
    grid = np.concatenate([cations[order], anions])
    structure = Structure(
        Lattice(vectors * (a / 2)),
        [symbols[i] for i in order] + [ANION] * len(anions),
        grid @ np.linalg.inv(vectors),
        site_properties={"grid_index": grid.tolist()},
        properties={"cell": name, "lattice_constant": a, "grid_vectors": vectors.tolist(), **quality},
    )
    structure.properties |= {"parent": parent_id(structure), "parent_lattice": structure.lattice.matrix.tolist()}
    return structure


def check_rocksalt(species: SpeciesLike, lattice_constant: float | None, cell: CellLike) -> None:
    """StructureError where rocksalt() cannot use these; places no cation, which takes long for a quasirandom cell."""
    fractions = parse_species(species)
    resolve_lattice_constant(fractions, lattice_constant)
    cation_counts(fractions, abs(integer_det(resolve_cell(cell)[1])) // 2)


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
                f"no lattice constant is known for {', '.join(unknown)} (known: {known}); set lattice_constant in A"
            )
        return sum(x * LATTICE_CONSTANTS[symbol] for symbol, x in fractions.items())
    if not math.isfinite(lattice_constant) or lattice_constant < 2 * MIN_DISTANCE:
        raise StructureError(
            f"lattice_constant is {lattice_constant} Angstrom, which gives no volume or atoms closer than "
            f"{MIN_DISTANCE} Angstrom; NiO has {LATTICE_CONSTANTS['Ni']}"
        )
    return float(lattice_constant)


def cation_counts(fractions: Mapping[str, float], n_cations: int) -> dict[str, int]:
    """Whole atoms per cation; StructureError names the counts that fit and the cells that would."""
    counts = {symbol: round(x * n_cations) for symbol, x in fractions.items()}
    if all(abs(counts[s] - x * n_cations) < 1e-4 for s, x in fractions.items()) and sum(counts.values()) == n_cations:
        return counts
    wanted = ", ".join(f"{symbol} {x * n_cations:.3g}" for symbol, x in fractions.items())
    need = math.lcm(*(Fraction(x).limit_denominator(1000).denominator for x in fractions.values()))
    fitting = [name for name, rows in CELLS.items() if abs(integer_det(np.array(rows))) // 2 % need == 0]
    raise StructureError(
        f"the fractions ask for {wanted} of {n_cations} cations, which are no whole atoms; use multiples of "
        f"1/{n_cations}, or a cell whose number of cations is a multiple of {need}"
        + (f" ({', '.join(fitting)})" if fitting else "")
    )
