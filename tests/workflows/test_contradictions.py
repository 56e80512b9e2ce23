"""Campaigns whose rounds could not do what the file asks are refused when the file is read."""

import pytest

from tests.support.cli import assert_one_line, in_this_process, tiny_campaign
from workflows.campaign import CampaignError, CampaignOptions, load_campaign
from workflows.policy.rules import RULES

UNDEFORMED = [{"kind": "none"}]
MISTAKES = {
    "spread of one": ({"active_learning": {"select": {"rule": "spread"}}}, "committee: 1 has none; set committee: 3"),
    "threshold of one": ({"active_learning": {"select": {"rule": "threshold"}}}, "rule threshold needs the spread"),
    "nothing to decorate": ({"active_learning": {"explore": {"decorations": {}}}}, "needs a parent of mixed cations"),
    "gain of too many rounds": (
        {"active_learning": {"rounds": 2, "stop": {"min_gain": 0.01}}},
        "looks back patience: 2 rounds, and can end none of 2; lower patience",
    ),
    "empty source": (
        {"active_learning": {"explore": {"dynamics": None}}},
        "active_learning.explore.dynamics is empty; write dynamics: {} for the defaults",
    ),
    "content by hand": (
        {"active_learning": {"explore": {"content": []}}},
        "active_learning.explore.content is filled in from files; remove it",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_that_names_key_and_remedy(tmp_path, name):
    changes, part = MISTAKES[name]
    campaign = tiny_campaign(tmp_path, **changes)
    assert_one_line(in_this_process(tmp_path, "run", campaign.name), 2, "tiny.yaml: ", part)


def test_rounds_without_candidates_are_refused_before_a_run_and_can_be_looked_at(tmp_path):
    campaign = tiny_campaign(tmp_path, structures__deformations=UNDEFORMED)
    said = "campaign tiny: active_learning.rounds have no candidates, as all of structures.deformations"
    assert_one_line(in_this_process(tmp_path, "run", campaign.name), 2, said)
    assert not (tmp_path / "runs/tiny/calculations.jsonl").exists()
    assert in_this_process(tmp_path, "structures", campaign.name).returncode == 0


@pytest.mark.parametrize("rule", sorted(RULES))
def test_rules_that_a_single_model_can_follow(tmp_path, rule):
    single = tiny_campaign(tmp_path, active_learning={"select": {"rule": rule}})
    if rule in ("spread", "threshold"):
        with pytest.raises(CampaignError, match=r"or another rule .*max-det"):
            load_campaign(single)
        load_campaign(tiny_campaign(tmp_path, committee=2, active_learning={"select": {"rule": rule}}))
    else:
        load_campaign(single)


@pytest.mark.parametrize(
    "changes",
    [
        {"structures__deformations": UNDEFORMED, "active_learning": {"rounds": 0, "select": {"rule": "spread"}}},
        {"structures__deformations": UNDEFORMED, "active_learning": {"explore": {"relaxations": {}}}},
        {"active_learning": {"rounds": 3, "stop": {"min_gain": 0.01}}},
        {
            "structures__parents": [{"species": {"Mn": 0.5, "Ni": 0.5}, "cell": "all8"}],
            "active_learning": {"explore": {"decorations": {}}},
        },
    ],
    ids=["no rounds", "other source", "time to look back", "mixed"],
)
def test_what_can_be_done_is_accepted(tmp_path, changes):
    load_campaign(tiny_campaign(tmp_path, **changes))


def test_options_of_a_stored_flow_are_read_as_they_are(tmp_path):
    """They have every source in them, also those that were not asked for."""
    options, _ = load_campaign(tiny_campaign(tmp_path))
    assert CampaignOptions.model_validate(options.model_dump(mode="json")) == options
