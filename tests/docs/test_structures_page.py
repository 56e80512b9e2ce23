"""The examples of docs/structures.md give what the page says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from pymatgen.core import Lattice, Structure

from workflows.structures import StructureOptions, TwinCount, enumerate_signs, generate, rocksalt
from workflows.structures.cells import CELLS
from workflows.structures.rocksalt import LATTICE_CONSTANTS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "structures.md").read_text()
EXAMPLES = [yaml.safe_load(body)["structures"] for body in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.M)]
PYTHON = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
MCIF = Path(__file__).resolve().parents[1] / "data" / "MnO.mcif"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with the structure files that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    nio = rocksalt("Ni", cell="rhombohedral4")
    bare = Structure(nio.lattice, nio.species, nio.frac_coords, site_properties={"magmom": [1.7, -1.7, 0, 0]})
    bare.to(filename="NiO.cif", fmt="cif")
    Path("mp.json").write_text(json.dumps([{"material_id": "mp-19009", "structure": bare.as_dict()}]))
    Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.87, 3.31), ["Mn", "F"], [[0, 0, 0], [0.305, 0.305, 0]]
    ).to(filename="MnF2.cif", fmt="cif")
    Path("MnO.mcif").write_text(MCIF.read_text())


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
@pytest.mark.usefixtures("files")
def test_examples_are_understood_and_give_configurations(number):
    assert list(generate(StructureOptions.model_validate(EXAMPLES[number])))


def example(word):
    """The one example that has ``word`` in it."""
    (found,) = [content for content in EXAMPLES if word in json.dumps(content)]
    return StructureOptions.model_validate(found)


@pytest.mark.usefixtures("files")
def test_files_have_the_orderings_asked_for():
    configs = list(generate(example("mp.json")))
    assert {c.formula for c in configs} == {"NiO", "MnO", "MnF2"}
    assert [c.ordering for c in configs if c.formula == "MnO"] == ["file"]
    assert [c.ordering for c in configs if c.formula == "MnF2"] == ["FM", "AFM[+-]"]


def test_twins_of_turned_spins_with_and_without_spin_orbit_coupling():
    options = example("spin_orbit")
    assert len(list(generate(options))) == 2
    assert len(list(generate(options.model_copy(update={"spin_orbit": False})))) == 1


def test_the_python_runs(capsys):
    (code,) = PYTHON
    names = {}
    exec(code, names)  # our own page
    assert isinstance(names["twins"], TwinCount)
    assert "AFM-II" in capsys.readouterr().out


def test_facts():
    assert {f"{symbol}O" for symbol in LATTICE_CONSTANTS} == set(
        re.search(r"Lattice constants are known\nfor (.*?)\.", PAGE)[1].replace(" and ", ", ").split(", ")
    )
    assert all(f"`{cell}`" in PAGE for cell in CELLS)
    large = rocksalt("Ni", cell="conventional_2x2x2")
    default, four = (len(list(enumerate_signs(large, np.arange(32), period))) for period in (None, 4))
    assert default == four
    collinear = {c.ordering for c in generate(example("mine"))}
    assert {"AFM-II", "mine", "AFM-I"} <= collinear
