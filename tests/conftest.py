"""Fixtures of all tests."""

from tests.support.vasp_std.fixture import vasp_on_path

__all__ = ["vasp_on_path"]
