import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.plausible import MIN_DISTANCE, implausible

FIELDS = {"species": ["Ni", "O"], "energy": -12.0, "free_energy": -12.0, "stress": None}
FIELDS |= {"forces": np.zeros((2, 3)), "magmoms_in": np.array([2.0, 0]), "magmoms_out": np.array([1.8, 0])}
RHOMBOHEDRAL = np.array([[2.1, -2.1, 0.0], [0.0, 2.1, -2.1], [4.2, 2.1, 2.1]])


def problem(lattice, positions):
    return implausible({**FIELDS, "lattice": lattice, "positions": np.array(positions)})


@given(
    shift=st.tuples(*[st.floats(-9, 9)] * 3),
    image=st.tuples(*[st.integers(-3, 3)] * 3),
    distance=st.floats(0.0, 1.5).filter(lambda d: abs(d - MIN_DISTANCE) > 1e-6),
    direction=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: np.linalg.norm(d) > 0.1),
)
def test_nuclei_at_one_site_are_found_in_any_image(shift, image, distance, direction):
    """Up to 1.5 Angstrom the nearest image is the one that is made here: the shortest lattice vector has 3."""
    second = (
        np.array(shift) + np.array(image) @ RHOMBOHEDRAL + distance * np.array(direction) / np.linalg.norm(direction)
    )
    found = problem(RHOMBOHEDRAL, [shift, second])
    assert (found is not None) == (distance < MIN_DISTANCE)
    assert found is None or found[0] == "two atoms on one site"


def test_the_bond_of_hydrogen_is_allowed():
    assert problem(np.eye(3) * 4, [[0, 0, 0], [0, 0, 3.26]]) is None


@pytest.mark.parametrize("thin", [0.6, 1.0])
def test_a_cell_that_is_thin_in_one_direction(thin):
    lattice = np.diag([thin, 5.0, 5.0])
    assert problem(lattice, [[0, 0, 0], [thin / 2, 2.5, 2.5]]) is None
    assert problem(lattice, [[0, 0, 0], [thin - 0.01, 0.1, 0]])[0] == "two atoms on one site"
