"""Every source of candidates through the same checks."""

import json

import numpy as np
import pytest

from datastore.atoms import read_configs, write_configs
from datastore.metastable import state_key
from datastore.schema import SpinConfig
from tests.workflows.exploration.conftest import make_task, trained
from workflows.exploration import SOURCES, explore, sources
from workflows.exploration.starts import deformed
from workflows.structures import rocksalt
from workflows.structures.files import FileStructure

__all__ = ["make_task", "trained"]  # fixtures

SMALL = {
    "relaxations": {"steps": 4, "frames": 2},
    "dynamics": {"steps": 6, "interval": 3, "temperatures": [300.0], "max_spread": 1e6, "flips": 1},
    "spin_moves": {"count": 1, "steps": 10, "frames": 3},
    "decorations": {"count": 1, "compositions": True},
}
KINDS = {"relaxations": "relaxation", "dynamics": "md", "spin-moves": "spin-move", "files": "file"}
MODEL_FREE = {"deformations", "files"}


@pytest.fixture
def search(make_task):
    def searched(source, generation=1, **options):
        content = [] if source != "files" else [given().model_dump()]
        return make_task(source, generation=generation, **SMALL, content=content, files=["given.cif"], **options)

    return searched


def given() -> FileStructure:
    structure = rocksalt({"Mn": 0.5, "Ni": 0.5}, cell="all8")
    return FileStructure(
        label="given.cif",
        species=[site.specie.symbol for site in structure],
        lattice=(structure.lattice.matrix * 1.01).tolist(),
        fractional=structure.frac_coords.tolist(),
    )


@pytest.mark.parametrize("source", SOURCES)
def test_candidates_are_complete_documents(search, source, tmp_path, trained):
    task = search(source)
    assert source in sources(task.options)
    found, dropped = explore(task)
    assert found
    assert all(isinstance(n, int) and n > 0 for n in dropped.values())
    for config in found:
        assert SpinConfig(**config.model_dump()) == config
        assert (config.campaign, config.generation, config.moment_role) == ("search", 1, "guess")
        assert config.cell == "all8"
        assert config.ordering
        assert config.parent
        assert config.parent_lattice.shape == (3, 3)
        assert config.deformation != "none"
        assert len(config.pair_id) == 16
        assert {abs(m) for m in config.magmoms_in} <= {0.0, 2.5, 3.0}  # the campaign's estimates
        parameters = config.deformation_parameters
        assert json.loads(json.dumps(parameters)) == parameters
        if source not in MODEL_FREE:
            assert parameters["model_id"] == trained.model_id
        assert KINDS.get(source) in (None, config.deformation, parameters.get("before", {}).get("deformation"))
    assert len({c.config_id for c in found}) == len({state_key(c) for c in found}) == len(found)
    geometries = {c.pair_id: (c.lattice.tobytes(), c.positions.tobytes()) for c in found}
    assert all(geometries[c.pair_id] == (c.lattice.tobytes(), c.positions.tobytes()) for c in found)
    write_configs(tmp_path / "found.xyz", found)
    assert list(read_configs(tmp_path / "found.xyz")) == found


@pytest.mark.parametrize("source", SOURCES)
def test_the_same_task_gives_the_same_candidates(search, source):
    first, second = explore(search(source)), explore(search(source))
    assert first == second
    if source != "files":
        assert not {c.config_id for c in first[0]} & {c.config_id for c in explore(search(source, generation=2))[0]}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "split", [{"by": "ordering", "held_out": ["AFM-I"]}, {"by": "composition", "held_out": ["MnNiO2"]}]
)
def test_nothing_held_out_is_explored(search, source, split):
    found, _ = explore(search(source, split=split))
    assert not {c.ordering for c in found} & {"AFM-I"} if split["by"] == "ordering" else True
    assert not {c.formula for c in found} & {"MnNiO2"} if split["by"] == "composition" else True
    if split["by"] == "ordering":
        assert found


def test_starts_of_a_campaign_without_deformations_and_with_fixed_ones(search):
    for deformations in ([{"kind": "none"}], [{"kind": "tensile", "amplitude": [0.02, 0.02]}]):
        first, second = (
            deformed(search("relaxations", generation=n, structures={"deformations": deformations}), 2) for n in (1, 2)
        )
        assert len({c.pair_id for c in [*first, *second]}) == 2 * 2 * 2  # parents, geometries, generations
        assert all(not np.array_equal(c.lattice @ np.linalg.inv(c.parent_lattice), c.positions) for c in first)
