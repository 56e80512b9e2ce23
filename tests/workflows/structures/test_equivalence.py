"""Equivalent parents: images of a crystal are recognised with the way there, and their configurations are twins."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from datastore.fingerprints import Geometry
from datastore.isometry import Crystal
from workflows.engines import get_engine
from workflows.structures import StructureOptions, TwinCount, generate, parent_id, rocksalt
from workflows.structures.deformations import Recipe, deformation_gradient
from workflows.structures.equivalence import GIVEN, isometry
from workflows.structures.twins import Twins

HALF = {"Ni": 0.5, "Mn": 0.5}
CELLS = ["all8", "conventional", "rhombohedral4"]
STRAINS = [Recipe("shear", 0.02, "xz"), Recipe("tensile", -0.02, "y"), Recipe("none")]


def crystal(structure):
    symbols = tuple(site.specie.symbol for site in structure)
    return Crystal(Geometry("", symbols, np.array(structure.lattice.matrix), np.array(structure.cart_coords)))


def image(structure, seed):
    """The same crystal turned or reflected, moved, with its sites in another order; and turn and order."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix() * rng.choice([1, -1])
    order = rng.permutation(len(structure))
    positions = structure.cart_coords @ turn.T + rng.normal(size=3)
    symbols = [structure[int(i)].specie.symbol for i in order]
    lattice = Lattice(structure.lattice.matrix @ turn.T)
    return Structure(lattice, symbols, positions[order], coords_are_cartesian=True), turn, order


def pair_sums(structure, moments):
    """Sums over pairs of moment products with weights by distance, which no isometry changes."""
    first, second, _, distance = structure.get_neighbor_list(4.5)
    products = np.einsum("ij,ij->i", moments[first], moments[second])
    return [np.sum(np.sin(3 * distance) * products), np.sum(np.cos(5 * distance) * products)]


@settings(max_examples=30, deadline=None)
@given(cell=st.sampled_from(CELLS), seed=st.integers(0, 10**6), strain=st.sampled_from(STRAINS))
def test_an_image_is_recognised_and_its_configurations_have_the_keys_of_the_first(cell, seed, strain):
    structure = rocksalt(HALF, 4.2, cell, seed=1)
    other, turn, order = image(structure, seed)
    way = isometry(crystal(other), crystal(structure), GIVEN)
    moments = np.random.default_rng(seed).normal(size=(len(structure), 3))
    turned = (np.linalg.det(turn) * moments @ turn.T)[order]  # axial vectors, with spin-orbit coupling
    gradient = deformation_gradient(strain)
    here = Twins(structure, [moments, moments[:, 0]], spin_orbit=True)
    there = Twins(other, [turned, moments[order, 0]], spin_orbit=True)
    assert here.keys(gradient) != there.keys(turn @ gradient @ turn.T)
    there = Twins(structure, [turned, moments[order, 0]], spin_orbit=True, way=way)
    assert here.keys(gradient) == there.keys(turn @ gradient @ turn.T)
    back = way.moments(turned, axial=True)
    assert pair_sums(structure, back) == pytest.approx(pair_sums(other, turned))


def test_other_decorations_cells_and_lattices_are_other_crystals():
    structure = rocksalt(HALF, 4.2, "conventional", decoration="L1_0")
    for other in (
        rocksalt("Ni", 4.2, "conventional"),
        rocksalt(HALF, 4.2001, "conventional", decoration="L1_0"),
        rocksalt(HALF, 4.2, "all8", decoration="L1_1"),
        rocksalt(HALF, 4.2, "tetragonal4", decoration="L1_0"),
    ):
        assert isometry(crystal(other), crystal(structure), GIVEN) is None


def configurations(parents, **changes):
    options = {
        "parents": parents,
        "orderings": ["FM", "AFM-II", {"kind": "enumerate"}],
        "deformations": [{"kind": "none"}],
        **changes,
    }
    count = TwinCount()
    return list(generate(StructureOptions.model_validate(options), twins=count)), count


def energies(configs):
    engine = get_engine({"type": "spin-lattice"})
    return {round(engine.label(config).energy, 8) for config in configs}


SEEDS = [{"species": HALF, "cell": "all8", "seed": seed} for seed in range(8)]


def test_placements_that_symmetry_makes_one_are_labelled_once():
    configs, count = configurations(SEEDS)
    assert len(configs) == len(energies(configs)) == 11
    parents = {config.parent for config in configs}
    assert all(parent.startswith("MnNiO2-all8-a4.3075-") for parent in parents)
    assert any(row["twin_of"] == f"FM of {configs[0].parent}" for row in count.rows())


def test_equal_strains_of_equivalent_placements_are_twins():
    strain = [{"kind": "tensile", "count": 8, "amplitude": [0.02, 0.02]}]
    configs, count = configurations(SEEDS[:5], orderings=["FM"], deformations=strain)
    crystals = [crystal(config.to_structure()) for config in configs]
    assert not any(isometry(one, two, GIVEN) for one, two in itertools.combinations(crystals, 2))
    assert len(configs) == 4  # two crystals, each along two inequivalent axes
    assert count.removed.total() == 5 * 8 - 4


def test_a_structure_as_species_and_as_file_is_one_crystal(tmp_path):
    path = tmp_path / "same.vasp"
    rocksalt("Ni", cell="rhombohedral4").to(filename=str(path), fmt="poscar")
    configs, count = configurations([{"species": "Ni", "cell": "rhombohedral4"}, {"file": str(path)}])
    assert [config.ordering for config in configs] == ["FM", "AFM-II"]
    assert count.removed.total() == 6


def test_computed_cells_of_equivalent_placements_are_compared_as_they_came_out():
    parents = []
    for seed, scale in ((0, 1.002), (1, 1.00201), (2, 1.004)):
        start = rocksalt(HALF, 4.2, "rhombohedral4", seed=seed)
        prepared = {
            "start": parent_id(start),
            "ordering": "FM",
            "lattice": (start.lattice.matrix * scale).tolist(),
            "fractional": start.frac_coords.tolist(),
            "how": {"kind": "relax"},
        }
        species = {"species": HALF, "lattice_constant": 4.2, "cell": "rhombohedral4", "seed": seed}
        parents.append({**species, "lattice": {"relax": {"orderings": ["FM"]}, "prepared": [prepared]}})
    configs, _ = configurations(parents, orderings=["FM"])
    assert len(configs) == 2
    assert configs[1].lattice == pytest.approx(configs[0].lattice * 1.004 / 1.002)
