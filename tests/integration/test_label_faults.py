"""The measured recall and precision of the verdicts are those of the page, and required faults are always found."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quality.md").read_text()


@pytest.fixture(scope="module")
def faults():
    spec = importlib.util.spec_from_file_location("label_faults", ROOT / "benchmarks" / "label_faults.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def labels(faults):
    return faults.first_principles(faults.OURS)


@pytest.mark.parametrize(
    "name",
    [
        "flip of one site",
        "two sites swapped",
        "forces permuted between sites",
        "drift of 10 to 60 meV/atom",
        "stress in kB",
    ],
)
def test_the_page_says_what_is_measured(faults, labels, name):
    put, found, wrong = faults.measure(labels, (faults.REQUIRED | faults.OTHERS)[name])
    assert f"| {name} | {found / put:.3f}, {found / (found + wrong):.3f} ({put}) |" in PAGE


def test_flips_and_swaps_in_mixed_cells_are_always_found(faults):
    mixed = [point for point in faults.spin_lattice() if point.verdict == "accepted"][::3]
    for fault in faults.REQUIRED.values():
        put, found, wrong = faults.measure(mixed, fault)
        assert put > 30
        assert (found, wrong) == (put, 0)


def test_what_the_engine_calls_not_converged_becomes_no_label(faults, labels):
    put, found = faults.failures_kept_out(labels)
    assert put == found == 13
