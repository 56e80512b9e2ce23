"""Cells in integers: every site once, and matrices that are no cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.structures import StructureError
from workflows.structures.cells import CELLS, PRIMITIVE, grid_points, integer_det, resolve_cell

MATRICES = st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=3, max_size=3)


@given(matrix=MATRICES)
def test_any_matrix_is_a_cell_of_that_many_cations_or_has_no_volume(matrix):
    if integer_det(np.array(matrix)) == 0:
        with pytest.raises(StructureError, match="zero volume"):
            resolve_cell(matrix)
        return
    name, vectors = resolve_cell(matrix)
    cations, anions = grid_points(vectors)
    assert name == "custom"
    assert integer_det(vectors) > 0
    assert len(cations) == len(anions) == abs(integer_det(np.array(matrix)))
    assert not np.any(cations.sum(axis=1) % 2)
    assert np.all(anions.sum(axis=1) % 2)
    wrapped = np.concatenate([cations, anions]) @ np.linalg.inv(vectors)
    assert wrapped.min() > -1e-9
    assert wrapped.max() < 1
    assert len(np.unique(wrapped.round(6), axis=0)) == 2 * len(cations)


@given(matrix=MATRICES)
def test_determinants_are_exact(matrix):
    assert integer_det(np.array(matrix)) == round(np.linalg.det(np.array(matrix, dtype=float)))


def test_named_cells_are_right_handed_supercells_of_the_primitive_one():
    for rows in CELLS.values():
        steps = np.array(rows) @ np.linalg.inv(PRIMITIVE)
        assert steps == pytest.approx(np.round(steps))
        assert integer_det(np.array(rows)) > 0
