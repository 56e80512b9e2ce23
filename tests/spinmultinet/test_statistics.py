"""Scales and shifts of a training set."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given
from hypothesis import strategies as st

from spinmultinet.data import to_graph
from spinmultinet.statistics import fit_shifts, training_statistics


def test_shifts_solve_the_compositions_whatever_their_size():
    graphs = []
    for n_ni, n_o in ((1, 1), (2, 1), (1, 3)):
        atoms = Atoms(
            ["Ni"] * n_ni + ["O"] * n_o,
            np.arange(3 * (n_ni + n_o)).reshape(-1, 3) * 2.0,
            magmoms=[1.0] * n_ni + [0.0] * n_o,
        )
        atoms.calc = SinglePointCalculator(atoms, energy=-40_000.0 * n_ni - 400.0 * n_o)
        graphs.append(to_graph(atoms, ["O", "Ni"], 4.0))
    s = training_statistics(graphs, 2, 2.0, "odd", "magnetic")
    assert s.energy_shift.tolist() == pytest.approx([-400.0, -40_000.0])
    assert s.energy_scale.tolist() == [1.0, 1.0]  # no forces at hand
    assert s.magnetic.tolist() == [False, True]


def test_moments_are_fitted_per_species(nio):
    graphs = [to_graph(a, ["O", "Ni"], 4.0) for a in nio]
    s = training_statistics(graphs, 2, 2.0, "odd", "all")
    b = 1.25 / np.sqrt(1 + 1.25**2)
    assert s.moment_prior[1].item() * b == pytest.approx(1.78, abs=0.01)
    assert s.moment_prior[0].item() == 0.0  # O has no input moment
    assert 0.01 < s.moment_scale[1].item() < 0.05
    only_magnetic = training_statistics(graphs, 2, 2.0, "odd", "magnetic")
    assert only_magnetic.moment_scale[0].item() == 0.0
    magnitude = training_statistics(graphs, 2, 2.0, "magnitude", "all")
    assert magnitude.moment_prior[1].item() == pytest.approx(1.78, abs=0.01)


@given(
    shifts=st.lists(st.floats(-1e5, 1e5), min_size=2, max_size=2),
    compositions=st.lists(st.tuples(st.integers(1, 64), st.integers(0, 64)), min_size=1, max_size=8),
)
def test_fitted_shifts_explain_any_absolute_energies(shifts, compositions):
    """To 1e-6 eV in 1e7 eV: the fit is in float64, and exists for one composition too."""
    counts = torch.tensor(compositions, dtype=torch.float64)
    energies = counts @ torch.tensor(shifts, dtype=torch.float64)
    left = counts @ fit_shifts(counts, energies) - energies
    assert left.abs().max().item() < 1e-6


def test_fitted_shifts_are_the_least_squares(nio):
    rng = np.random.default_rng(0)
    counts = torch.tensor(rng.integers(1, 9, (30, 3)), dtype=torch.float64)
    energies = torch.tensor(rng.normal(size=30) - 1e5)
    expected = np.linalg.lstsq(counts.numpy(), energies.numpy(), rcond=None)[0]
    np.testing.assert_allclose(fit_shifts(counts, energies).numpy(), expected, rtol=1e-9)
    assert fit_shifts(counts, energies.float()).dtype == torch.float64
