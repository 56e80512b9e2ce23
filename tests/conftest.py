"""Fixtures of all tests."""

from tests.support.vasp_std.fixture import run_vasp, vasp_on_path

__all__ = ["run_vasp", "vasp_on_path"]
