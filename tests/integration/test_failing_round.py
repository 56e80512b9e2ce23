"""Rounds in which every calculation fails: the model stays the same one, and the campaign comes to its end."""

import contextlib
import json
import os
from pathlib import Path
from unittest import mock

import pytest

from datastore import open_store
from tests.support.cli import environment, in_this_process, tiny_campaign
from tests.support.counted_engine import Counted
from workflows.campaign import load_campaign
from workflows.flows import CampaignMaker
from workflows.results import outcome
from workflows.submit import run_local

pytestmark = pytest.mark.slow
FIRST = 12
PASSES = {"md_steps": 0, "structures": 1, "symmetry": 1.0}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Campaign file and last output of a campaign whose labels after the first generation all fail."""
    rounds = {"rounds": 2, "labels": 2, "candidates": 4, "select": {"rule": "farthest-point"}, "promote": PASSES}
    campaign = tiny_campaign(tmp_path_factory.mktemp("failing"), active_learning=rounds, baseline="")
    with contextlib.chdir(campaign.parent), mock.patch.dict(os.environ, environment()):
        options, _ = load_campaign(campaign)
        engine = Counted(log=str(campaign.parent / "engine.log"), fail_at=FIRST)
        result = run_local(CampaignMaker(options, engine).make(), options.store, Path(options.folder), workers=2)
    with open_store(options.store) as store:
        return campaign, options.store, outcome(store, result)


def test_the_model_stays_the_one_it_was(ended):
    _, uri, end = ended
    assert [entry["labels"] for entry in end["history"]] == [FIRST, FIRST + 2, FIRST + 4]
    assert len({entry["model_id"] for entry in end["history"]}) == 1
    with open_store(uri) as store:
        (record,) = store.get_models()
    assert (record.generation, record.parents, record.status) == (0, [], "champion")
    assert [json.loads(Path(path).read_text())["n"] for path in end["honest"]] == [0, 0]


def test_the_report_comes_to_an_end(ended):
    campaign, _, end = ended
    done = in_this_process(campaign.parent, "report", campaign.name)
    assert done.returncode == 0, done.stderr
    assert end["model_id"][:8] in Path(done.stdout.strip()).read_text()
