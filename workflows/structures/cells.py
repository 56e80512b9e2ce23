"""Cells of the fcc cation lattice, in integers: lattice vectors in units of a/2, and the sites inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workflows.structures.errors import StructureError

IntArray = NDArray[np.int64]
CellLike = str | Sequence[Sequence[int]]

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
    volume = integer_det(vectors)
    if volume == 0:
        raise StructureError(f"cell {cell!r} has zero volume: its rows are linearly dependent; change one of them")
    return "custom", vectors if volume > 0 else -vectors


def grid_points(vectors: IntArray) -> tuple[IntArray, IntArray]:
    """Grid indices of the cations and of the anions in a cell, each ordered by fractional coordinates in [0, 1)."""
    det = integer_det(vectors)
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


def integer_det(matrix: IntArray) -> int:
    """Exact determinant of a 3x3 integer matrix."""
    a, b, c = matrix.tolist()
    return int(
        a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
