import numpy as np
import pytest

from datastore.schema import SpinConfig
from workflows.structures import StructureOptions, apply_ordering, fitting_supercell, generate, rocksalt
from workflows.structures.naming import recognised_ordering
from workflows.structures.orderings import propagation_vector

OPTIONS = StructureOptions(
    parents=[
        {"species": "Ni", "cell": "rhombohedral4"},
        {"species": {"Mn": 0.5, "Co": 0.5}, "cell": "tetragonal4", "orderings": ["FM", "AFM-I"]},
        {"species": "Mn", "cell": "all8", "orderings": ["FM", "AFM-I", "AFM-II"]},
    ],
    orderings=["FM", "AFM-II"],
    deformations=[{"kind": "none"}, {"kind": "shear", "count": 1, "amplitude": [0.02, 0.02], "displacement": 0.04}],
)


@pytest.mark.parametrize("config", list(generate(OPTIONS)), ids=lambda c: f"{c.formula}-{c.ordering}-{c.deformation}")
@pytest.mark.parametrize("sign", [1, -1])
def test_generated_orderings_are_recognised_also_reversed_and_in_another_site_order(config, sign):
    order = np.random.default_rng(0).permutation(len(config.species))
    fields = {
        "species": [config.species[i] for i in order],
        "positions": config.positions[order],
        "magmoms_in": sign * config.magmoms_in[order],
        "ordering": "",
    }
    assert recognised_ordering(config.model_copy(update=fields)) == config.ordering


def test_afm_iii_from_any_origin():
    structure = apply_ordering(
        fitting_supercell(rocksalt("Ni", cell=[[1, 0, 0], [0, 1, 0], [0, 0, 1]]), "AFM-III"), "AFM-III"
    )
    config = SpinConfig.from_structure(structure, "x")
    grid = np.array(structure.site_properties["grid_index"])
    vectors = np.array(structure.properties["grid_vectors"])
    q = propagation_vector("AFM-III", vectors)
    for start in range(4):
        moments = np.where((grid @ np.array(q) + start) % 4 < 2, 2.0, -2.0) * (config.magmoms_in != 0)
        assert recognised_ordering(config.model_copy(update={"magmoms_in": moments})) == "AFM-III"


def test_what_is_no_wave_keeps_its_pattern_of_signs():
    structure = apply_ordering(rocksalt("Ni", cell="all8"), "FM")
    config = SpinConfig.from_structure(structure, "x")
    cations = np.flatnonzero(config.magmoms_in)
    one_down = config.magmoms_in.copy()
    one_down[cations[1]] *= -1
    assert recognised_ordering(config.model_copy(update={"magmoms_in": one_down})) == "FiM[+-++]"
    vectors = np.zeros((8, 3))
    vectors[cations] = np.eye(3)[[0, 1, 2, 0]] * 2
    assert recognised_ordering(config.model_copy(update={"magmoms_in": vectors})) == "NC"


def test_other_crystals_keep_their_pattern_of_signs():
    config = SpinConfig(
        species=["Fe", "Fe", "O"],
        lattice=np.eye(3) * 4,
        positions=[[0, 0, 0], [2, 2, 2], [2, 0, 0]],
        magmoms_in=[3.0, -3.0, 0.0],
        ordering="",
    )
    assert recognised_ordering(config) == "AFM[+-]"
