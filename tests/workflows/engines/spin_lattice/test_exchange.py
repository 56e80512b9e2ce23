"""Exchange: what each term is made of, and derivatives of the saturating moments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.workflows.engines.spin_lattice.oxides import MIXED, oxide
from workflows.engines.spin_lattice.exchange import Saturation
from workflows.engines.spin_lattice.hamiltonian import Hamiltonian
from workflows.engines.spin_lattice.parameters import METALS, Parameters

ONLY = Parameters(reference_moment=dict.fromkeys(METALS, 1.0))
PAIRS = [f"{a}-{b}" for a in METALS for b in METALS]


def magnetic(parameters: Parameters, m: np.ndarray, config=None) -> float:
    c = config or oxide(ordering="FM", cell="conventional")
    return Hamiltonian(parameters, c.species, c.lattice, c.positions).energy(m)


def unit(*signs: float) -> np.ndarray:
    return np.array([*signs, 0, 0, 0, 0], dtype=float)


def test_superexchange_over_180_degrees_joins_second_neighbours_only():
    """Conventional cube of side 4.2: every metal has 6 neighbours over straight bridges, images of itself."""
    ideal = oxide(ordering="FM", cell="conventional", a=4.2)
    straight = replace(ONLY, bridge180=dict.fromkeys(PAIRS, 1.0))
    for m in (unit(1, 1, 1, 1), unit(1, -1, 1, -1), unit(1, 1, -1, -1)):
        assert magnetic(straight, m, ideal) == pytest.approx(4 * 6 / 2, abs=1e-9)
    bent = replace(ONLY, bridge90=dict.fromkeys(PAIRS, 1.0))
    # 12 first neighbours, each over two oxygens.
    assert magnetic(bent, unit(1, 1, 1, 1), ideal) == pytest.approx(4 * 12 * 2 / 2, abs=1e-9)
    assert magnetic(bent, unit(1, -1, 0, 0), ideal) == pytest.approx(-8, abs=1e-9)


@pytest.mark.parametrize(
    ("term", "ferromagnet"),
    [
        # Per oxygen 3 straight bridges with p = 1 and 12 bent ones with p = 1/2.
        ("two_site", 3 * 1 + 12 / 4),
        # Pairs of bridges that share a bond: each of the 6 bonds is in 4 bent bridges and 1 straight one.
        ("three_site", 6 * (6 / 4 + 4 / 2)),
        # All 105 pairs of bridges that share none: 3 straight-straight, 12 straight-bent... counted below.
        ("four_site", None),
    ],
)
def test_terms_of_fourth_order_count_the_right_pairs(term, ferromagnet):
    ideal = oxide(ordering="FM", cell="conventional", a=4.2)
    energy = magnetic(replace(ONLY, **{term: 1.0}), unit(1, 1, 1, 1), ideal)
    if ferromagnet is None:
        axes = [(axis, sign) for axis in range(3) for sign in (1, -1)]
        bridges = [(a, b) for i, a in enumerate(axes) for b in axes[i + 1 :]]
        weight = {bridge: 1.0 if bridge[0][0] == bridge[1][0] else 0.5 for bridge in bridges}
        ferromagnet = sum(
            weight[x] * weight[y] for i, x in enumerate(bridges) for y in bridges[i + 1 :] if not set(x) & set(y)
        )
    assert energy == pytest.approx(4 * ferromagnet, abs=1e-9)


def test_biquadratic_term_sees_the_angle_and_no_sign():
    biquadratic = replace(ONLY, two_site=-1.0)
    directions = np.zeros((8, 3))
    directions[:4] = [1, 0, 0]
    turned = directions.copy()
    turned[:2] = [0, 1, 0]
    flipped = directions.copy()
    flipped[:2] *= -1
    assert magnetic(biquadratic, flipped) == pytest.approx(magnetic(biquadratic, directions), abs=1e-12)
    assert magnetic(biquadratic, turned) > magnetic(biquadratic, directions) + 1


def test_every_term_of_exchange_is_used_by_the_mixed_cell():
    """Forces depend on each: a term whose derivative were forgotten would show in the finite differences."""
    from workflows.engines.spin_lattice.table import TABLE

    m = np.where([s != "O" for s in MIXED.species], 2.0, 0.1) * np.tile([1, -1], 4)
    full = Hamiltonian(TABLE, MIXED.species, MIXED.lattice, MIXED.positions).forces_and_stress(m)[0]
    for name in ("direct", "bridge90", "bridge180", "induction", "crowding", "two_site", "three_site", "four_site"):
        without = replace(TABLE, **{name: {} if isinstance(getattr(TABLE, name), dict) else 0.0})
        forces = Hamiltonian(without, MIXED.species, MIXED.lattice, MIXED.positions).forces_and_stress(m)[0]
        assert np.abs(forces - full).max() > 1e-5, name


@pytest.mark.parametrize("columns", [1, 3])
def test_saturation_derivatives(columns):
    rng, step = np.random.default_rng(1), 1e-5
    saturation = Saturation(np.array([0.0, 0.1, 0.3]))
    m, g = rng.normal(size=(3, columns)) * 2, rng.normal(size=(3, columns))
    for axis in range(columns):
        move = np.zeros_like(m)
        move[:, axis] = step
        slope = (saturation(m + move) - saturation(m - move)) / 2 / step
        assert saturation.jacobian(m)[:, :, axis] == pytest.approx(slope, abs=1e-8)
        bend = (saturation.jacobian(m + move) - saturation.jacobian(m - move)) / 2 / step
        assert saturation.curvature(m, g)[:, :, axis] == pytest.approx(np.einsum("na,nab->nb", g, bend), abs=1e-7)


def test_saturation_turns_over_and_is_odd():
    saturation, m = Saturation(np.full(200, 0.25)), np.linspace(0.01, 6, 200)[:, None]
    sigma = saturation(m)[:, 0]
    peak = m[np.argmax(sigma), 0]
    assert (0.25 * peak**2) ** 4 == pytest.approx(1 / 7, abs=0.02)
    assert saturation(-m)[:, 0] == pytest.approx(-sigma)
    assert sigma[-1] < 0.01
