"""The public names, and an import that costs nothing."""

import subprocess
import sys

import pytest

import spinmultinet


def test_public_names():
    for name in ("build_model", "load_model", "SpinMultiNetCalculator", "SpinMultiNetError"):
        assert callable(getattr(spinmultinet, name))
    with pytest.raises(AttributeError):
        _ = spinmultinet.nonsense


def test_import_is_lazy():
    code = "import sys, spinmultinet; print([m for m in ('torch', 'ase', 'e3nn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
