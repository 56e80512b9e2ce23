"""From what a run says to a label, without files."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.mapping import RefusedError
from datastore.quality import judge
from tests.datastore.support import make_point
from workflows.vasp_import.convert import Raw, label

POINT = make_point()
RAW = Raw(
    species=POINT.species,
    lattice=POINT.lattice,
    positions=POINT.positions,
    magmoms_in=POINT.magmoms_in,
    magmoms_out=POINT.magmoms_out,
    energy=-25.4,
    free_energy=-25.5,
    forces=POINT.forces,
    stress=POINT.stress,
    total_moment=None,
    incar={"ENCUT": 520, "ISMEAR": 0, "SIGMA": 0.05, "ISPIN": 2},
    parameters={},
    symbols=["Ni", "O"],
    titels=["PAW_PBE Ni_pv 06Sep2000", "PAW_PBE O 08Apr2002"],
    potcars=[{"titel": "PAW_PBE Ni_pv 06Sep2000"}, {"titel": "PAW_PBE O 08Apr2002"}],
    kpts={"kspacing": 0.2},
    version="6.4.1",
    n_ionic=1,
    source={"file": "a"},
)


def vectors(moments):
    return np.outer(moments, [0.6, 0.0, 0.8])


def test_numbers_go_over_as_they_are():
    point = judge(label(RAW))
    for name in ("lattice", "positions", "magmoms_in", "magmoms_out", "forces", "stress"):
        np.testing.assert_array_equal(getattr(point, name), getattr(POINT, name))
    assert (point.energy, point.free_energy, point.total_moment) == (-25.4, -25.5, 0.0)
    assert (point.verdict, point.ordering, point.ordering_found) == ("accepted", "AFM-II", "AFM-II")


@given(st.integers(0, 2**31))
def test_time_reversal_changes_signs_and_no_name(seed):
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], 4) * [2.5, 2.5, 0, 0]
    one = label(replace(RAW, magmoms_in=signs, magmoms_out=0.7 * signs))
    other = label(replace(RAW, magmoms_in=-signs, magmoms_out=-0.7 * signs))
    assert one.ordering == other.ordering
    np.testing.assert_array_equal(one.magmoms_in, -other.magmoms_in)
    assert one.pair_id == other.pair_id
    assert one.config_id != other.config_id


@pytest.mark.parametrize("shape", ["collinear", "vectors"])
@pytest.mark.parametrize(
    ("stated", "found", "asked"),
    [
        ([5, -5, 0.6, 0.6], [1.8, -1.8, 0.1, 0.0], [5, -5, 0, 0]),  # pymatgen's default on oxygen
        ([5, -5, 1.0, 1.0], [1.8, -1.8, 0.1, 0.0], [5, -5, 0, 0]),  # VASP's
        ([5, -5, 1.1, 0.0], [1.8, -1.8, 0.1, 0.0], [5, -5, 1.1, 0]),  # somebody meant it
        ([5, -5, 0.6, 0.6], [1.8, -1.8, 0.5, 0.0], [5, -5, 0.6, 0]),  # it has a moment
        ([0.6, -0.6, 0.0, 0.0], [0.1, -0.1, 0.0, 0.0], [0.6, -0.6, 0, 0]),  # nickel lost its own: a collapse
    ],
)
def test_small_starts_of_main_group_elements_are_no_question(shape, stated, found, asked):
    turn = vectors if shape == "vectors" else np.array
    point = label(replace(RAW, magmoms_in=turn(np.array(stated, float)), magmoms_out=turn(np.array(found, float))))
    np.testing.assert_allclose(point.magmoms_in, turn(np.array(asked, float)))
    assert ("magmom" in point.source) == (list(stated) != list(asked))
    own = label(
        replace(RAW, magmoms_in=turn(np.array(stated, float)), magmoms_out=turn(np.array(found, float)), own=True)
    )
    np.testing.assert_array_equal(own.magmoms_in, turn(np.array(stated, float)))


def test_without_magmom_vasps_default_is_the_start():
    assert label(replace(RAW, magmoms_in=None)).magmoms_in.tolist() == [1.0, 1.0, 0.0, 0.0]
    told = replace(RAW, magmoms_in=None, parameters={"MAGMOM": [2.0, 2.0, 2.0, 2.0]})
    assert label(told).magmoms_in.tolist() == [2.0] * 4
    vector = label(replace(RAW, magmoms_in=None, magmoms_out=vectors(POINT.magmoms_out)))
    assert vector.magmoms_in.tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_a_run_from_a_wavefunction_asked_for_what_it_found():
    for shape in (np.array, vectors):
        point = label(replace(RAW, magmoms_out=shape(POINT.magmoms_out), incar={**RAW.incar, "ISTART": 1}))
        np.testing.assert_array_equal(
            point.magmoms_in,
            shape(POINT.magmoms_out) * np.array([1, 1, 0, 0]).reshape((4,) + (1,) * (point.magmoms_in.ndim - 1)),
        )
    own = label(replace(RAW, incar={**RAW.incar, "ISTART": 1}, own=True))
    np.testing.assert_array_equal(own.magmoms_in, RAW.magmoms_in)  # our engine checks its restarts


@pytest.mark.parametrize(
    ("parameters", "continued"),
    [
        ({"ISTART": 0, "ICHARG": 1}, True),
        ({"ISTART": 1, "ICHARG": 0}, True),
        ({"ISTART": 0, "ICHARG": 2}, False),
        ({"ISTART": 0, "ICHARG": 0}, False),
        ({}, False),
    ],
)
def test_a_run_from_a_density_asked_for_what_it_found(parameters, continued):
    stated = np.array([2.0, 2.0, 0.0, 0.0])  # ferromagnetic for the symmetry; the density is that of AFM-II
    point = label(replace(RAW, magmoms_in=stated, parameters=parameters))
    assert (point.ordering == "AFM-II") is continued
    assert ("moments_in" in point.source) is continued
    assert label(replace(RAW, magmoms_in=stated, parameters={"ICHARG": 1}, from_atoms=True)).ordering == "FM"
    if not continued:
        np.testing.assert_array_equal(point.magmoms_in, stated)


@pytest.mark.parametrize(
    ("saxis", "refused"), [([1, 0, 0], True), ([0, 1, 1], True), ([0, 0, -1], True), ([0, 0, 2], False), (None, False)]
)
@pytest.mark.parametrize("place", ["incar", "parameters"])
def test_moments_in_the_frame_of_saxis_are_not_taken_for_cartesian_ones(saxis, refused, place):
    vector = replace(RAW, magmoms_in=vectors(RAW.magmoms_in), magmoms_out=vectors(RAW.magmoms_out))
    tags = {} if saxis is None else {"SAXIS": saxis}
    there = {"incar": {**RAW.incar, **tags}} if place == "incar" else {"parameters": tags}
    assert label(replace(vector, **there)).magmoms_in.shape == (4, 3)  # read_run has turned these
    held = {"I_CONSTRAINED_M": 2, "M_CONSTR": np.ravel(vectors([3.0, -3.0, 0, 0])).tolist()}
    without = replace(vector, **there, magmoms_in=None)
    constrained = replace(vector, **{**there, "incar": {**there.get("incar", RAW.incar), **held}})
    for raw in (without, constrained):
        if refused:
            with pytest.raises(RefusedError, match="turned moments"):
                label(raw)
        else:
            label(raw)


def test_held_directions_have_the_length_found():
    incar = {**RAW.incar, "M_CONSTR": np.ravel(vectors([3.0, -3.0, 0, 0])).tolist()}
    raw = replace(RAW, magmoms_in=None, magmoms_out=vectors([1.8, -1.7, 0, 0]))
    both = label(replace(raw, incar={**incar, "I_CONSTRAINED_M": 2}))
    np.testing.assert_allclose(both.magmoms_in, vectors([3.0, -3.0, 0, 0]))
    direction = label(replace(raw, incar={**incar, "I_CONSTRAINED_M": 1}))
    np.testing.assert_allclose(direction.magmoms_in, vectors([1.8, -1.7, 0, 0]))
    assert both.moment_role == direction.moment_role == "constraint"
    with pytest.raises(RefusedError, match="constraint not stated"):
        label(replace(raw, incar={**RAW.incar, "I_CONSTRAINED_M": 2}))


@pytest.mark.parametrize(
    ("steps", "isif", "other"), [(1, 3, False), (5, 3, True), (5, 2, False), (5, 7, True), (5, 0, False)]
)
def test_a_cell_that_moved_is_another_level(steps, isif, other):
    point = label(replace(RAW, n_ionic=steps, parameters={"ISIF": isif}))
    assert (point.level_id != label(RAW).level_id) is other


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"magmoms_in": np.zeros(3)}, "wrong shape"),
        ({"forces": np.full((4, 3), np.nan)}, "invalid"),
        ({"energy": np.nan}, "overflow"),
        ({"free_energy": np.inf}, "overflow"),
        ({"total_moment": np.nan}, "overflow"),
        ({"charges": np.array([1, 2, np.nan, 3])}, "overflow"),
        ({"band_gap": "NaN"}, "overflow"),
        ({"timings": {"wall": np.nan}}, "overflow"),
        ({"potcars": [{"titel": "a"}, {"titel": "b"}], "symbols": ["Ni", "Ni"]}, "no level of theory"),
        ({"titels": ["PAW_PBE Ni", "PAW O"]}, "no level of theory"),
    ],
)
def test_what_no_label_can_be_made_of_has_a_reason(changes, reason):
    with pytest.raises(RefusedError) as refused:
        label(replace(RAW, **changes))
    assert refused.value.reason == reason
