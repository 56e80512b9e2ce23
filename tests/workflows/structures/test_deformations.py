"""Deformations: exact strains, statistics of displacements, seeds, limits."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.schema import PROVENANCE, SpinConfig
from workflows.structures import (
    StructureError,
    StructureOptions,
    apply_ordering,
    deform,
    generate,
    parent_id,
    rocksalt,
)
from workflows.structures.deformations import MAX_DRAWS, Geometry, Recipe, deform_arrays
from workflows.structures.rocksalt import CELLS, MIN_DISTANCE

cells = st.sampled_from(sorted(set(CELLS) - {"conventional_2x2x2"}))


def parent(cell="all8", ordering="FM"):
    return apply_ordering(rocksalt("Ni", cell=cell), ordering)


@settings(max_examples=40, deadline=None)
@given(cell=cells, ratio=st.floats(0.6, 1.9))
def test_volume_scales_exactly_at_fixed_shape_and_fractions(cell, ratio):
    before = parent(cell)
    after, parameters = deform(before, "volume", ratio)
    assert after.volume == pytest.approx(ratio * before.volume, rel=1e-12)
    assert after.lattice.angles == pytest.approx(before.lattice.angles)
    assert after.frac_coords == pytest.approx(before.frac_coords, abs=1e-12)
    assert parameters["volume_ratio"] == ratio


@settings(max_examples=40, deadline=None)
@given(cell=cells, strain=st.floats(-0.1, 0.1), plane=st.sampled_from(["xy", "xz", "yz"]))
def test_shear_is_symmetric_in_one_plane(cell, strain, plane):
    before = parent(cell)
    after, parameters = deform(before, "shear", strain, direction=plane)
    gradient = np.linalg.solve(before.lattice.matrix, after.lattice.matrix).T
    i, j = "xyz".index(plane[0]), "xyz".index(plane[1])
    expected = np.eye(3)
    expected[i, j] = expected[j, i] = strain
    assert gradient == pytest.approx(expected, abs=1e-12)
    assert after.frac_coords == pytest.approx(before.frac_coords, abs=1e-12)
    assert (parameters["plane"], parameters["strain"]) == (plane, strain)


@settings(max_examples=40, deadline=None)
@given(cell=cells, strain=st.floats(-0.15, 0.15), axis=st.sampled_from(["x", "y", "z"]))
def test_tensile_stretches_one_axis(cell, strain, axis):
    before = parent(cell)
    after, parameters = deform(before, "tensile", strain, direction=axis)
    stretched = before.lattice.matrix.copy()
    stretched[:, "xyz".index(axis)] *= 1 + strain
    assert after.lattice.matrix == pytest.approx(stretched, abs=1e-12)
    assert after.volume == pytest.approx((1 + strain) * before.volume, rel=1e-12)
    assert after.frac_coords == pytest.approx(before.frac_coords, abs=1e-12)
    assert (parameters["axis"], parameters["strain"]) == (axis, strain)


def test_displacements_have_the_rms_asked_for_and_leave_the_lattice():
    before = rocksalt("Ni", cell="conventional_2x2x2")
    lengths = []
    for seed in range(30):
        after, parameters = deform(before, "displacement", 0.08, seed=seed)
        assert after.lattice == before.lattice
        shift = after.cart_coords - before.cart_coords
        lengths.append((shift**2).sum(axis=1))
    # 1920 squared lengths of three components each: relative standard error of the rms 0.7 %.
    assert np.sqrt(np.mean(lengths)) == pytest.approx(0.08, rel=0.03)
    assert np.std(np.sqrt(lengths)) > 0.02  # lengths differ from atom to atom
    assert parameters == {"displacement": 0.08, "seed": [29]}


def test_strain_with_a_displacement_on_top():
    before = parent()
    strained, _ = deform(before, "tensile", 0.03, direction="x")
    both, parameters = deform(before, "tensile", 0.03, direction="x", displacement=0.03, seed=5)
    assert both.lattice == strained.lattice
    shift = both.cart_coords - strained.cart_coords
    assert 0.01 < np.sqrt((shift**2).sum(axis=1).mean()) < 0.06
    assert parameters == {"axis": "x", "strain": 0.03, "displacement": 0.03, "seed": [5]}


@pytest.mark.parametrize("kind", ["displacement", "shear", "tensile", "volume", "none"])
def test_properties_order_and_input_survive(kind):
    before = parent(ordering="AFM-II")
    copy = before.copy()
    after, parameters = deform(before, kind, {"displacement": 0.05, "volume": 1.05, "none": 0.0}.get(kind, 0.02))
    assert after.site_properties == before.site_properties
    assert {name: after.properties[name] for name in before.properties} == before.properties
    assert after.species == before.species
    assert before == copy
    assert json.loads(json.dumps(parameters)) == parameters


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**63), kind=st.sampled_from(["displacement", "shear", "tensile"]))
def test_recorded_parameters_reproduce_the_geometry(seed, kind):
    first, parameters = deform(parent(), kind, 0.04, seed=seed)
    again, same = deform(parent(), kind, 0.04, seed=parameters["seed"])
    other, _ = deform(parent(), kind, 0.04, seed=seed + 1, displacement=0.0 if kind == "displacement" else 0.02)
    assert first.cart_coords.tobytes() == again.cart_coords.tobytes()
    assert first.lattice.matrix.tobytes() == again.lattice.matrix.tobytes()
    assert same == parameters
    assert first.cart_coords.tobytes() != other.cart_coords.tobytes()


def test_directions_are_drawn_from_the_seed():
    planes = {deform(parent(), "shear", 0.01, seed=seed)[1]["plane"] for seed in range(20)}
    axes = {deform(parent(), "tensile", 0.01, seed=seed)[1]["axis"] for seed in range(20)}
    assert planes == {"xy", "xz", "yz"}
    assert axes == {"x", "y", "z"}


@settings(max_examples=30, deadline=None)
@given(cell=cells, seed=st.integers(0, 10**6), rms=st.floats(0.0, 0.3))
def test_watched_pairs_know_the_closest_distance(cell, seed, rms):
    s, _ = deform(parent(cell), "displacement", rms, seed=seed)
    geometry = Geometry.of(parent(cell))
    found = geometry.closest(s.lattice.matrix, s.cart_coords)
    _, _, _, distances = s.get_neighbor_list(4.0)
    assert found == pytest.approx(distances.min(), abs=1e-9)
    assert found >= MIN_DISTANCE


@pytest.mark.parametrize("cell", CELLS)
def test_every_pair_is_watched_once_own_images_included(cell):
    # Per atom 6 + 12 + 8 neighbours (up to sqrt(3)/2 a = 3.61 Angstrom) lie within the cutoff; each pair counts once.
    s = rocksalt("Ni", cell=cell)
    assert len(Geometry.of(s).first) == len(s) * 26 / 2


def test_close_atoms_are_redrawn_the_same_way_every_time():
    s = rocksalt("Ni", cell="conventional_2x2x2")
    draws = [[deform(s, "displacement", 0.4, seed=seed) for seed in range(20)] for _ in range(2)]
    redrawn = [parameters["redrawn"] for _, parameters in draws[0] if "redrawn" in parameters]
    assert redrawn
    assert all(1 <= n < MAX_DRAWS for n in redrawn)
    for (first, parameters), (again, same) in zip(*draws, strict=True):
        assert parameters == same
        assert first.cart_coords.tobytes() == again.cart_coords.tobytes()


def test_a_hopeless_displacement_is_an_error():
    geometry = Geometry.of(rocksalt("Ni", cell="conventional_2x2x2"))
    with pytest.raises(StructureError, match=r"closer than 1\.2 Angstrom"):
        deform_arrays(geometry, Recipe("displacement", 1.5), seed=0)


def test_a_strain_that_squeezes_atoms_together_is_an_error():
    with pytest.raises(StructureError, match="reduce its amplitude"):
        deform(rocksalt("Ni", lattice_constant=2.6, cell="conventional"), "volume", 0.6)


@pytest.mark.parametrize(
    ("kind", "amplitude", "options", "message"),
    [
        ("twist", 0.1, {}, "'twist' is unknown; use displacement, shear"),
        ("volume", 0.0, {}, "negative or zero volume"),
        ("volume", -0.05, {}, "ratio V/V0"),
        ("tensile", -1.0, {}, "negative or zero volume"),
        ("tensile", 0.5, {}, "outside -0.3 to 0.3"),
        ("shear", -1.1, {}, "outside -0.3 to 0.3"),
        ("displacement", -0.1, {}, "outside 0 to 0.5"),
        ("displacement", float("nan"), {}, "outside 0 to 0.5"),
        ("volume", 1.02, {"displacement": 0.7}, "displacement 0.7 is outside"),
        ("displacement", 0.02, {"displacement": 0.1}, "on top is for strains"),
        ("shear", 0.02, {"direction": "x"}, "direction 'x' is unknown; use xy"),
        ("volume", 1.02, {"direction": "x"}, "has no direction"),
        ("volume", 1.02, {"seed": -1}, "seed -1 must be"),
        ("volume", 1.02, {"seed": []}, "seed .* must be"),
    ],
)
def test_bad_deformations_say_how_to_mend_them(kind, amplitude, options, message):
    with pytest.raises(StructureError, match=message):
        deform(parent(), kind, amplitude, **options)


def test_structures_carry_where_they_came_from():
    ideal = apply_ordering(rocksalt("Ni", cell="primitive"), "FM")
    lattice = ideal.lattice.matrix.tolist()
    undeformed = SpinConfig.from_structure(ideal, "FM")
    assert undeformed.parent_lattice.tolist() == lattice
    assert (undeformed.parent, undeformed.deformation) == (parent_id(ideal), "none")
    squeezed, parameters = deform(ideal, "volume", 0.9)
    config = SpinConfig.from_structure(squeezed, "FM")
    assert (config.cell, config.parent, config.deformation) == ("primitive", parent_id(ideal), "volume")
    assert config.deformation_parameters == parameters
    assert config.parent_lattice.tolist() == lattice
    assert json.loads(json.dumps(squeezed.properties)) == squeezed.properties
    own = SpinConfig.from_structure(squeezed, "FM", deformation="none", parent_lattice=None, cell="mine")
    assert (own.deformation, own.parent_lattice, own.cell) == ("none", None, "mine")


def test_deform_and_generate_agree_on_where_a_configuration_came_from():
    options = {
        "parents": [{"species": "Ni", "cell": "rhombohedral4"}],
        "orderings": ["AFM-II"],
        "deformations": [{"kind": "shear", "amplitude": [0.02, 0.03], "displacement": 0.03}],
    }
    (made,) = generate(StructureOptions.model_validate(options))
    p = made.deformation_parameters
    s = apply_ordering(rocksalt("Ni", cell="rhombohedral4"), "AFM-II")
    s, _ = deform(s, "shear", p["strain"], seed=p["seed"], direction=p["plane"], displacement=p["displacement"])
    config = SpinConfig.from_structure(s, "AFM-II")
    assert config.config_id == made.config_id
    for name in PROVENANCE:
        assert config.model_dump()[name] == made.model_dump()[name], name


def test_deformed_twice_keeps_the_first_parent_and_both_deformations():
    first, one = deform(parent(), "volume", 0.95)
    second, two = deform(first, "displacement", 0.03, seed=4)
    assert second.properties["parent_lattice"] == parent().lattice.matrix.tolist()
    assert second.properties["deformation"] == "displacement"
    assert second.properties["deformation_parameters"] == {**two, "before": {"deformation": "volume", **one}}
    assert deform(first, "none")[0].properties == first.properties


def test_a_supercell_and_a_structure_from_elsewhere_are_their_own_parents():
    larger = deform(parent("primitive", "FM"), "volume", 0.95)[0]
    larger.make_supercell(2)
    assert SpinConfig.from_structure(larger, "FM").parent_lattice is None
    assert SpinConfig.from_structure(larger, "FM").cell == "custom"
    foreign = parent()
    foreign.properties = {}
    for structure in (larger, foreign):
        deformed, _ = deform(structure, "tensile", 0.02, direction="x")
        assert deformed.properties["parent_lattice"] == structure.lattice.matrix.tolist()
        assert (deformed.properties["cell"], deformed.properties["deformation"]) == ("custom", "tensile")
