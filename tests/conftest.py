"""Fixtures of all tests."""

import logging

import pytest

from tests.support.vasp_std.fixture import run_vasp, vasp_on_path

__all__ = ["run_vasp", "vasp_on_path"]


@pytest.fixture(autouse=True)
def _root_logger_as_it_was():
    """maggma's Builder.run has every package log on stdout from then on, where later tests look for JSON."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
