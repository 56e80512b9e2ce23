"""Non-collinear arrangements: lengths, angles between neighbours, the collinear limits, and what does not fit."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Structure

from workflows.structures import StructureError, apply_ordering, deform, rocksalt
from workflows.structures.noncollinear import canted, frame, random_directions, spiral, wave_coordinates

LARGE = rocksalt("Ni", 4.0, "conventional_2x2x2")
LENGTHS = np.array([2.5] * 32 + [0.0] * 32)
AXES = st.tuples(*[st.integers(-3, 3)] * 3).filter(any)
HALVES = st.tuples(*[st.sampled_from([-1, -0.5, 0, 0.5, 1, 1.5])] * 3)


@settings(max_examples=40, deadline=None)
@given(q=HALVES, axis=AXES, angle=st.floats(0, 90))
def test_length_opening_and_phase_of_a_cone(q, axis, angle):
    moments = spiral(LARGE, LENGTHS, q, axis, angle)
    assert np.linalg.norm(moments, axis=1) == pytest.approx(LENGTHS)
    e3 = np.array(axis) / np.linalg.norm(axis)
    along = moments[:32] @ e3
    assert along == pytest.approx(2.5 * np.cos(np.radians(angle)))
    # Between two sites a moment turns about the axis by q.R.
    turned = moments[:32] - np.outer(along, e3)
    phase = 2 * np.pi * (LARGE.cart_coords[:32] - LARGE.cart_coords[0]) @ np.array(q) / 4.0
    expected = np.cos(phase)[:, None] * turned[0] + np.sin(phase)[:, None] * np.cross(e3, turned[0])
    assert turned == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(q=HALVES, cell=st.integers(-2, 2), site=st.integers(0, 31), axis=st.integers(0, 2))
def test_a_spiral_repeats_with_the_cell(q, cell, site, axis):
    moments = spiral(LARGE, LENGTHS, q)
    there = LARGE[site].coords + cell * LARGE.lattice.matrix[axis]
    phase = 2 * np.pi * (there - LARGE[0].coords) @ np.array(q) / 4.0
    cosine = moments[0] @ moments[site] / 2.5**2
    assert cosine == pytest.approx(np.cos(phase), abs=1e-9)


@pytest.mark.parametrize(("q", "name"), [((0, 0, 0), "FM"), ((0, 0, 1), "AFM-I"), ((0.5, 0.5, 0.5), "AFM-II")])
def test_spirals_with_the_vectors_of_collinear_orderings_are_those(q, name):
    moments = spiral(LARGE, LENGTHS, q)
    collinear = np.array(apply_ordering(LARGE, name).site_properties["magmom"])
    assert moments @ moments.T == pytest.approx(np.outer(collinear, collinear), abs=1e-9)


def test_the_grid_decides_and_not_the_distorted_position():
    strained, _ = deform(LARGE, "shear", 0.05, seed=1, displacement=0.1)
    assert spiral(strained, LENGTHS, (0, 0, 0.5)).tolist() == spiral(LARGE, LENGTHS, (0, 0, 0.5)).tolist()


def test_a_third_may_be_written_with_three_digits():
    cell = rocksalt("Ni", 4.0, np.diag([3, 3, 3]).tolist())
    lengths = np.array([1.0] * 27 + [0.0] * 27)
    assert spiral(cell, lengths, (0.667, 0.667, 0)) == pytest.approx(spiral(cell, lengths, (2 / 3, 2 / 3, 0)))


def test_what_does_not_fit_names_what_does():
    with pytest.raises(StructureError, match=r"\(0, 0, 1/2\) does not fit the cell; use cell conventional_2x2x2 or"):
        spiral(rocksalt("Ni", cell="conventional"), np.ones(8), (0, 0, 0.5))
    with pytest.raises(StructureError, match="no cell of up to 48 periods"):
        spiral(LARGE, LENGTHS, (0.01234, 0, 0))
    with pytest.raises(StructureError, match="needs one 120 times as large"):
        spiral(rocksalt("Ni", cell="all8"), np.ones(8), (1 / 3, 1 / 4, 1 / 5))
    with pytest.raises(StructureError, match=r"rocksalt\(\) or index_rocksalt\(\)"):
        wave_coordinates(Structure(LARGE.lattice, LARGE.species, LARGE.frac_coords))


@settings(max_examples=30, deadline=None)
@given(q=st.tuples(*[st.sampled_from([0, 1 / 3, 0.5, 0.25, 1])] * 3), cell=st.sampled_from(["all8", "tetragonal4"]))
def test_the_cell_that_an_error_names_fits(q, cell):
    try:
        spiral(rocksalt("Ni", cell=cell), np.ones(len(rocksalt("Ni", cell=cell))), q)
    except StructureError as error:
        matrix = str(error)[str(error).index("[[") :]
        larger = rocksalt("Ni", cell=json.loads(matrix))
        assert np.linalg.det(larger.lattice.matrix) > 0
        assert spiral(larger, np.ones(len(larger)), q).shape == (len(larger), 3)


def test_canting_tilts_every_moment_to_the_same_side():
    moments = np.array([2.0, -2.0, 0.0])
    tilted = canted(moments, 30, axis=(0, 0, 2), towards=(3, 0, 1))
    assert tilted == pytest.approx(np.array([[1, 0, 3**0.5], [1, 0, -(3**0.5)], [0, 0, 0]]))
    assert canted(moments, 0) == pytest.approx(np.outer(moments, [0, 0, 1]))
    with pytest.raises(StructureError, match="along the axis"):
        canted(moments, 10, axis=(1, 1, 0), towards=(2, 2, 0))


def test_random_directions_cover_the_sphere_evenly_and_depend_on_the_seed_only():
    lengths = np.full(20000, 2.0)
    moments = random_directions(lengths, np.random.default_rng(0))
    assert np.linalg.norm(moments, axis=1) == pytest.approx(lengths)
    assert np.abs(moments.mean(axis=0)).max() < 0.05  # 4 standard errors of 2 / sqrt(3 * 20000)
    assert (moments**2).mean(axis=0) == pytest.approx(4 / 3, rel=0.03)
    assert moments.tolist() == random_directions(lengths, np.random.default_rng(0)).tolist()


@given(axis=AXES)
def test_frames_are_right_handed(axis):
    found = frame(axis)
    assert found @ found.T == pytest.approx(np.eye(3))
    assert np.linalg.det(found) == pytest.approx(1)
    assert found[2] * np.linalg.norm(axis) == pytest.approx(axis)
    assert frame((0, 0, 1)) == pytest.approx(np.eye(3))
