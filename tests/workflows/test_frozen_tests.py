"""Campaigns whose tests could not be made are refused while nothing has been calculated."""

import pytest

from tests.support.cli import tiny_campaign
from workflows.campaign import CampaignError, load_campaign
from workflows.flows import CampaignMaker

MIXED = [{"species": species, "cell": "all8"} for species in ({"Mn": 0.5, "Ni": 0.5}, "Ni")]


def made(folder, held_out, **learning):
    split = {"by": "named", "held_out": held_out} if held_out else {}
    changes = {"structures__parents": MIXED, "structures__orderings": ["FM", "AFM-I"], "split": split}
    options, engine = load_campaign(tiny_campaign(folder, **changes, active_learning=learning))
    return CampaignMaker(options, engine).make()


@pytest.mark.parametrize("held_out", [["NiO"], ["AFM-I", "NiO"], []], ids=str)
def test_what_models_can_predict_is_accepted(tmp_path, held_out):
    assert made(tmp_path, held_out).jobs


@pytest.mark.parametrize("held_out", [["MnNiO2"], ["Mn"]], ids=str)
def test_an_element_that_is_never_trained_on(tmp_path, held_out):
    with pytest.raises(CampaignError, match=r"leaves no label of Mn to train on.*hold out a mixture"):
        made(tmp_path, held_out)


@pytest.mark.parametrize(
    ("test", "held_out"), [("orderings", ["NiO"]), ("compositions", ["AFM-I"]), ("orderings", [])], ids=str
)
def test_a_target_on_tests_that_are_not_there(tmp_path, test, held_out):
    with pytest.raises(CampaignError, match=f"has a target on {test}.*name one in split"):
        made(tmp_path, held_out, stop={"targets": {test: {"energy": 5}}})
    assert made(tmp_path, held_out, stop={"targets": {"random": {"energy": 5}}}).jobs
