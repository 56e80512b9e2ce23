import numpy as np

from datastore.identity import geometry_id
from workflows.structures import StructureOptions, generate

OPTIONS = StructureOptions(
    parents=[{"species": {"Ni": 0.5, "Mn": 0.5}, "cell": "rhombohedral4"}],
    orderings=["FM", "AFM-II"],
    deformations=[{"kind": "none"}, {"kind": "shear", "count": 2, "amplitude": [0.01, 0.02], "displacement": 0.03}],
)


def test_it_is_the_pair_id_of_generated_configurations():
    for config in generate(OPTIONS):
        assert geometry_id(config.species, config.lattice, config.positions) == config.pair_id


def test_it_depends_on_every_atom_and_not_on_the_sign_of_zero():
    lattice, positions = np.eye(3) * 4, np.zeros((2, 3))
    first = geometry_id(["Ni", "O"], lattice, positions)
    assert geometry_id(["Ni", "O"], lattice, -positions) == first
    assert geometry_id(["O", "Ni"], lattice, positions) != first
    assert geometry_id(["Ni", "O"], lattice, positions + 1e-6) != first
