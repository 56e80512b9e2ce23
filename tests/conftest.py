"""Fixtures of all tests."""

import logging
import os

import pytest

from tests.support.vasp_std.fixture import run_vasp, vasp_on_path

__all__ = ["run_vasp", "vasp_on_path"]

os.environ.setdefault("SPINMULTINET_TRUSTED_MODULES", "tests,benchmarks")  # also of workers

# Where tests run side by side, each process is told a width of terminal; tables are tested as written to a file.
os.environ.pop("COLUMNS", None)


@pytest.fixture(autouse=True)
def _root_logger_as_it_was():
    """maggma's Builder.run has every package log on stdout from then on, where later tests look for JSON."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
