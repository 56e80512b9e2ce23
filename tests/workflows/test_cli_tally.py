"""What a run knows of itself beforehand."""

import pytest

from tests.support.cli import tiny_campaign
from workflows import structures
from workflows.campaign import load_campaign
from workflows.cli.tally import tally_of
from workflows.flows import CampaignMaker


def test_configurations_that_were_written_are_not_made_again(tmp_path, monkeypatch):
    """Making 30,000 takes half a minute, and each command on a cluster asks."""
    monkeypatch.chdir(tmp_path)
    options, engine = load_campaign(tiny_campaign(tmp_path, chunk=5))
    before = tally_of(options, engine, 2)
    slices = CampaignMaker(options, engine).first_slices()
    assert len(slices) > 1
    monkeypatch.setattr(structures, "generate", lambda *_: pytest.fail("they are made again"))
    after = tally_of(options, engine, 2)
    assert after.estimates == pytest.approx(before.estimates)
    assert {key: stage.planned for key, stage in after.stages.items()} == {
        key: stage.planned for key, stage in before.stages.items()
    }
    assert after.stages[("labels", 0)].planned == sum(len(slices.config_ids(at)) for at in range(len(slices)))
