"""The frozen parameters: what is known of the oxides, and the labels they were fitted to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from tests.workflows.engines.spin_lattice.oxides import ENGINE, LATTICE, oxide, strained
from workflows.engines.spin_lattice.hamiltonian import Hamiltonian
from workflows.engines.spin_lattice.moments import relax_moments
from workflows.engines.spin_lattice.table import TABLE, TABLE_VERSION

DATA = Path(__file__).parents[4] / "benchmarks" / "data"


def test_the_table_is_frozen():
    """Studies name this model by its version: change a value and its version must change, and this hash with it."""
    assert (TABLE_VERSION, TABLE.digest()) == ("2", "45b6db22c79dff5d")


def test_level_of_theory_follows_every_parameter():
    assert replace(TABLE, charge=1.0).digest() != TABLE.digest()
    assert replace(TABLE, direct={**TABLE.direct, "Mn-Mn": 0.1}).digest() != TABLE.digest()


@pytest.mark.parametrize(
    ("metal", "order", "gap", "moment"),
    [
        ("Ni", ["AFM-II", "FM", "AFM-I"], 38.9, 1.75),
        ("Mn", ["AFM-II", "AFM-I", "FM"], 39.0, 4.5),
        ("Co", ["AFM-II", "FM", "AFM-I"], 60.0, 2.65),
    ],
)
def test_orderings_gaps_and_moments_of_the_oxides(metal, order, gap, moment):
    points = {o: ENGINE.label(oxide(metal, o, a=LATTICE[metal])) for o in order}
    energies = {o: point.energy / 8 * 1e3 for o, point in points.items()}
    assert sorted(energies, key=energies.__getitem__) == order
    assert energies["FM"] - energies["AFM-II"] == pytest.approx(gap, rel=0.3)
    for point in points.values():
        assert point.verdict == "accepted", point.verdict_reasons
        assert np.abs(point.magmoms_out[:4]) == pytest.approx(np.full(4, moment), abs=0.15)


@pytest.mark.parametrize("metal", ["Ni", "Mn", "Co"])
def test_lattice_constant_of_the_labels_is_the_minimum(metal):
    scan = np.linspace(0.98, 1.02, 9) * LATTICE[metal]
    energies = [ENGINE.label(oxide(metal, a=a)).energy for a in scan]
    assert abs(int(np.argmin(energies)) - 4) <= 1


def opening(metal: str, ordering: str) -> float:
    """-dE/d(strain) of a contraction along [111], eV: above 0 it opens the angle alpha beyond 90 degrees."""
    base, step = oxide(metal, ordering, a=LATTICE[metal]), 1e-4
    tilt = np.ones((3, 3)) - np.eye(3)
    ends = [ENGINE.label(strained(base, sign * step * tilt)).energy for sign in (1, -1)]
    return float(ends[0] - ends[1]) / 2 / step


def test_second_antiferromagnet_opens_the_angle_most_in_manganese_oxide():
    """Parallel spins within (111) planes push apart; FM is cubic."""
    assert opening("Mn", "AFM-II") > 3 * opening("Ni", "AFM-II") > 0
    for metal in ("Mn", "Ni"):
        assert opening(metal, "FM") == pytest.approx(0, abs=1e-5)


def test_labels_are_reproduced():
    """Every system's mean gap between orderings and mean moment, from the default start of the moments."""
    gaps, moments = defaultdict(list), defaultdict(list)
    ferro, rest = {}, []
    for atoms in read(DATA / "gpaw_pool.extxyz", ":"):
        h = Hamiltonian(TABLE, list(atoms.symbols), atoms.cell.array, atoms.positions)
        m, _ = relax_moments(h, atoms.arrays["magmom_in"])
        energies = np.array([atoms.get_potential_energy(), h.energy(m)]) / len(atoms)
        for symbol, truth, model in zip(atoms.symbols, atoms.arrays["magmom_out"], m, strict=True):
            moments[symbol, atoms.info["system"], atoms.info["ordering"]].append([abs(truth), abs(model)])
        if atoms.info["ordering"] == "FM":
            ferro[atoms.info["pair_id"]] = energies
        else:
            rest.append((atoms.info, energies))
    for info, energies in rest:
        if info["pair_id"] in ferro:
            gaps[info["system"], info["ordering"]].append(ferro[info["pair_id"]] - energies)
    assert len(gaps) == 12
    for system, pairs in gaps.items():
        truth, model = np.mean(pairs, axis=0)
        assert model == pytest.approx(truth, rel=0.3), system
    for key, values in moments.items():
        truth, model = np.mean(values, axis=0)
        # One Co of the pool ends low-spin in the model. Induced on oxygen: 0.05 to 0.17 muB.
        assert model == pytest.approx(truth, **({"abs": 0.04} if key[0] == "O" else {"rel": 0.06})), key
