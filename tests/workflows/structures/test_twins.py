"""Twins: every symmetry image is recognised, and what is called a twin has the same energy."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from workflows.structures import StructureOptions, generate, rocksalt
from workflows.structures.deformations import Recipe, deformation_gradient
from workflows.structures.symmetry import site_symmetry
from workflows.structures.twins import TwinCount, Twins

CELLS = {
    "rhombohedral4": "Ni",
    "all8": {"Ni": 0.5, "Mn": 0.5},
    "conventional": {"Ni": 0.75, "Mn": 0.25},
    "tetragonal4": "Ni",
}
RECIPES = [
    Recipe("none"),
    Recipe("shear", 0.03, "xz"),
    Recipe("tensile", -0.02, "y"),
    Recipe("volume", 0.95),
    Recipe("shear", 0.0, "xy"),
]


def parent(cell):
    return rocksalt(CELLS[cell], 4.2, cell)


def signed(structure, seed, vectors=False):
    rng = np.random.default_rng(seed)
    magnitude = np.array([{"Ni": 2.0, "Mn": 4.5, "O": 0.0}[site.specie.symbol] for site in structure])
    if vectors:
        directions = rng.normal(size=(len(structure), 3))
        return magnitude[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return magnitude * rng.choice([1.0, -1.0], size=len(structure))


def energy(structure, gradient, moments):
    """Exchange energy with couplings that depend on the distance and the elements, in a strained crystal."""
    strained = Structure(Lattice(structure.lattice.matrix @ gradient.T), structure.species, structure.frac_coords)
    first, second, _, distance = strained.get_neighbor_list(6.0)
    weight = np.array([site.specie.Z for site in strained])
    vectors = moments if moments.ndim == 2 else np.outer(moments, [0, 0, 1])
    products = np.einsum("ij,ij->i", vectors[first], vectors[second])
    return float(np.sum(np.sin(3 * distance) / distance * (1 + 0.01 * weight[first] * weight[second]) * products))


def same(structure, gradients, moments, spin_orbit=False):
    """Whether two configurations of one parent are called twins."""
    twins = Twins(structure, moments, spin_orbit)
    return twins.keys(gradients[0])[0] == twins.keys(gradients[1])[1]


@settings(max_examples=60, deadline=None)
@given(
    cell=st.sampled_from(sorted(CELLS)),
    recipe=st.sampled_from(RECIPES),
    seed=st.integers(0, 10**6),
    vectors=st.booleans(),
    reverse=st.booleans(),
)
def test_every_symmetry_image_is_recognised_and_has_the_same_energy(cell, recipe, seed, vectors, reverse):
    structure, gradient = parent(cell), deformation_gradient(recipe)
    symmetry = site_symmetry(structure)
    operation = seed % len(symmetry.sources)
    turn = symmetry.rotations[operation]
    moments = signed(structure, seed, vectors)
    image = moments[symmetry.sources[operation]] * (-1 if reverse else 1)
    turned = turn @ gradient @ turn.T
    assert same(structure, [gradient, turned], [moments, image])
    assert energy(structure, gradient, moments) == pytest.approx(energy(structure, turned, image))


@settings(max_examples=60, deadline=None)
@given(
    cell=st.sampled_from(sorted(CELLS)),
    recipe=st.sampled_from(RECIPES),
    seeds=st.tuples(st.integers(0, 300), st.integers(0, 300)),
)
def test_twins_have_the_same_energy(cell, recipe, seeds):
    structure, gradient = parent(cell), deformation_gradient(recipe)
    moments = [signed(structure, seed) for seed in seeds]
    if same(structure, [gradient, gradient], moments):
        assert energy(structure, gradient, moments[0]) == pytest.approx(energy(structure, gradient, moments[1]))


def test_a_strain_keeps_apart_what_the_cube_makes_one():
    structure = rocksalt("Ni", 4.2, "conventional")
    layers = [np.append(np.where(structure.frac_coords[:4, axis] < 0.25, 2.0, -2.0), np.zeros(4)) for axis in (0, 1, 2)]
    cubic, tetragonal = np.eye(3), deformation_gradient(Recipe("tensile", 0.02, "z"))
    assert len(set(Twins(structure, layers).keys(cubic))) == 1
    keys = Twins(structure, layers).keys(tetragonal)
    assert keys[0] == keys[1] != keys[2]
    # The same strain along another axis, with the layers along that axis.
    along_x = Twins(structure, layers).keys(deformation_gradient(Recipe("tensile", 0.02, "x")))
    assert (along_x[0], along_x[1]) == (keys[2], keys[0])
    assert energy(structure, tetragonal, layers[0]) != pytest.approx(energy(structure, tetragonal, layers[2]))


def test_displaced_atoms_leave_reversal_only():
    structure = rocksalt("Ni", 4.2, "conventional")
    up_down = np.array([2.0, -2, 2, 2, 0, 0, 0, 0])
    keys = Twins(structure, [up_down, -up_down, np.roll(up_down, 1)]).keys(None)
    assert keys[0] == keys[1] != keys[2]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), improper=st.booleans())
def test_without_spin_orbit_coupling_turning_all_spins_changes_nothing(seed, improper):
    structure = parent("all8")
    moments = signed(structure, seed, vectors=True)
    turned = moments @ Rotation.random(random_state=seed).as_matrix().T * (-1 if improper else 1)
    assert same(structure, [np.eye(3)] * 2, [moments, turned])
    assert not same(structure, [np.eye(3)] * 2, [moments, turned], spin_orbit=True)


def test_a_collinear_ordering_along_any_axis_is_the_same():
    structure = parent("all8")
    moments = signed(structure, 3)
    vectors = np.outer(moments, [0.6, 0.0, -0.8])
    assert same(structure, [np.eye(3)] * 2, [moments, vectors])
    assert not same(structure, [np.eye(3)] * 2, [moments, vectors], spin_orbit=True)


def test_with_spin_orbit_coupling_spins_turn_with_the_lattice_as_axial_vectors():
    structure = rocksalt("Ni", 4.2, "conventional")
    moments = signed(structure, 5, vectors=True)
    symmetry = site_symmetry(structure)
    for operation in range(0, len(symmetry.sources), 7):
        turn = symmetry.rotations[operation]
        image = moments[symmetry.sources[operation]] @ turn.T * np.linalg.det(turn)
        assert same(structure, [np.eye(3)] * 2, [moments, image], spin_orbit=True)


OPTIONS = {
    "parents": [{"species": "Ni", "cell": "conventional"}],
    "orderings": ["FM", "AFM-I", "one", "other"],
    "signs": {"one": [1, 1, 1, -1], "other": [-1, 1, 1, 1]},
    "deformations": [
        {"kind": "none"},
        {"kind": "tensile", "count": 6, "amplitude": [0.02, 0.02]},
        {"kind": "shear", "count": 2, "amplitude": [0.01, 0.03], "displacement": 0.03},
    ],
}


def test_the_generator_leaves_twins_out_and_counts_them():
    count = TwinCount()
    configs = list(generate(StructureOptions.model_validate(OPTIONS), twins=count))
    assert len(configs) + count.removed.total() == 9 * 4
    names = [config.ordering for config in configs if config.deformation == "none"]
    assert names == ["FM", "AFM-I", "one"]
    assert count.removed[configs[0].parent, "other", "one"] >= 1
    # Six equal strains along three equivalent axes: AFM-I along its axis or normal to it, and FM once.
    tensile = [config.ordering for config in configs if config.deformation == "tensile"]
    assert tensile.count("FM") == 1
    assert tensile.count("AFM-I") == 2
    # Random displacements: nothing but reversal makes twins, and here there are none.
    assert sum(config.deformation == "shear" for config in configs) == 8


def test_reversed_orderings_are_twins_in_any_geometry():
    options = {**OPTIONS, "signs": {"one": [1, 1, 1, -1], "other": [-1, -1, -1, 1]}}
    count = TwinCount()
    configs = list(generate(StructureOptions.model_validate(options), twins=count))
    assert "other" not in {config.ordering for config in configs}
    assert sum(config.ordering == "one" and config.deformation == "shear" for config in configs) == 2
    assert count.removed[configs[0].parent, "other", "one"] >= 3


def test_unpaired_geometries_differ_so_that_equal_orderings_stay():
    shear = OPTIONS["deformations"][2:]
    options = {**OPTIONS, "signs": {"one": [1, 1, 1, -1], "other": [-1, -1, -1, 1]}, "deformations": shear}
    assert len(list(generate(StructureOptions.model_validate({**options, "paired": False})))) == 8


def test_drawn_strains_leave_nothing_behind():
    strains = [{"kind": "tensile", "count": 1500, "amplitude": [0.01, 0.02]}]
    options = {"parents": [{"species": "Ni", "cell": "primitive"}], "orderings": ["FM"], "deformations": strains}
    configs = generate(StructureOptions.model_validate(options))
    tracemalloc.start()
    for _ in range(500):
        next(configs)
    before = tracemalloc.get_traced_memory()[0]
    assert sum(1 for _ in configs) == 1000
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 50_000  # keys of 1000 geometries would take 200,000 bytes
