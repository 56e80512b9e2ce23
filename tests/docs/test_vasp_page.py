"""docs/vasp.md and its tables: settings are understood, and every row is one of the tests' cases."""

import re
from pathlib import Path

import pytest
import yaml

from tests.support.vasp_mutations import HARMLESS, MUTATIONS
from workflows.campaign import load_campaign
from workflows.engines import get_engine

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "vasp.md").read_text()
ROOT = DOCS.parent


def first_cells(page: str) -> list[str]:
    """First cell of every row below the head of the first table."""
    rows = re.findall(r"^\| (.*?) \|", (DOCS / "results" / page).read_text(), re.MULTILINE)
    return rows[2:]


def test_the_engine_of_the_page_runs_a_campaign(vasp_on_path, tmp_path):
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    stated = yaml.safe_load(block)["engine"]
    engine = get_engine(stated)
    assert engine.missing() == []
    assert engine.cores() == 16
    campaign = yaml.safe_load((ROOT / "configs/campaigns/quickstart_nio.yaml").read_text()) | {"engine": stated}
    for key in ("model", "baseline"):
        campaign[key] = str(ROOT / campaign[key])
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(campaign))
    _, chosen = load_campaign(tmp_path / "campaign.yaml")
    assert chosen.level_id() == engine.level_id()


def test_defaults_are_those_of_the_page_and_of_the_file(vasp_on_path):
    stated = yaml.safe_load((ROOT / "configs/engines/vasp.yaml").read_text())
    assert get_engine(stated) == get_engine("vasp")
    tags = get_engine("vasp").tags()
    told = {"ENCUT": 520, "LASPH": True, "LMAXMIX": 4, "LORBIT": 11, "ISYM": 0, "EDIFF": 1e-6, "ISTART": 0, "ICHARG": 2}
    assert {tag: tags[tag] for tag in told} == told
    for text in ("520 eV", "LMAXMIX 4", "LORBIT 11", "ISYM 0", "EDIFF 1e-6", "ISTART 0, ICHARG 2"):
        assert text in PAGE


@pytest.mark.parametrize("tag", ["MAGMOM", "LDAUU", "ISPIN", "NSW", "KSPACING"])
def test_tags_that_the_page_says_are_refused_are(tag, vasp_on_path):
    with pytest.raises(ValueError, match=tag):
        get_engine({"type": "vasp", "incar": {tag: 1}})


def test_the_table_of_mutations_is_that_of_the_tests():
    assert first_cells("vasp-inputs.md") == [mutation.name for mutation in MUTATIONS]
    page = (DOCS / "results" / "vasp-inputs.md").read_text()
    assert f"{len(MUTATIONS)} of {len(MUTATIONS)} changes are caught" in page
    assert f"{len(HARMLESS)} of {len(HARMLESS)} other ways" in page
    assert f"[{len(MUTATIONS)} of {len(MUTATIONS)} mutations]" in PAGE
