"""Simulated annealing over signs: known ground states, seeds, resuming, conserved moments, states that do not exist."""

import itertools
import json

import numpy as np
import pytest
from ase.build import bulk

from spinmultinet import SpinMultiNetError
from spinmultinet.anneal import AnnealOptions, anneal, walk
from spinmultinet.heisenberg import exchange_shells, pair_sums
from spinmultinet.hypers import parse

NIO, MNO = (0.00137, -0.01901), (-0.004812, -0.005562)
"""Measured J1, J2 in eV; convention of spinmultinet.heisenberg."""


class Crystal:
    """Metals of a rocksalt oxide with given J; counts what it is asked for."""

    def __init__(self, repeat, constants):
        atoms = bulk("NiO", "rocksalt", a=4.17, cubic=True).repeat(repeat)
        self.sites = [k for k, s in enumerate(atoms.get_chemical_symbols()) if s == "Ni"]
        self.shells = exchange_shells(atoms, self.sites, len(constants))
        self.constants, self.calls = np.array(constants), []
        self.moments = np.zeros(len(atoms))
        self.moments[self.sites] = 2.0
        self.index = np.round(atoms.positions[self.sites] / 2.085).astype(int)

    def energies(self, moments):
        self.calls.append(len(moments))
        return -pair_sums(self.shells, moments[:, self.sites]) @ self.constants

    def anneal(self, options, **more):
        return anneal(self.energies, self.moments, self.sites, options, **more)


@pytest.mark.parametrize("constants", [NIO, MNO])
def test_the_measured_constants_of_nio_and_mno_give_afm_ii_in_64_atoms(constants):
    crystal = Crystal((2, 2, 2), constants)
    found = crystal.anneal(AnnealOptions(steps=1500, start=1000, end=30, restarts=4, seed=1))
    assert found.energy == pytest.approx(32 * 3 * constants[1])  # 3 J2 per metal
    signs = np.sign(found.moments[crystal.sites])
    for step in np.eye(3, dtype=int) * 2:  # second neighbours antiparallel: AFM-II along any of its four axes
        partner = [int(np.flatnonzero(((crystal.index - i - step) % 4 == 0).all(1))[0]) for i in crystal.index]
        np.testing.assert_array_equal(signs[partner], -signs)
    assert 1 <= found.found <= 4
    assert found.found == (np.abs(found.restart_energies - found.energy) < 64e-5).sum()
    assert not found.moments[np.setdiff1d(np.arange(64), crystal.sites)].any()


def test_a_small_cell_is_searched_to_the_end():
    crystal = Crystal((2, 1, 1), (-0.004, 0.003))
    every = np.array([(1.0, *rest) for rest in itertools.product([1.0, -1.0], repeat=7)])
    moments = np.zeros((len(every), 16))
    moments[:, crystal.sites] = every
    found = crystal.anneal(AnnealOptions(steps=200, start=300, end=10, restarts=3))
    assert found.energy == pytest.approx(crystal.energies(moments).min())
    assert found.calculations <= 128  # reversal of all moments is no other state
    assert found.found >= 2


def walked(crystal, temperature, steps, swaps=0.0, seed=0):
    options = AnnealOptions(steps=steps, start=temperature, end=temperature, swaps=swaps, seed=seed)
    return list(walk(crystal.energies, crystal.moments, crystal.sites, options))


def test_a_walk_visits_states_as_often_as_boltzmann_says():
    crystal, temperature = Crystal((1, 1, 1), (-0.01, 0.0)), 600.0
    visited = walked(crystal, temperature, 20000)
    assert [step for step, *_ in visited] == list(range(20001))
    up = np.array([abs(np.sign(m[crystal.sites]).sum()) for _, m, _ in visited])
    energies = {n: next(e for _, m, e in visited if abs(np.sign(m).sum()) == n) for n in (0, 2, 4)}
    weights = {n: k * np.exp(-energies[n] / (8.617333e-5 * temperature)) for n, k in ((0, 6), (2, 8), (4, 2))}
    for n, weight in weights.items():
        assert np.mean(up == n) == pytest.approx(weight / sum(weights.values()), abs=0.03)
    assert sum(crystal.calls) <= 8  # each state once


def test_a_cold_walk_never_climbs_and_begins_where_it_is_told():
    crystal = Crystal((2, 1, 1), NIO)
    steps = walked(crystal, 1e-6, 300, swaps=0.5)
    np.testing.assert_array_equal(steps[0][1], crystal.moments)
    assert (np.diff([energy for *_, energy in steps]) <= 1e-12).all()
    assert steps[-1][2] < steps[0][2]
    again = walked(Crystal((2, 1, 1), NIO), 1e-6, 300, swaps=0.5)
    np.testing.assert_array_equal([m for _, m, _ in again], [m for _, m, _ in steps])
    for _, moments, energy in steps[::50]:
        assert energy == pytest.approx(crystal.energies(moments[None])[0])


def test_seeds_repeat_and_further_restarts_leave_the_earlier_ones_alone():
    options = AnnealOptions(steps=60, start=500, end=50, restarts=2, seed=5)
    first, again = (Crystal((2, 2, 1), NIO).anneal(options) for _ in range(2))
    np.testing.assert_array_equal(first.restart_moments, again.restart_moments)
    more = Crystal((2, 2, 1), NIO).anneal(AnnealOptions(steps=60, start=500, end=50, restarts=3, seed=5))
    np.testing.assert_array_equal(more.restart_moments[:2], first.restart_moments)
    other = Crystal((2, 2, 1), NIO).anneal(AnnealOptions(steps=1, start=500, end=50, restarts=2, seed=6))
    assert not np.array_equal(other.restart_moments, first.restart_moments)


def test_a_run_that_was_stopped_ends_as_one_that_was_not():
    options = AnnealOptions(steps=80, start=500, end=50, restarts=2, seed=3)
    whole = Crystal((2, 2, 1), NIO).anneal(options)
    kept = []

    def save(state):
        kept.append(json.dumps(state))
        if len(kept) == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Crystal((2, 2, 1), NIO).anneal(options, save=save)
    shares = []
    resumed = Crystal((2, 2, 1), NIO).anneal(
        options, state=json.loads(kept[-1]), tell=lambda share, text: shares.append((share, text))
    )
    np.testing.assert_array_equal(resumed.restart_moments, whole.restart_moments)
    assert resumed.energy == whole.energy
    assert resumed.accepted == whole.accepted
    assert len(shares) == 50
    assert shares[-1][0] == 1.0
    assert "50 K" in shares[-1][1]


def test_one_call_per_step_for_all_restarts():
    crystal = Crystal((2, 2, 2), NIO)
    crystal.anneal(AnnealOptions(steps=20, start=500, end=50, restarts=5))
    assert crystal.calls[0] == 5
    assert max(crystal.calls[1:20]) > 1


def test_conserved_moments():
    crystal = Crystal((2, 1, 1), NIO)
    crystal.moments[crystal.sites[0]] *= -1  # 7 up, 1 down
    found = crystal.anneal(AnnealOptions(steps=50, start=500, end=50, restarts=2, conserve=True))
    assert np.abs(found.restart_moments.sum(1)) == pytest.approx(12.0)


def test_states_that_do_not_exist_are_never_the_end():
    crystal = Crystal((2, 1, 1), (0.01,))  # a ferromagnet whose ferromagnetic state is missing

    def energies(moments):
        found = crystal.energies(moments)
        return np.where(np.abs(moments.sum(1)) > 15, np.nan, found)

    found = anneal(energies, crystal.moments, crystal.sites, AnnealOptions(steps=200, start=300, end=10, restarts=2))
    assert np.isfinite(found.energy)
    assert abs(found.moments.sum()) < 15


def test_moments_that_are_held_break_the_symmetry_of_reversal():
    crystal = Crystal((1, 1, 1), (0.01,))
    held, free = crystal.sites[0], crystal.sites[1:]
    crystal.moments[held] = -2.0
    found = anneal(crystal.energies, crystal.moments, free, AnnealOptions(steps=50, start=300, end=10, restarts=2))
    assert found.energy == pytest.approx(-24 * 0.01)
    np.testing.assert_array_equal(np.sign(found.moments[crystal.sites]), -1.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "option 'steps'"),
        ({"end": 0.0}, "option 'end'"),
        ({"start": 10.0}, "exchange them"),
        ({"T": 3}, "T"),
    ],
)
def test_bad_options(changes, words):
    with pytest.raises(SpinMultiNetError, match=words):
        parse(AnnealOptions, changes, "options")


def test_sites_without_a_moment_and_broken_states_are_refused():
    crystal = Crystal((1, 1, 1), NIO)
    with pytest.raises(SpinMultiNetError, match="sites with a moment"):
        anneal(crystal.energies, np.zeros(8), crystal.sites, AnnealOptions())
    with pytest.raises(SpinMultiNetError, match="delete its file"):
        crystal.anneal(AnnealOptions(), state={"signs": []})
