"""The pool that active learning chooses from."""

import json

import pytest
from pymatgen.core import Structure

from workflows.campaign import CampaignOptions
from workflows.jobs.select import _pool
from workflows.structures import rocksalt


@pytest.fixture
def campaign(tmp_path):
    def made(parent: dict, candidates: int) -> CampaignOptions:
        structures = {
            "parents": [parent],
            "orderings": ["FM"],
            "deformations": [{"kind": kind, "amplitude": [0.01, 0.05]} for kind in ("displacement", "tensile")],
        }
        content = {"name": "pool", "engine": "spin-lattice", "structures": structures}
        return CampaignOptions.model_validate({**content, "active_learning": {"candidates": candidates}})

    return made


def test_candidates_are_shared_among_the_structures_of_a_file(campaign, tmp_path):
    cells = [rocksalt("Ni", 4.1 + 0.02 * number, "primitive") for number in range(5)]
    documents = [Structure(s.lattice, s.species, s.frac_coords).as_dict() for s in cells]
    (tmp_path / "five.json").write_text(json.dumps(documents))
    many = {"file": str(tmp_path / "five.json")}
    assert len(_pool(campaign(many, 40), 1)) == 40
    assert len(_pool(campaign({**many, "index": 2}, 40), 1)) == 40
    assert len(_pool(campaign({"species": "Ni", "cell": "primitive"}, 40), 1)) == 40
    assert len(_pool(campaign(many, 4), 1)) == 10  # never less than one of each kind per structure
