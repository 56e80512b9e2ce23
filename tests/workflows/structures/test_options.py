"""What may stand in a campaign: mistakes in new options are one line each, and unused options leave no trace."""

import json

import pytest
from pymatgen.core import Lattice, Structure

from workflows.options import parse_options
from workflows.structures import ParentOptions, StructureError, StructureOptions, generate

BASE = {
    "parents": [{"species": "Ni", "cell": "rhombohedral4"}],
    "orderings": ["FM", "AFM-II"],
    "deformations": [{"kind": "none"}],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parents": [{}]}, "either species or file"),
        ({"parents": [{"species": "Ni", "file": "a.cif"}]}, "either species or file"),
        ({"parents": [{"species": "Ni", "supercell": [1, 1, 2]}]}, "supercell does not go with species"),
        ({"parents": [{"file": "a.cif", "cell": "primitive"}]}, "cell does not go with file"),
        ({"parents": [{"species": "Ni", "decoration": "B1"}]}, "decoration 'B1' is unknown"),
        ({"orderings": [{"kind": "helix"}]}, "orderings.0: kind is missing or unknown; use enumerate"),
        ({"orderings": [{"q": [0, 0, 1]}]}, "kind is missing or unknown; use enumerate"),
        ({"orderings": [3]}, "kind is missing or unknown"),
        ({"orderings": [{"kind": "spiral", "q": [0, 0]}]}, "orderings.0.spiral.q"),
        ({"orderings": [{"kind": "spiral", "q": [0, 0, float("nan")]}]}, "should be a finite number"),
        ({"orderings": [{"kind": "enumerate", "net_moment": float("inf")}]}, "should be a finite number"),
        ({"orderings": [{"kind": "spiral", "q": [0, 0, "x"]}]}, "'x' is no number; write 0.25 or 1/4"),
        ({"orderings": [{"kind": "spiral", "q": [0, 0, 1], "axis": [0, 0, 0]}]}, "has no length"),
        ({"orderings": [{"kind": "spiral", "q": [0, 0, 1], "axes": [0, 0, 1]}]}, "did you mean 'axis'"),
        ({"orderings": [{"kind": "canted", "base": "AFM-9", "angle": 5}]}, "'AFM-9' is unknown"),
        ({"orderings": [{"kind": "cone", "q": [0, 0, 1], "angle": 120}]}, "less than or equal to 90"),
        ({"orderings": [{"kind": "ferrimagnetic", "signs": {"Ni": 2}}]}, "1 or -1"),
        ({"orderings": [{"kind": "random"}, {"kind": "random"}]}, "listed twice"),
        ({"moment_role": "held"}, "'guess' or 'constraint'"),
        ({"signs": {"file": [1, 1]}}, "file is a built-in ordering"),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises(StructureError, match=message) as error:
        parse_options(StructureOptions, {**BASE, **changes}, "campaign.yaml", StructureError)
    assert "\n" not in str(error.value)


def test_unused_options_are_left_out_of_documents_so_that_job_ids_stay():
    content = StructureOptions.model_validate(BASE).model_dump(mode="json")
    assert set(content) == {"parents", "orderings", "magmoms", "deformations", "seed", "paired", "signs"}
    assert set(content["parents"][0]) == {"species", "lattice_constant", "cell", "seed", "orderings"}


def test_options_go_through_json_unchanged():
    options = StructureOptions.model_validate(
        {
            **BASE,
            "parents": [{"species": {"Ni": 0.5, "Mn": 0.5}, "decoration": "L1_0"}, {"file": "x.cif", "index": 2}],
            "orderings": ["file", {"kind": "spiral", "q": ["1/3", 0, 0]}, {"kind": "enumerate", "net_moment": 0}],
            "moment_role": "constraint",
        }
    )
    assert StructureOptions.model_validate_json(options.model_dump_json()) == options
    assert StructureOptions.model_validate(json.loads(options.model_dump_json())) == options


def test_moments_of_elements_in_no_file_are_noticed(tmp_path):
    path = tmp_path / "feo.json"
    path.write_text(Structure(Lattice.cubic(4.3), ["Fe", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to_json())
    options = {**BASE, "parents": [{"file": str(path)}], "orderings": ["FM"]}
    with pytest.raises(StructureError, match="Mn is in no parent"):
        generate(StructureOptions.model_validate({**options, "magmoms": {"Fe": 4, "Mn": 4}}))
    with pytest.raises(StructureError, match=r"has a moment \(Fe, O\); give one in magmoms"):
        generate(StructureOptions.model_validate(options))
    with pytest.raises(StructureError, match="AFM-II is an ordering of rocksalt oxides, but"):
        generate(StructureOptions.model_validate({**options, "orderings": ["AFM-II"], "magmoms": {"Fe": 4}}))
    with pytest.raises(StructureError, match="holds no moments"):
        generate(StructureOptions.model_validate({**options, "orderings": ["file"], "magmoms": {"Fe": 4}}))


def test_a_parent_is_what_it_was():
    assert ParentOptions(species="Ni").cell == "all8"
