"""Coverage, factor and bins of errors that are drawn from a known distribution."""

import tracemalloc

import numpy as np
import pytest
from ase import Atoms

from spinmultinet.uncertainty import expected_within, reliability_bins, uncertainty

N, SITES = 400, 5


@pytest.fixture(scope="module")
def drawn():
    """Structures whose errors are normal with 3 (energy), 0.5 (forces) and 1 times the spread that is predicted."""
    rng = np.random.default_rng(0)
    frames = [Atoms("Ni" * SITES) for _ in range(N)]
    predictions, rows = [], []
    for _ in frames:
        e, f, m = rng.uniform(0.01, 0.1), rng.uniform(0.01, 0.1, SITES), rng.uniform(0.01, 0.1, SITES)
        predictions.append({"energy_std": e, "forces_std": f, "magmoms_std": m})
        rows.append(
            {
                "energy": rng.normal(0, 3 * e / SITES, 1),
                "forces": rng.normal(size=(SITES, 3)) * (0.5 * f / np.sqrt(3))[:, None],
                "moments": rng.normal(size=(SITES, 1)) * m[:, None],
                "magnetic": np.ones(SITES, dtype=bool),
            }
        )
    return rows, frames, predictions


def test_the_factor_is_that_of_the_errors(drawn):
    found = uncertainty(*drawn)
    assert {task: found[task]["n"] for task in found} == {"energy": N, "forces": N * SITES, "moments": N * SITES}
    assert {task: found[task]["n_structures"] for task in found} == dict.fromkeys(found, N)
    assert found["energy"]["ratio"] == pytest.approx(3, rel=0.15)
    assert found["forces"]["ratio"] == pytest.approx(0.5, rel=0.05)
    assert found["moments"]["ratio"] == pytest.approx(1, rel=0.07)
    assert found["moments"]["within"]["spread"] == pytest.approx([0.683, 0.954], abs=0.03)
    assert found["moments"]["rank_correlation"] > 0.3
    assert found["energy"]["unit"] == "meV/atom"
    assert found["energy"]["rms_error"] == pytest.approx(3 * found["energy"]["rms_spread"], rel=0.15)


def test_scaled_spreads_cover_what_is_expected(drawn):
    rows, frames, predictions = drawn
    factors = {task: f["ratio"] for task, f in uncertainty(*drawn).items()}
    scaled = [
        p | {"energy_sigma": factors["energy"] * p["energy_std"], "forces_sigma": factors["forces"] * p["forces_std"]}
        for p in predictions
    ]
    found = uncertainty(rows, frames, scaled)
    for task in ("energy", "forces"):
        assert found[task]["within"]["sigma"] == pytest.approx(found[task]["within"]["expected"], abs=0.03)
        assert found[task]["rms_sigma"] == pytest.approx(factors[task] * found[task]["rms_spread"])
    assert "sigma" not in found["moments"]["within"]


def test_expected_shares_are_those_of_normal_errors():
    assert expected_within(1) == pytest.approx([0.6827, 0.9545], abs=1e-4)
    lengths = np.linalg.norm(np.random.default_rng(1).normal(size=(200_000, 3)), axis=1) / np.sqrt(3)
    assert expected_within(3) == pytest.approx([(lengths <= 1).mean(), (lengths <= 2).mean()], abs=0.005)


def test_bins_hold_everything_and_bracket_the_error():
    rng = np.random.default_rng(2)
    spread = rng.uniform(0.1, 1.0, 300)
    bins = reliability_bins(spread, np.abs(rng.normal(0, spread)), np.arange(300) // 3)
    assert sum(b["n"] for b in bins) == 300
    assert len(bins) == 10
    assert [b["spread"] for b in bins] == sorted(b["spread"] for b in bins)
    assert all(b["low"] <= b["rmse"] <= b["high"] for b in bins)
    assert sum(b["low"] <= b["spread"] <= b["high"] for b in bins) >= 5  # 68 % intervals around a true relation
    assert len(reliability_bins(spread[:7], spread[:7], np.arange(7))) == 1


def test_a_single_member_says_nothing(drawn):
    rows, frames, _ = drawn
    silent = {"energy_std": 0.0, "forces_std": np.zeros(SITES), "magmoms_std": np.zeros(SITES)}
    assert uncertainty(rows, frames, [silent] * N) == {}
    assert uncertainty(rows, frames, [{}] * N) == {}


def test_mostly_equal_members_have_no_factor(drawn):
    rows, frames, _ = drawn
    few = [{"energy_std": float(k % 20 == 0)} for k in range(N)]
    assert uncertainty(rows, frames, few)["energy"]["ratio"] is None


def test_scalars_and_vectors_together_whichever_comes_first(drawn):
    rows, frames, predictions = drawn
    rng = np.random.default_rng(3)
    mixed = [
        r | {"moments": rng.normal(size=(SITES, 3)) * (p["magmoms_std"] / np.sqrt(3))[:, None]} if k % 4 == 0 else r
        for k, (r, p) in enumerate(zip(rows, predictions, strict=True))
    ]
    found = uncertainty(mixed, frames, predictions)["moments"]
    ideal = 0.25 * np.array(expected_within(3)) + 0.75 * np.array(expected_within(1))
    assert found["within"]["expected"] == pytest.approx(ideal)
    assert found["within"]["spread"] == pytest.approx(ideal, abs=0.03)
    assert found["ratio"] == pytest.approx(1, rel=0.07)
    backwards = uncertainty(mixed[::-1], frames[::-1], predictions[::-1])["moments"]
    assert backwards["ratio"] == found["ratio"]
    assert backwards["within"] == found["within"]


def test_bins_of_many_structures_need_little_memory():
    n = 20_000
    values = np.random.default_rng(4).uniform(0.1, 1.0, n)
    tracemalloc.start()
    bins = reliability_bins(values, values, np.arange(n))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(b["n"] for b in bins) == n
    assert peak < 16e6  # all numbers of all resamples at once: 64e6
