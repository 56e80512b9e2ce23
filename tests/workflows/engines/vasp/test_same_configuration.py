"""Outputs that are whole, consistent, and of something else."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.schema import SpinConfig
from workflows.engines import LabelError
from workflows.engines.vasp.same_configuration import check_result

FOLDER = Path("folder")
LATTICE = np.array([[0, 2.1, 2.1], [2.1, 0, 2.1], [4.25, 4.25, 0]])
PLACES = np.array([[0.01, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0.25], [0.52, 0.5, 0.75]]) @ LATTICE


def config(moments=(2.5, -2.5, 0, 0), lattice=LATTICE, positions=PLACES):
    return SpinConfig(
        species=["Ni", "Ni", "O", "O"], lattice=lattice, positions=positions, magmoms_in=moments, ordering="AFM"
    )


def result(asked, **changes):
    fields = {name: getattr(asked, name) for name in ("species", "lattice", "positions", "magmoms_in")}
    return SimpleNamespace(**{**fields, **changes})


@given(
    st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=4, max_size=4),
    st.floats(-1e-5, 1e-5),
    st.sampled_from([1, -1]),
)
def test_images_rounding_and_a_reversed_lattice_are_the_same(images, noise, hand):
    asked = config()
    moved = asked.positions + np.array(images, dtype=float) @ LATTICE + noise
    check_result(result(asked, positions=moved, lattice=asked.lattice + noise), asked, FOLDER)
    left = config(lattice=hand * LATTICE)
    check_result(result(left, lattice=LATTICE, positions=moved), left, FOLDER)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"species": ["Ni", "O", "Ni", "O"]}, "species Ni O Ni O"),
        ({"lattice": 1.01 * LATTICE}, "a lattice that is off by"),
        ({"positions": PLACES[[1, 0, 2, 3]]}, "site 0 off by"),
        ({"positions": PLACES[[0, 1, 3, 2]]}, "site 2 off by"),
        ({"positions": PLACES + np.eye(4, 3) * 0.01}, "off by 0.01 Angstrom"),
        ({"magmoms_in": np.array([2.5, 2.5, 0, 0])}, "MAGMOM that is off by 5 muB on site 1"),
        ({"magmoms_in": np.array([-2.5, 2.5, 0, 0])}, "on site 0"),
        ({"magmoms_in": None}, "no MAGMOM"),
    ],
)
def test_what_is_another_configuration(changes, reason):
    with pytest.raises(LabelError, match=r"not those of the configuration") as raised:
        check_result(result(config(), **changes), config(), FOLDER)
    assert reason in str(raised.value)
    assert raised.value.kind == "refused"


def test_collinear_moments_as_vectors():
    vectors = np.zeros((4, 3))
    vectors[:, 2] = config().magmoms_in
    check_result(result(config(), magmoms_in=vectors), config(), FOLDER)
    with pytest.raises(LabelError):
        check_result(result(config(), magmoms_in=vectors[:, [2, 0, 1]]), config(), FOLDER)
