"""What a picture of a label in space is made of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.serve.structure import ARROW, SHORTEST, scene_of, turn
from workflows.structures.draw import DOWN, UP

from .conftest import extra_label


@pytest.fixture(scope="module")
def label(shown):
    return extra_label(shown[0], 5)


def test_atoms_on_faces_are_repeated_and_the_middle_is_the_origin(label):
    scene = scene_of(label)
    assert {atom.symbol for atom in scene.atoms} == {"Ni", "O"}
    assert len(scene.atoms) > len(label.species)
    ends = np.array([end for edge in scene.edges for end in edge])
    assert len(scene.edges) == 12
    np.testing.assert_allclose(ends.mean(axis=0), 0, atol=1e-9)
    assert np.linalg.norm(ends, axis=1).max() <= scene.reach
    sides = np.array([np.subtract(b, a) for a, b in scene.edges])
    for vector in label.lattice:
        assert sum(np.allclose(side, vector) or np.allclose(side, -vector) for side in sides) == 4


def test_arrows_have_the_sign_of_their_moments(label):
    scene = scene_of(label)
    assert label.ordering == "AFM-II"
    assert {arrow.colour for arrow in scene.found} == {UP, DOWN}
    for arrow in scene.found:
        assert arrow.colour == (UP if arrow.along[2] > 0 else DOWN)
        assert ARROW * SHORTEST <= arrow.length <= ARROW
    assert max(arrow.length for arrow in scene.asked) == pytest.approx(ARROW)
    assert scene.largest["moments"] == pytest.approx(np.abs([label.magmoms_in, label.magmoms_out]).max())


def test_forces_point_along_the_forces(label):
    scene = scene_of(label)
    unit = label.forces / np.linalg.norm(label.forces, axis=1)[:, None]
    assert scene.forces
    for arrow in scene.forces:
        assert np.isclose(unit @ arrow.along, 1).any()


def test_vector_moments_point_where_they_point(label):
    vectors = np.zeros((4, 3))
    vectors[:2] = [[2.0, 0, 0], [0, 2.0, 0]]
    tilted = label.model_copy(update={"magmoms_in": vectors, "magmoms_out": vectors})
    found = {tuple(np.round(arrow.along, 6)) for arrow in scene_of(tilted).found}
    assert found == {(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)}


def test_a_label_without_moments_or_forces_has_no_arrows(label):
    bare = label.model_copy(update={"magmoms_in": np.zeros(4), "magmoms_out": np.zeros(4), "forces": np.zeros((4, 3))})
    scene = scene_of(bare)
    assert scene.asked == scene.found == scene.forces == []


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 1e-3))
def test_turning_takes_y_along_and_is_a_rotation(vector):
    along = np.array(vector) / np.linalg.norm(vector)
    matrix = np.array(turn(tuple(along)))
    np.testing.assert_allclose(matrix @ [0, 1, 0], along, atol=1e-6)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-5)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-5)
