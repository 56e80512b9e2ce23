"""The delafossite Hamiltonian: shells, rhombi and energies against values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.workflows.engines.spin_lattice.support import SMALL, changed, crystal, energy
from workflows.engines.spin_lattice.delafossite import Delafossite, DelafossiteHamiltonian
from workflows.engines.spin_lattice.samples import delafossite_crystal, delafossite_samples


def test_shells_of_the_delafossite_lattice():
    """By hand: a, sqrt(3) a, 2 a and sqrt(7) a in a layer; layers shifted by a / sqrt(3), c / 3 apart."""
    distances, counts = Delafossite().shells()
    a, height = 2.86, 16.95 / 3
    expected = [a, 3**0.5 * a, 2 * a, *(np.hypot(height, k * a / 3**0.5) for k in (1, 2)), np.hypot(height, 4.3687)]
    assert distances == pytest.approx([*expected, 7**0.5 * a], abs=1e-4)
    assert counts.tolist() == [6, 6, 6, 6, 6, 12, 12]


def test_96_sites_in_six_layers_with_three_rhombi_each():
    config = next(delafossite_samples(1))
    assert config.magmoms_in.shape == (96, 3)
    heights, members = np.unique(np.round(config.positions[:, 2], 6), return_counts=True)
    assert (len(heights), set(members)) == (6, {16})
    model = DelafossiteHamiltonian(Delafossite(), config)
    assert [int(np.sum(model.exchange == value)) for value in Delafossite().exchange.values()] == [96 * 3] * 5
    assert [int(np.sum(model.biquadratic == k)) for k in Delafossite().biquadratic.values()] == [288, 288, 576]
    (a, b), (c, d) = model.rhombi
    assert len(a) == 2 * 3 * 96  # two products of opposite edges
    corners = {tuple(sorted(sites)) for sites in zip(a, b, c, d, strict=True)}
    assert len(corners) == 3 * 96
    assert all(len(set(sites)) == 4 for sites in corners)


def test_rhombi_pair_opposite_edges():
    config = next(delafossite_samples(1))
    for a, b in DelafossiteHamiltonian(Delafossite(), config).rhombi:
        fractional = (config.positions[b] - config.positions[a]) @ np.linalg.inv(config.lattice)
        edges = (fractional - np.round(fractional)) @ config.lattice
        assert np.linalg.norm(edges, axis=1) == pytest.approx(np.full(len(a), 2.86))


def test_ferromagnetic_delafossite():
    """Per site: half of the neighbours per shell, three rhombi with two products each."""
    t = Delafossite()
    j, k = t.exchange, t.biquadratic
    site = 3 * sum(j.values()) + 3 * k[1] + 3 * k[5] + 6 * k[7] + 6 * t.four_spin
    config = crystal("delafossite", SMALL)
    assert energy("delafossite", config) / 12 == pytest.approx(site, abs=1e-12)


def test_120_degree_order_in_the_layers():
    """cos is -1/2 in shells 1, 3 and 7 and 1 in shell 2; the three spins around a site of another layer cancel.

    Their squared cosines average to 1/2, and opposite edges of a rhombus give 1/4.
    """
    t = Delafossite()
    j, k = t.exchange, t.biquadratic
    config = crystal("delafossite", (3, 3, 1))
    fractional = config.positions @ np.linalg.inv(delafossite_crystal((1, 1, 1))[1])
    phase = 2 * np.pi / 3 * (fractional[:, 0] + fractional[:, 1])
    spins = np.stack([np.cos(phase), np.sin(phase), 0 * phase], axis=1)
    site = -1.5 * (j[1] + j[3]) + 3 * j[2] + 0.75 * k[1] + 1.5 * k[5] + 1.5 * k[7] + 1.5 * t.four_spin
    found = energy("delafossite", changed(config, magmoms_in=spins)) / len(spins)
    assert found == pytest.approx(site, abs=1e-12)
