"""Non-collinear arrangements: spirals, cones, canted and random directions. Vectors are (N, 3), Cartesian, muB."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from workflows.structures.cells import CELLS, PRIMITIVE
from workflows.structures.errors import StructureError
from workflows.structures.recognise import compact, hermite_matrices

FloatArray = NDArray[np.float64]

MAX_DENOMINATOR = 48
"""Longest period of a spiral, in cells; a component of q is the nearest such fraction."""

Q_TOLERANCE = 1e-3
"""How far q may be written from that fraction: 0.333 is 1/3."""


def spiral(
    structure: Structure,
    magnitudes: FloatArray,
    q: Sequence[float],
    axis: Sequence[float] = (0, 0, 1),
    angle: float = 90.0,
) -> FloatArray:
    """(N, 3) moments m_i = m [sin(angle) (cos(q.R) e1 + sin(q.R) e2) + cos(angle) e3], e3 along ``axis``.

    Args:
        structure: from :func:`rocksalt` (or indexed), or read from a file.
        magnitudes: (N,) muB.
        q: in units of 2 pi/a of the cubic lattice, as in AFM-I = (0, 0, 1); for a structure of a file in units of the
            reciprocal lattice vectors of the cell in the file, before any supercell.
        axis: e3, normal of the plane in which the moments of a spiral turn.
        angle: between moments and axis, degrees; 90 is a flat spiral, less is a cone.

    Raises:
        StructureError: q is not commensurate with the cell (names the cells that fit).
    """
    wave = [_fraction(component) for component in q]
    sites, cell = wave_coordinates(structure)
    _check_commensurate(wave, cell, structure)
    phase = 2 * math.pi * (sites @ np.array([float(x) for x in wave]))
    e1, e2, e3 = frame(axis)
    tilt = math.radians(angle)
    directions = math.sin(tilt) * (np.outer(np.cos(phase), e1) + np.outer(np.sin(phase), e2)) + math.cos(tilt) * e3
    return np.asarray(magnitudes[:, None] * directions)


def canted(
    moments: FloatArray, angle: float, axis: Sequence[float] = (0, 0, 1), towards: Sequence[float] = (1, 0, 0)
) -> FloatArray:
    """(N, 3): collinear ``moments`` (N,) along ``axis``, each tilted by ``angle`` degrees to the side ``towards``.

    ``towards`` counts by its part normal to the axis. StructureError where there is none.
    """
    along = np.array(axis, dtype=float) / np.linalg.norm(axis)
    side = np.array(towards, dtype=float)
    side = side - (side @ along) * along
    if np.linalg.norm(side) < 1e-6 * np.linalg.norm(towards):
        raise StructureError(f"canted: towards {list(towards)} is along the axis {list(axis)}; choose another side")
    side /= np.linalg.norm(side)
    tilt = math.radians(angle)
    return np.asarray(np.outer(moments * math.cos(tilt), along) + np.outer(np.abs(moments) * math.sin(tilt), side))


def random_directions(magnitudes: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(N, 3) moments of the given ``magnitudes`` (N,), evenly distributed over the sphere."""
    directions = rng.normal(size=(len(magnitudes), 3))
    return np.asarray(magnitudes[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True))


def frame(axis: Sequence[float]) -> FloatArray:
    """(3, 3) rows e1, e2, e3: right-handed and orthonormal with e3 along ``axis``; for z they are x, y, z."""
    e3 = np.array(axis, dtype=float) / np.linalg.norm(axis)
    # Of x and y the one farther from the axis, so that e1 is well defined.
    helper = np.array([1.0, 0.0, 0.0]) if abs(e3[0]) <= abs(e3[1]) + 1e-9 else np.array([0.0, 1.0, 0.0])
    e1 = helper - (helper @ e3) * e3
    e1 /= np.linalg.norm(e1)
    return np.array([e1, np.cross(e3, e1), e3])


def wave_coordinates(structure: Structure) -> tuple[FloatArray, FloatArray]:
    """(N, 3) sites and (3, 3) lattice vectors in the basis of ``q``: cubic a, or the cell in the file.

    The grid index counts and not the position, so that a distorted cell has the same spirals.
    """
    if "supercell" in structure.properties:
        cell = np.array(structure.properties["supercell"], dtype=float)
        return np.asarray(structure.frac_coords @ cell), cell
    index = structure.site_properties.get("grid_index")
    if index is None or "grid_vectors" not in structure.properties:
        raise StructureError("the lattice of the structure is unknown; make it with rocksalt() or index_rocksalt()")
    return np.array(index) / 2, np.array(structure.properties["grid_vectors"]) / 2


def _fraction(component: float) -> Fraction:
    fraction = Fraction(component).limit_denominator(MAX_DENOMINATOR)
    if abs(float(fraction) - component) > Q_TOLERANCE:
        raise StructureError(
            f"spiral: q component {component:g} is commensurate with no cell of up to {MAX_DENOMINATOR} periods"
        )
    return fraction


def _check_commensurate(wave: list[Fraction], cell: FloatArray, structure: Structure) -> None:
    """StructureError where the spiral does not close on itself over a lattice vector; names cells where it does."""
    larger = math.lcm(*(turn.denominator for turn in _turns(wave, cell)))
    if larger == 1:
        return
    problem = f"spiral q = ({', '.join(map(str, wave))}) does not fit the cell"
    if larger > MAX_DENOMINATOR:
        raise StructureError(f"{problem}; it needs one {larger} times as large, choose another q")
    fitting = (matrix for matrix in hermite_matrices(larger) if _closes(wave, matrix @ cell))
    matrix = compact(next(fitting), np.array(structure.lattice.matrix))
    if "supercell" in structure.properties:
        rows = matrix @ np.array(structure.properties["supercell"])
        raise StructureError(f"{problem}; give the file supercell {rows.tolist()}")
    # Rows in the basis of the primitive fcc vectors, which is what the option cell takes.
    rows = np.round(matrix @ (2 * cell) @ np.linalg.inv(PRIMITIVE)).astype(int)
    named = [name for name, vectors in CELLS.items() if _closes(wave, np.array(vectors) / 2)]
    raise StructureError(f"{problem}; use cell {' or '.join([*named, str(rows.tolist())])}")


def _turns(wave: list[Fraction], cell: FloatArray) -> list[Fraction]:
    """Turns of the spiral along each lattice vector; exact, as vectors are multiples of a/2 or of the file's cell."""
    halves = np.round(2 * cell).astype(int).tolist()
    return [sum((Fraction(n, 2) * x for n, x in zip(row, wave, strict=True)), Fraction(0)) for row in halves]


def _closes(wave: list[Fraction], cell: FloatArray) -> bool:
    return all(turn.denominator == 1 for turn in _turns(wave, cell))
