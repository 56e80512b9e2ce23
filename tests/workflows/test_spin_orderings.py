"""Ranking, ground states and exchange constants with the spin-lattice engine, whose energies are exact."""

import numpy as np
import pytest
from ase import Atoms

from datastore import SpinConfig
from spinmultinet import SpinMultiNetCalculator, build_model
from spinmultinet.anneal import AnnealOptions
from tests.support.heisenberg import Heisenberg
from workflows.engines.calculator import EngineCalculator
from workflows.engines.spin_lattice.engine import SpinLatticeEngine
from workflows.finished import Finished
from workflows.spin_orderings import (
    RelaxSettings,
    atoms_of,
    exchange_constants,
    find_ground_state,
    name_of_moments,
    ordered_atoms,
    rank_orderings,
)
from workflows.structures import StructureError, apply_ordering, ordered_structures, rocksalt

NAMED = ["FM", "AFM-I", "AFM-II"]


def engine(structure):
    return EngineCalculator(SpinLatticeEngine(), SpinConfig.from_structure(apply_ordering(structure, "FM"), "FM"))


@pytest.fixture(scope="module")
def nio():
    return rocksalt("Ni", cell="all8")


@pytest.fixture
def committee():
    options = {"layers": 1, "channels": 4, "l_max": 1, "cutoff": 3.5, "radial_hidden": [8]}
    return SpinMultiNetCalculator([build_model(options, ["O", "Ni"], k) for k in range(3)])


def label(name, structure):
    ordered = next(s for n, s in ordered_structures(structure, [name]))
    return SpinLatticeEngine().label(SpinConfig.from_structure(ordered, name))


def test_the_ranking_is_the_engines(nio):
    rows = rank_orderings(ordered_atoms(nio), engine(nio))
    assert [row["ordering"] for row in rows] == ["AFM-II", "FiM[+-++]", "FM", "AFM-I"]
    assert all(row["ordering_found"] == row["ordering"] and not row["flipped"] for row in rows)
    points = {name: label(name, nio) for name in NAMED}
    for row in rows:
        if row["ordering"] in points:
            point = points[row["ordering"]]
            assert row["energy"] == pytest.approx(point.free_energy, abs=1e-9)
            assert row["net_moment"] == pytest.approx(abs(sum(point.magmoms_out)), abs=1e-9)
            above = 1e3 * (point.free_energy - points["AFM-II"].free_energy) / 8
            assert row["above"] == pytest.approx(above, abs=1e-6)
    assert rows[0]["above_spread"] == rows[2]["above_spread"] == 0


@pytest.mark.parametrize(("species", "order"), [("Ni", ["AFM-II", "FM", "AFM-I"]), ("Mn", ["AFM-II", "AFM-I", "FM"])])
def test_relaxed_orderings_of_nio_and_mno_come_in_the_order_of_experiment(species, order):
    oxide = rocksalt(species, cell="all8")
    rows = rank_orderings(ordered_atoms(oxide, NAMED), engine(oxide), RelaxSettings(fmax=0.003))
    assert [row["ordering"] for row in rows] == order
    unrelaxed = {row["ordering"]: row["energy"] for row in rank_orderings(ordered_atoms(oxide, NAMED), engine(oxide))}
    for row in rows:
        assert row["converged"]
        assert row["steps"] > 0
        assert row["energy"] < unrelaxed[row["ordering"]]
        row["atoms"].calc = engine(oxide)
        assert row["atoms"].get_potential_energy() == pytest.approx(row["energy"], abs=1e-9)
        assert np.linalg.norm(row["atoms"].get_forces(), axis=1).max() < 0.003


def test_finished_orderings_are_not_done_again(nio, tmp_path):
    candidates = ordered_atoms(nio)

    def stop(share):
        if share == 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rank_orderings(candidates, engine(nio), RelaxSettings(), Finished(tmp_path / "a.jsonl", "e"), stop)
    assert len(Finished(tmp_path / "a.jsonl", "e")) == 2
    shares = []
    rest, whole = engine(nio), engine(nio)
    rows = rank_orderings(candidates, rest, RelaxSettings(), Finished(tmp_path / "a.jsonl", "e"), shares.append)
    assert shares == [0.75, 1.0]
    expected = rank_orderings(candidates, whole, RelaxSettings())
    assert rest.computed < whole.computed
    assert [row["ordering"] for row in rows] == [row["ordering"] for row in expected]
    assert [row["energy"] for row in rows] == [row["energy"] for row in expected]
    np.testing.assert_array_equal(rows[0]["atoms"].positions, expected[0]["atoms"].positions)
    other = Finished(tmp_path / "a.jsonl", "e")
    rank_orderings(candidates, engine(nio), RelaxSettings(fmax=0.01), other)
    assert len(other) == 8  # other options are other results


def test_a_moment_that_flips_shows_in_the_ordering_found(nio):
    class Flipping(Heisenberg):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.results["magmoms"] = np.abs(self.results["magmoms"])

    rows = rank_orderings(ordered_atoms(nio, NAMED), Flipping((0.01,)))
    found = {row["ordering"]: row for row in rows}
    assert {row["ordering_found"] for row in rows} == {"FM"}
    assert len(found["AFM-II"]["flipped"]) == 2
    assert not found["FM"]["flipped"]
    fit = exchange_constants(ordered_atoms(nio), Heisenberg((0.01, -0.02)))
    assert fit.left_out == []
    with pytest.raises(StructureError, match="4 orderings, of which 1 keep the signs"):
        exchange_constants(ordered_atoms(nio), Flipping((0.01, -0.02)))


def test_committees_have_a_spread_of_the_difference(nio, committee):
    rows = rank_orderings(ordered_atoms(nio), committee)
    assert rows[0]["above_spread"] == 0.0
    assert all(row["above_spread"] > 0 for row in rows[1:])
    members = [rank_orderings(ordered_atoms(nio), SpinMultiNetCalculator(m)) for m in committee.committee.members]
    by_name = [{row["ordering"]: row["energy_per_atom"] for row in one} for one in members]
    for row in rows:
        above = [1e3 * (one[row["ordering"]] - one[rows[0]["ordering"]]) for one in by_name]
        assert row["above"] == pytest.approx(np.mean(above), abs=1e-2)  # float32
        assert row["above_spread"] == pytest.approx(np.std(above, ddof=1), abs=1e-2)


def test_annealing_finds_afm_ii_of_nio_in_64_atoms_in_every_restart():
    """The engine's own energies; from random signs, with nothing said about propagation vectors."""
    large = rocksalt("Ni", cell="conventional_2x2x2")
    found = find_ground_state(large, engine(large), AnnealOptions(steps=100, start=1500, end=100, restarts=2, seed=1))
    assert found.ordering == "AFM-II"
    assert found.search.found == 2
    small = rocksalt("Ni", cell="rhombohedral4")
    expected = label("AFM-II", small).free_energy / 4
    assert found.search.energy / 64 == pytest.approx(expected, abs=1e-6)
    assert name_of_moments(found.atoms, found.magmoms) == "AFM-II"
    assert abs(found.magmoms.sum()) < 1e-6
    known = {name: above for name, above, _ in found.known}
    assert known.keys() == {"FM", "AFM-I", "AFM-II", "AFM-III"}
    assert known["AFM-II"] == pytest.approx(0, abs=1e-4)
    fm = label("FM", small).free_energy / 4
    assert known["FM"] == pytest.approx(1e3 * (fm - expected), abs=1e-3)


def test_exchange_constants_are_those_of_the_engines_energy_differences(nio):
    energies = {name: label(name, nio).free_energy / 8 for name in NAMED}
    j1 = -(energies["FM"] - energies["AFM-I"]) / 4
    j2 = (j1 - (energies["AFM-I"] - energies["AFM-II"])) / 3
    found = exchange_constants(ordered_atoms(nio, NAMED), engine(nio))
    assert found.fit.constants == pytest.approx([j1, j2], abs=1e-9)
    assert np.isnan(found.fit.errors).all()  # three orderings, three unknowns
    assert found.used == NAMED
    # The measured ones: weakly ferromagnetic J1, strongly antiferromagnetic J2 (1.37 and -19.01 meV).
    assert 0 < found.fit.constants[0] < 0.005
    assert -0.03 < found.fit.constants[1] < -0.01


def test_more_orderings_give_errors_and_the_same_constants_within_them():
    large = rocksalt("Ni", cell="conventional_2x2x2")
    shares = []
    found = exchange_constants(ordered_atoms(large), engine(large), 2, shares.append)
    few = exchange_constants(ordered_atoms(rocksalt("Ni", cell="all8"), NAMED), engine(rocksalt("Ni", cell="all8")))
    assert shares[-1] == 1.0
    assert np.all(found.fit.errors > 0)
    assert np.all(np.abs(found.fit.constants - few.fit.constants) < 4 * found.fit.errors)
    # The engine's fourth-order terms are no pair interaction: the residual is there, and small beside 32 x J2.
    assert 1e-4 < found.fit.rms < 0.1


def test_known_constants_of_a_committee_of_exact_calculators(nio):
    found = exchange_constants(ordered_atoms(nio), Heisenberg((0.00137, -0.01901)))
    assert found.fit.constants == pytest.approx([0.00137, -0.01901], abs=1e-12)
    assert found.members.shape == (1, 2)


def test_members_are_fitted_one_by_one(nio, committee):
    found = exchange_constants(ordered_atoms(nio), committee, 1)
    assert found.members.shape == (3, 1)
    np.testing.assert_allclose(found.members.mean(0), found.fit.constants, atol=1e-6)


def test_arrangements_that_are_not_collinear_are_refused(nio):
    with pytest.raises(StructureError, match="not collinear"):
        ordered_atoms(nio, [{"kind": "random_directions"}])
    moments = np.array(apply_ordering(nio, "AFM-I").site_properties["magmom"])
    assert isinstance(atoms_of(nio, moments), Atoms)
    assert name_of_moments(atoms_of(nio, moments), moments) == "AFM-I"
