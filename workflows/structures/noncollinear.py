"""Non-collinear arrangements: spirals, cones, canted and random directions. Vectors are (N, 3), Cartesian, muB."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from workflows.structures.cells import CELLS
from workflows.structures.errors import StructureError

FloatArray = NDArray[np.float64]

MAX_DENOMINATOR = 48
"""Longest period of a spiral, in cell vectors; a component of q is the nearest such fraction."""

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
    _check_commensurate(wave, cell, "supercell" not in structure.properties)
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


def _check_commensurate(wave: list[Fraction], cell: FloatArray, named: bool) -> None:
    """StructureError where the spiral does not close on itself over a lattice vector."""
    repeats = _repeats(wave, cell)
    if repeats == [1, 1, 1]:
        return
    text = ", ".join(map(str, wave))
    larger = f"repeat its vectors {' x '.join(map(str, repeats))} times"
    if not named:
        raise StructureError(f"spiral q = ({text}) does not fit the cell; {larger} with supercell")
    fitting = [name for name, rows in CELLS.items() if _repeats(wave, np.array(rows) / 2) == [1, 1, 1]]
    # Rows in the basis of the primitive fcc vectors, which is what the option cell takes.
    matrix = np.diag(repeats) @ np.round(2 * cell @ np.linalg.inv(CELLS["primitive"])).astype(int)
    raise StructureError(
        f"spiral q = ({text}) 2 pi/a does not fit the cell; "
        + (f"use cell {' or '.join(fitting)}, or {larger}" if fitting else larger)
        + f": cell {matrix.tolist()}"
    )


def _repeats(wave: list[Fraction], cell: FloatArray) -> list[int]:
    """How many times each lattice vector has to be repeated until the phase along it is whole turns."""
    halves = np.round(2 * cell).astype(int).tolist()  # exact: lattice vectors are multiples of a/2
    return [
        sum((Fraction(n, 2) * x for n, x in zip(row, wave, strict=True)), Fraction(0)).denominator for row in halves
    ]
