"""Folders of the VASP test program, shared by the tests of the import."""

from tests.workflows.engines.vasp.conftest import finished

__all__ = ["finished"]
