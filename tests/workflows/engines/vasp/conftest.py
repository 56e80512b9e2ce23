"""Finished folders that the tests of this room share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.vasp_runs import run_named


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of tests.support.vasp_runs.RUNS -> folder. Tests copy what they change."""
    root = tmp_path_factory.mktemp("finished")

    def folder(name: str) -> Path:
        place = root / name
        return place if place.exists() else run_named(name, place)

    return folder
