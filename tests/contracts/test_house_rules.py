"""What keeps the tree easy to find one's way in."""

from pathlib import Path

import pytest

import datastore
import spinmultinet
import workflows

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("workflows", "spinmultinet", "datastore")
SOURCES = sorted(path for package in (*PACKAGES, "benchmarks") for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", [datastore, spinmultinet, workflows], ids=lambda package: package.__name__)
def test_the_packages_are_ours(package):
    """PyPI has another package that is imported as ``workflows``."""
    assert Path(package.__file__).resolve() == ROOT / package.__name__ / "__init__.py"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_named_after_what_they_hold(path):
    assert len(path.read_text().splitlines()) <= 400
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}


@pytest.mark.parametrize("package", PACKAGES)
def test_type_hints_are_shipped(package):
    assert (ROOT / package / "py.typed").is_file()


def test_nothing_loads_pickles_or_evaluates_text():
    forbidden = ("pickle.load", "pickle.dump", "weights_only=False", "yaml.load(", "yaml.unsafe_load", "eval(input")
    found = [(path.name, word) for path in SOURCES for word in forbidden if word in path.read_text()]
    assert not found


def test_torch_load_is_always_weights_only():
    for path in SOURCES:
        for part in path.read_text().split("torch.load(")[1:]:
            assert "weights_only=True" in part.split("\n\n")[0], path
