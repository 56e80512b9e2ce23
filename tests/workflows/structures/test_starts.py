"""Further starts change magnitudes and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.metastable import state_key
from datastore.schema import SpinConfig
from tests.datastore.support import make_point
from workflows.structures.errors import StructureError
from workflows.structures.starts import STARTS, from_occupations, starts


def config(species=("Co", "Ni", "O", "O"), moments=(1.0, -2.5, 0.0, 0.0), **fields) -> SpinConfig:
    plain = make_point().config()
    fields = {"species": list(species), "magmoms_in": np.array(moments), **fields}
    return SpinConfig(**{**plain.model_dump(), **fields})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("high-spin", [3.0, -2.0, 0.0, 0.0]),
        ("low-spin", None),  # Co began there, and Ni has no other state
        ("1.5x", [1.5, -3.75, 0.0, 0.0]),
        ("0.5x", [0.5, -1.25, 0.0, 0.0]),
    ],
)
def test_magnitudes_of_each_start(name, expected):
    found = {new.start: new.magmoms_in.tolist() for new in starts(config())}
    assert found.get(name) == expected


def test_low_spin_where_the_guess_is_not():
    found = {new.start: new.magmoms_in.tolist() for new in starts(config(moments=[2.7, -2.5, 0, 0]))}
    assert found["low-spin"] == [1.0, -2.5, 0.0, 0.0]


def test_count_takes_the_first_and_no_two_are_equal():
    assert [new.start for new in starts(config(), 2)] == ["high-spin", "1.5x"]
    assert starts(config(), 0) == []
    # 2 muB on Ni is its high-spin moment already.
    assert [new.start for new in starts(config(["Ni", "Ni", "O", "O"], [2.0, -2.0, 0, 0]))] == ["1.5x", "0.5x"]


def test_moments_given_to_anions_and_absent_ones_keep_their_part():
    mixed = config(["Co", "Co", "O", "O"], [1.0, 0.0, 0.1, 0.0])
    for new in starts(mixed):
        assert new.magmoms_in[1:].tolist() == [0.0, 0.1, 0.0]


def test_held_moments_have_no_further_starts():
    assert starts(config(moment_role="constraint")) == []


def test_without_moments_there_is_nothing_to_change():
    assert starts(config(moments=[0.0, 0.0, 0.0, 0.0])) == []


@given(st.lists(st.floats(-5, 5).filter(lambda x: abs(x) > 0.05), min_size=2, max_size=2), st.booleans())
def test_geometry_signs_and_directions_stay(pair, vectors):
    moments = np.array([*pair, 0.0, 0.0])
    direction = np.array([0.0, 0.6, 0.8])
    start = config(moments=np.outer(moments, direction) if vectors else moments)
    for new in starts(start):
        assert new.start in STARTS
        assert state_key(new) == state_key(start)
        unchanged = set(SpinConfig.model_fields) - {"magmoms_in", "start"}
        assert new.model_dump(include=unchanged) == start.model_dump(include=unchanged)
        cosine = np.sum(new.magmoms_in[:2] * start.magmoms_in[:2])
        lengths = np.linalg.norm(new.magmoms_in[:2].reshape(2, -1), axis=1)
        assert cosine > 0
        assert (lengths > 0).all()


def test_starts_of_reversed_moments_are_the_reversed_starts():
    up, down = config(), config(moments=[-1.0, 2.5, 0, 0])
    assert [(-new.magmoms_in).tolist() for new in starts(down)] == [
        pytest.approx(new.magmoms_in.tolist()) for new in starts(up)
    ]


def test_occupation_matrices_are_another_configuration_of_the_same_state():
    start = config()
    hinted = from_occupations(start, "1 2 1\n...")
    assert hinted.config_id != start.config_id
    assert state_key(hinted) == state_key(start)
    assert all(not new.occupations for new in starts(hinted))
    with pytest.raises(StructureError, match="empty"):
        from_occupations(start, " \n")
