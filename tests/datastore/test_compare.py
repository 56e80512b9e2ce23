import numpy as np
import pytest

from datastore.compare import compare_levels
from datastore.errors import DataError
from datastore.queries import find_level
from datastore.stores import open_store
from tests.datastore.support import make_point

A, B = {"code": "a"}, {"code": "b"}
ORDERINGS = {"FM": [2.5, 2.5, 0, 0], "AFM-II": [2.5, -2.5, 0, 0]}
CONSTANT = 1.25
"""eV/atom between the levels."""


def labels(i, ordering, theory, **changes):
    """Level B: all energies shifted by a constant, AFM-II by 8 meV/atom more, forces scaled, moments reversed."""
    moments = np.array(ORDERINGS[ordering])
    energy, forces, out = -25.0 + 0.1 * i, make_point().forces, 0.7 * moments
    if theory is B:
        energy += 4 * (CONSTANT + (0.008 if ordering == "AFM-II" else 0.0))
        forces, out = 1.1 * forces, -0.8 * moments
    fields = {"energy": energy, "forces": forces, "magmoms_out": out, "ordering": ordering, "ordering_found": ordering}
    return make_point(shift=0.01 * i, magmoms_in=moments, pair_id=f"g{i}", level_of_theory=theory, **fields | changes)


@pytest.fixture
def stores():
    with open_store("memory:") as first, open_store("memory:") as second:
        for i in range(6):
            for ordering in ORDERINGS:
                first.put_point(labels(i, ordering, A))
                for store in (first, second):
                    if i < 4:
                        store.put_point(labels(i, ordering, B))
        yield first, second


def compared(first, second):
    return compare_levels((first, second), (find_level(first, "a"), find_level(second, "b")))


@pytest.mark.parametrize("two", [False, True], ids=["one store", "two stores"])
def test_what_was_changed_on_purpose_is_found(stores, two):
    first, second = stores
    found, parity = compared(first, second if two else first)
    assert (found.common, found.accepted, found.changed) == (8, 8, [])
    assert (found.name_a, found.name_b) == ("a", "b")
    assert found.constants["NiO"] == pytest.approx(CONSTANT + 0.004)
    groups = {group.ordering: group for group in found.groups}
    assert {o: g.count for o, g in groups.items()} == {"FM": 4, "AFM-II": 4}
    assert groups["AFM-II"].energy_mean == pytest.approx(0.004)
    assert groups["FM"].energy_mean == pytest.approx(-0.004)
    assert groups["FM"].energy_rms == pytest.approx(0.004)
    assert groups["FM"].forces_rms == pytest.approx(0.1 * np.sqrt(np.mean(make_point().forces ** 2)))
    assert groups["FM"].stress_rms == 0
    (pair,) = found.pairs
    assert (pair.ordering, pair.count) == ("AFM-II", 4)
    assert (pair.mean_a, pair.mean_b) == pytest.approx((0.0, -0.008))
    assert (pair.mean, pair.rms) == pytest.approx((-0.008, 0.008))
    nickel = next(row for row in found.moments if row.element == "Ni")
    assert (nickel.sites, nickel.mean_a, nickel.mean_b, nickel.rms) == pytest.approx((16, 1.75, 2.0, 0.25))
    np.testing.assert_allclose(parity.pairs["AFM-II"], [[0.0, -0.008]] * 4, atol=1e-12)
    assert parity.forces.shape == (8 * 12, 2)


def test_exchanging_the_levels_changes_the_signs(stores):
    first, _ = stores
    there, _ = compared(first, first)
    back, _ = compare_levels((first, first), (find_level(first, "b"), find_level(first, "a")))
    assert back.constants["NiO"] == pytest.approx(-there.constants["NiO"])
    assert back.pairs[0].mean == pytest.approx(-there.pairs[0].mean)
    assert back.pairs[0].rms == pytest.approx(there.pairs[0].rms)


def test_other_orderings_and_verdicts_are_told_and_not_averaged(stores):
    first, _ = stores
    first.put_point(
        labels(5, "AFM-II", B, ordering_found="FM", verdict="rejected", verdict_reasons=["flipped: site 1"], energy=9.0)
    )
    found, _ = compared(first, first)
    assert (found.common, found.accepted) == (9, 8)
    (changed,) = found.changed
    assert (changed.found_a, changed.found_b, changed.reasons_b) == ("AFM-II", "FM", ["flipped: site 1"])
    assert found.constants["NiO"] == pytest.approx(CONSTANT + 0.004)


def test_labels_without_stress_and_vector_moments():
    with open_store("memory:") as store:
        for theory, length in ((A, 1.0), (B, 1.5)):
            vectors = np.outer([length, -length, 0, 0], [0, 0, 1.0])
            store.put_point(
                make_point(level_of_theory=theory, stress=None, magmoms_in=vectors / length, magmoms_out=vectors)
            )
        found, parity = compared(store, store)
    assert found.groups[0].stress_rms is None
    assert next(row for row in found.moments if row.element == "Ni").rms == pytest.approx(0.5)
    assert (found.pairs, parity.pairs) == ([], {})


def test_nothing_in_common(stores):
    first, second = stores
    second.points.remove_docs({})
    second.put_point(labels(9, "FM", B))
    with pytest.raises(DataError, match=r"no configuration is labelled at both a and b.*--relabel"):
        compared(first, second)
