"""The measured recall and precision of the verdicts are those of the page, and required faults are always found."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from datastore.quality import judge

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quality.md").read_text()


def _module():
    spec = importlib.util.spec_from_file_location("label_faults", ROOT / "benchmarks" / "label_faults.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAULTS = _module()
NAMES = sorted(FAULTS.REQUIRED | FAULTS.OTHERS)


@pytest.fixture(scope="module")
def faults():
    return FAULTS


@pytest.fixture(scope="module")
def labels(faults):
    return faults.first_principles(faults.OURS)


def test_the_page_has_all_that_is_measured(faults):
    rows = [line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| ")]
    assert set(faults.REQUIRED | faults.OTHERS) <= set(rows)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_what_is_measured(faults, labels, name):
    put, found, wrong = faults.measure(labels, (faults.REQUIRED | faults.OTHERS)[name])
    measured = f"{found / put:.3f}, {found / (found + wrong):.3f} ({put})" if put else "-"
    assert f"| {name} | {measured} |" in PAGE


def test_noise_and_mixed_up_rows_are_hidden_from_the_rules_on_single_labels(faults, labels):
    """No artefact of the injection is found in place of the fault: forces sum to what they did before."""
    rng = np.random.default_rng(0)
    for name in ("half converged (10 meV/atom, 0.05 eV/Å, 1 % of the moments)", "noise of 0.2 eV/Å in the forces"):
        for point in labels[::10]:
            faulty = faults.OTHERS[name](point, rng, labels)
            assert not np.allclose(faulty.forces, point.forces)
            assert np.allclose(faulty.forces.sum(axis=0), point.forces.sum(axis=0))
            assert judge(faulty).verdict == "accepted"


def test_mixed_up_rows_keep_forces_with_their_moments(faults, labels):
    fault = faults.OTHERS["moments and forces in another order within the elements"]
    rng = np.random.default_rng(0)
    pairs = ((point, fault(point, rng, labels)) for point in labels)
    point, faulty = next((point, faulty) for point, faulty in pairs if faulty is not None)
    before = [(s, m, *f) for s, m, f in zip(point.species, point.magmoms_out, point.forces, strict=True)]
    after = [(s, m, *f) for s, m, f in zip(faulty.species, faulty.magmoms_out, faulty.forces, strict=True)]
    assert before != after
    assert sorted(before) == sorted(after)


def test_flips_and_swaps_in_mixed_cells_are_always_found(faults):
    mixed = [point for point in faults.spin_lattice() if point.verdict == "accepted"][::3]
    for fault in faults.REQUIRED.values():
        put, found, wrong = faults.measure(mixed, fault)
        assert put > 30
        assert (found, wrong) == (put, 0)


def test_what_the_engine_calls_not_converged_becomes_no_label(faults, labels):
    put, found = faults.failures_kept_out(labels)
    assert put == found == 13
