"""Parents: by species or from a file, and which elements they hold."""

import json

import pytest
from pymatgen.core import Structure

from workflows.structures import ParentOptions, StructureError, rocksalt
from workflows.structures.parents import parent_elements, parent_structures


def test_a_species_gives_the_one_cell_that_rocksalt_makes():
    options = ParentOptions(species={"Ni": 0.5, "Mn": 0.5}, cell="all8", seed=2, decoration="L1_1")
    (found,) = parent_structures(options)
    assert found == rocksalt({"Ni": 0.5, "Mn": 0.5}, cell="all8", seed=2, decoration="L1_1")
    assert found.properties["parent"].startswith("MnNiO2-all8-")


def test_a_file_gives_all_its_structures(tmp_path):
    oxides = [rocksalt(symbol, cell="primitive") for symbol in ("Ni", "Mn")]
    documents = [Structure(s.lattice, s.species, s.frac_coords).as_dict() for s in oxides]
    path = tmp_path / "two.json"
    path.write_text(json.dumps(documents))
    options = ParentOptions(file=str(path))
    assert [s.composition.reduced_formula for s in parent_structures(options)] == ["NiO", "MnO"]
    assert parent_elements(options) == {"Ni", "Mn", "O"}
    assert parent_elements(ParentOptions(file=str(path), index=1)) == {"Mn", "O"}
    with pytest.raises(StructureError, match="no such file"):
        parent_structures(ParentOptions(file=str(tmp_path / "none.cif")))


def test_elements_of_a_mixture_include_the_anion():
    assert parent_elements(ParentOptions(species={"Ni": 0.5, "Co": 0.5}, decoration="sqs")) == {"Ni", "Co", "O"}
