"""Every file in configs/engines is parsed; each is a level of theory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflows.engines import get_engine
from workflows.engines.gpaw import GpawEngine
from workflows.engines.vasp.engine import VaspEngine

pytestmark = pytest.mark.usefixtures("vasp_on_path")  # a level of theory holds the hashes of its POTCARs

FILES = sorted((Path(__file__).parents[3] / "configs" / "engines").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_file_is_an_engine(file):
    engine = get_engine(file)
    assert engine.level_of_theory()
    assert file.name.startswith(engine.type.replace("-", "_"))


def test_levels_differ():
    assert len({get_engine(file).level_id() for file in FILES}) == len(FILES) >= 4


def test_production_file_says_the_defaults():
    by_name = {file.stem: file for file in FILES}
    assert get_engine(by_name["gpaw"]) == GpawEngine()
    assert get_engine(by_name["vasp"]) == VaspEngine()
