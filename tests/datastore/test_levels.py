import numpy as np
import pytest

from datastore.errors import DataError
from datastore.levels import (
    asked_level_id,
    delta_levels,
    delta_point,
    heads_theory,
    level_name,
    names,
    same_numbers,
    spelling,
)
from datastore.queries import find_level, levels_of
from datastore.schema import content_hash
from datastore.stores import open_store
from tests.datastore.support import make_point

PBEU = {"code": "GPAW", "functional": "PBE+U", "xc": "PBE", "ecut": 700.0, "hubbard_u": {"Ni": 6.2, "Mn": 3.9}}


@pytest.mark.parametrize(
    ("theory", "name"),
    [
        (PBEU, "GPAW-PBE+U-Mn3.9-Ni6.2-700eV"),
        ({"code": "spin-lattice", "parameters": "1", "parameters_hash": "5e"}, "spin-lattice"),
        ({"engine": "VASP", "xc": "a b/c", "encut": 520}, "VASP-a-b-c-520eV"),
        (
            {**PBEU, "changed_on_the_way": {"SIGMA": 0, "ISYM": 0}},
            "GPAW-PBE+U-Mn3.9-Ni6.2-700eV-changed-ISYM-changed-SIGMA",
        ),
        ({"delta": {"from": {"code": "a"}, "to": {"code": "b"}}}, "b-minus-a"),
    ],
)
def test_names_are_readable(theory, name):
    assert level_name(theory) == name


def test_the_level_asked_for_is_without_what_changed():
    assert asked_level_id({**PBEU, "changed_on_the_way": {"ISYM": 0}}) == content_hash(PBEU, 16) == asked_level_id(PBEU)


def test_a_theory_without_known_keys_has_a_name_all_the_same():
    assert level_name({"x": 1}) == f"level-{content_hash({'x': 1}, 6)}"


def test_equal_names_get_the_id():
    same = {**PBEU, "smearing": 0.1}
    found = names({"aaaaaaaa": PBEU, "bbbbbbbb": same, "cccccccc": {"code": "x"}})
    assert found["aaaaaaaa"] == f"{level_name(PBEU)}-aaaaaa"
    assert len(set(found.values())) == 3
    assert found["cccccccc"] == "x"


def test_levels_of_a_store_are_found_by_id_and_by_name():
    with open_store("memory:") as store:
        for shift in (0.0, 0.1):
            store.put_point(make_point(shift=shift))
        other = make_point(level_of_theory=PBEU)
        store.put_point(other)
        levels = levels_of(store)
        assert [level.labels for level in levels.values()] == [2, 1]
        for asked in (other.level_id, other.level_id[:5], level_name(PBEU)):
            assert find_level(store, asked).level_id == other.level_id
        with pytest.raises(DataError, match=r"no label is of level of theory 'zz'.*GPAW-PBE\+U.*\(1 labels\)"):
            find_level(store, "zz")
        with pytest.raises(DataError, match="no label is of"):
            find_level(store, "")


def test_a_difference_is_of_its_own_level():
    a = make_point()
    b = make_point(level_of_theory=PBEU, energy=-20.0, free_energy=-20.5, magmoms_out=np.array([1.6, -1.6, 0, 0]))
    delta = delta_point(a, b)
    assert (delta.energy, delta.free_energy) == (b.energy - a.energy, b.free_energy - a.free_energy)
    np.testing.assert_array_equal(delta.forces, np.zeros((4, 3)))
    np.testing.assert_array_equal(delta.magmoms_out, b.magmoms_out)
    assert delta_levels(delta.level_of_theory) == (a.level_id, b.level_id)
    assert delta.level_id not in (a.level_id, b.level_id)
    assert delta_point(b, a).level_id != delta.level_id
    assert delta_levels(b.level_of_theory) is None
    with pytest.raises(DataError, match="two configurations"):
        delta_point(a, make_point(shift=0.1))


def test_a_label_without_stress_gives_a_difference_without():
    delta = delta_point(make_point(stress=None), make_point(level_of_theory=PBEU))
    assert delta.stress is None


def test_several_levels_together_do_not_depend_on_their_order():
    assert heads_theory({"a": PBEU, "b": {}}) == heads_theory({"b": {}, "a": PBEU})


def test_levels_that_differ_in_the_kind_of_number_are_one():
    stored = [{"ecut": "600"}, {"ecut": 600.0, "U": {"Ni": 5}}]
    assert same_numbers({"ecut": 600, "U": {"Ni": 5.0}}, stored) is stored[1]
    assert same_numbers({"ecut": 601, "U": {"Ni": 5.0}}, stored) is None


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"ecut": "600", "xc": "PBE+U"}, True),
        ({"xc": "pbe + u", "ecut": 600.0}, True),
        ({"ecut": 601, "xc": "PBE+U"}, False),
        ({"ecut": [600], "xc": "PBE+U"}, False),
        ({"ecut": 600, "xc": "PBE+U", "kpts": 4}, False),
    ],
)
def test_spelling_is_what_content_is_not(other, same):
    assert (spelling({"ecut": 600, "xc": "PBE+U"}) == spelling(other)) == same


def test_ids_of_levels_that_are_in_use_stay():
    """Stored labels, snapshots and checkpoints are found by them."""
    assert make_point(level_of_theory=PBEU).level_id == "03dcbbdd47d133af"
    assert make_point(level_of_theory=PBEU | {"ecut": 700}).level_id != "03dcbbdd47d133af"
