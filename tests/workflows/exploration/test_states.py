"""Which spin states count as one: by symmetry of the parent, whatever they are called."""

import numpy as np

from tests.workflows.exploration.conftest import campaign
from workflows.exploration.candidate import with_state
from workflows.exploration.starts import in_every_ordering
from workflows.exploration.states import OTHER, same_crystal, state_names

OPTIONS = campaign(
    structures={
        "parents": [{"species": "Ni", "cell": "all8"}],
        "orderings": ["FM", "AFM-II", "one"],
        "signs": {"one": [1, -1, -1, -1]},
    }
)
ORDERINGS = in_every_ordering(OPTIONS)


def names(configs, orderings=ORDERINGS):
    return state_names(configs, orderings, spin_orbit=False, symprec=1e-3)


def moved(signs, name="FiM[?]", **fields):
    """A spin move of the parent."""
    moments = np.array([*(2.5 * s for s in signs), 0, 0, 0, 0])
    return with_state(ORDERINGS[0], moments, name, {}).model_copy(update=fields)


def test_spin_moves_are_the_campaigns_orderings_by_symmetry_or_other_states():
    ones = [moved(signs) for signs in np.where(np.eye(4), 1, -1)] + [moved((-1, 1, 1, 1)), moved((-1, -1, -1, 1))]
    assert names(ones) == ["one"] * 6
    assert names([moved((-1, -1, -1, -1))]) == ["FM"]
    without = [config for config in ORDERINGS if config.ordering != "one"]
    assert names(ones, without) == [OTHER] * 6
    two = [moved(signs, "AFM") for signs in ((1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))]
    assert set(names(two)) <= {"AFM-II", OTHER}


def test_orderings_of_the_campaign_keep_their_names():
    assert names(ORDERINGS) == ["FM", "AFM-II", "one"]
    elsewhere = [config.model_copy(update={"parent": "gone", "ordering": "FiM[+-]"}) for config in ORDERINGS]
    assert names(elsewhere) == ["FiM[+-]"] * 3


def test_spin_moves_of_parents_that_have_gone_are_compared_on_the_lattice():
    assert names([moved((1, -1, 1, 1), parent="gone")]) == ["one"]
    assert names([moved((1, -1, 1, 1), parent="gone", species=["Co"] * 4 + ["O"] * 4)]) == [OTHER]


def test_a_crystal_is_known_in_any_orientation_and_order_of_sites():
    config = moved((1, -1, 1, 1))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    order = [6, 2, 1, 4, 0, 3, 7, 5]
    positions = config.positions + np.random.default_rng(1).normal(scale=0.05, size=(8, 3))
    other = config.model_copy(
        update={
            "species": [config.species[k] for k in order],
            "lattice": 1.03 * config.lattice @ turn,
            "positions": 1.03 * (positions @ turn)[order],
            "magmoms_in": 0.3 * config.magmoms_in[order],
        }
    )
    assert same_crystal([other, config], ORDERINGS, spin_orbit=False) == ["one", "one"]
    assert same_crystal([other], ORDERINGS[:1], spin_orbit=False) == [""]
    assert same_crystal([], ORDERINGS, False) == []
