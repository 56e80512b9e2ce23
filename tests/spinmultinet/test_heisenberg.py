"""Exchange constants: what was put in comes out, what a cell cannot tell is said, conventions are those stated."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from spinmultinet import SpinMultiNetError
from spinmultinet.heisenberg import (
    exchange_shells,
    fit_exchange,
    mean_field_temperature,
    pair_sums,
    unit_spins,
)
from tests.support.heisenberg import Heisenberg

NIO = (0.00137, -0.01901)
"""Measured J1, J2 of NiO in eV (Hutchings and Samuelsen, Phys. Rev. B 6, 3447 (1972)); convention of the module."""


def nio(*repeat):
    atoms = bulk("NiO", "rocksalt", a=4.17, cubic=len(repeat) > 0)
    return atoms.repeat(repeat) if repeat else atoms


def magnetic(atoms):
    return [k for k, s in enumerate(atoms.get_chemical_symbols()) if s != "O"]


def energies_of(atoms, moments, calculator):
    found = []
    for m in moments:
        full = np.zeros((len(atoms), *m.shape[1:]))
        full[magnetic(atoms)] = m
        work = atoms.copy()
        work.set_initial_magnetic_moments(full)
        work.calc = calculator
        found.append(work.get_potential_energy())
    return np.array(found)


def random_signs(atoms, count, seed=0):
    return np.random.default_rng(seed).choice([2.0, -2.0], (count, len(magnetic(atoms))))


def test_shells_of_the_fcc_lattice():
    shells = exchange_shells(nio(), [0], 4)
    np.testing.assert_allclose([s.distance / 4.17 for s in shells], np.sqrt([0.5, 1, 1.5, 2]), atol=1e-12)
    assert [s.neighbours for s in shells] == [12, 6, 24, 12]  # all of them images of the one site
    assert shells[1].name == "J2 Ni-Ni"


def test_shells_of_mixed_cations_have_one_constant_per_pair_of_elements():
    atoms = nio(1, 1, 1)
    atoms.symbols[2] = "Mn"
    shells = exchange_shells(atoms, magnetic(atoms), 1)
    assert [s.elements for s in shells] == [("Mn", "Ni"), ("Ni", "Ni")]  # 1 Mn of 4: no Mn next to Mn
    assert shells[0].neighbours == 12
    assert shells[1].neighbours == 8
    assert sum(s.counts.sum() for s in shells) == 4 * 12


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(-0.05, 0.05), min_size=2, max_size=2), st.integers(0, 99))
def test_known_constants_come_out(constants, seed):
    atoms = nio(2, 1, 1)
    moments = random_signs(atoms, 8, seed)
    shells = exchange_shells(atoms, magnetic(atoms), 2)
    fit = fit_exchange(shells, moments, energies_of(atoms, moments, Heisenberg(constants, offset=-3.0)))
    for found, put_in, known in zip(fit.constants, constants, fit.resolved, strict=True):
        assert not known or found == pytest.approx(put_in, abs=1e-9)
    assert fit.rms < 1e-9
    if fit.resolved.all():
        assert fit.reference == pytest.approx(-3.0, abs=1e-8)


def test_vector_moments_give_the_same_constants():
    atoms = nio(1, 1, 1)
    moments = np.random.default_rng(1).normal(size=(6, 4, 3))
    shells = exchange_shells(atoms, magnetic(atoms), 1)
    fit = fit_exchange(shells, moments, energies_of(atoms, moments, Heisenberg(NIO[:1])))
    assert fit.constants == pytest.approx(NIO[:1], abs=1e-12)
    with pytest.raises(SpinMultiNetError, match="moment of zero"):
        unit_spins(np.zeros((1, 4)))


def test_a_cell_that_cannot_tell_a_constant_says_so():
    # In the conventional cell second neighbours are images: always parallel, whatever J2 is.
    atoms = nio(1, 1, 1)
    moments = random_signs(atoms, 6)
    fit = fit_exchange(
        exchange_shells(atoms, magnetic(atoms), 2), moments, energies_of(atoms, moments, Heisenberg(NIO))
    )
    assert fit.resolved.tolist() == [True, False]
    assert fit.constants[0] == pytest.approx(NIO[0], abs=1e-12)
    assert np.isnan(fit.reference)
    assert fit.rank == 1
    with pytest.raises(SpinMultiNetError, match="not determined"):
        mean_field_temperature(fit.shells, fit.constants)
    with pytest.raises(SpinMultiNetError, match="1 ordering"):
        fit_exchange(fit.shells, moments[:1], np.zeros(1))


def test_errors_cover_what_no_pair_model_fits():
    atoms = nio(2, 2, 1)
    shells = exchange_shells(atoms, magnetic(atoms), 2)
    moments = random_signs(atoms, 40)
    exact = fit_exchange(shells, moments, energies_of(atoms, moments, Heisenberg(NIO)))
    disturbed = fit_exchange(shells, moments, energies_of(atoms, moments, Heisenberg(NIO, disturbance=1e-4)))
    assert exact.errors.max() < 1e-10 < 1e-5 < disturbed.errors.min()
    assert disturbed.rms > 1e-5 > exact.rms
    assert np.all(np.abs(disturbed.constants - NIO) < 5 * disturbed.errors)


def test_as_many_unknowns_as_orderings_leave_no_error():
    atoms = nio(1, 1, 1)
    moments = np.array([[1.0, 1, 1, 1], [1, 1, -1, -1]])
    fit = fit_exchange(exchange_shells(atoms, magnetic(atoms), 1), moments, np.array([0.0, 1.0]))
    assert fit.resolved.all()
    assert np.isnan(fit.errors).all()


def test_energies_of_the_orderings_are_those_of_the_textbook():
    """Per metal: FM -(6 J1 + 3 J2), AFM-I 2 J1 - 3 J2, AFM-II 3 J2."""
    atoms = nio(2, 2, 2)
    sites = magnetic(atoms)
    index = np.round(atoms.positions[sites] / 2.085).astype(int)
    orderings = {"FM": np.ones(32), "AFM-I": 1 - (index[:, 2] % 2) * 2.0, "AFM-II": 1 - (index.sum(1) // 2 % 2) * 2.0}
    j1, j2 = NIO
    energies = -pair_sums(exchange_shells(atoms, sites, 2), np.array(list(orderings.values()))) @ NIO / 32
    assert energies == pytest.approx([-(6 * j1 + 3 * j2), 2 * j1 - 3 * j2, 3 * j2])


def test_mean_field_temperatures():
    atoms = nio(2, 2, 2)
    shells = exchange_shells(atoms, magnetic(atoms), 2)
    # A ferromagnet with z neighbours: z J / (3 k_B).
    assert mean_field_temperature(shells[:1], np.array([0.01])) == pytest.approx(
        12 * 0.01 / (3 * 8.617333e-5), rel=1e-6
    )
    # AFM-II: -6 J2 / (3 k_B); J1 drops out.
    assert mean_field_temperature(shells, np.array(NIO)) == pytest.approx(441.2, abs=0.1)
    assert mean_field_temperature(shells, np.array(NIO), spin=1.0) == pytest.approx(882.4, abs=0.2)


def test_constants_and_temperatures_of_the_literature_are_in_this_convention():
    folder = os.environ.get("SPINMULTINET_TEST_DATA")
    file = None if folder is None else Path(folder) / "papers" / "reference_facts.json"
    if file is None or not file.is_file():
        pytest.skip("SPINMULTINET_TEST_DATA is not set, or has no papers/reference_facts.json")
    facts = json.loads(file.read_text())
    per_metal = facts["derived_oracle"]["from_experimental_J_meV_per_atom"]["NiO"]["FM_minus_AFMII"] * 2
    j1, j2 = 1e3 * np.array(NIO)
    assert -(6 * j1 + 3 * j2) - 3 * j2 == pytest.approx(per_metal, rel=0.01)
