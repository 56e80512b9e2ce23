"""Campaigns whose tests could not be made are refused while nothing has been calculated."""

import pytest

from datastore import open_store
from datastore.snapshot import make_snapshot
from tests.support.cli import tiny_campaign
from workflows.campaign import CampaignError, load_campaign
from workflows.flows import CampaignMaker
from workflows.frozen_tests import first_tests
from workflows.structures import generate

MIXED = [{"species": species, "cell": "all8"} for species in ({"Mn": 0.5, "Ni": 0.5}, "Ni")]


def made(folder, held_out, **learning):
    split = {"by": "named", "held_out": held_out} if held_out else {}
    structures = {f"structures__{key}": value for key, value in learning.pop("structures", {}).items()}
    changes = {
        "structures__parents": MIXED,
        "structures__orderings": ["FM", "AFM-I"],
        "split": split | learning.pop("split", {}),
    }
    options, engine = load_campaign(tiny_campaign(folder, **changes | structures, active_learning=learning))
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


@pytest.mark.parametrize(
    ("held_out", "remedy"),
    [
        (["AFM-X"], r"no configuration is of AFM-X; did you mean AFM-I\?"),
        (["AFM-I", "NiO2"], r"no configuration is of NiO2; did you mean NiO\?"),
        (["Zr"], "no configuration is of Zr; name one of AFM-I, FM, Mn, MnNiO2, Ni, NiO, O"),
    ],
    ids=str,
)
def test_a_name_that_nothing_has(tmp_path, held_out, remedy):
    with pytest.raises(CampaignError, match=remedy):
        made(tmp_path, held_out)


def test_names_are_of_the_kind_that_the_split_is_by(tmp_path):
    for by, name in (("ordering", "NiO"), ("composition", "FM")):
        with pytest.raises(CampaignError, match=f"split.held_out: no configuration is of {name}"):
            made(tmp_path, [], split={"by": by, "held_out": [name]})


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"fractions": [0.9, 0.1, 0.0]}, r"split.fractions \[0.9, 0.1, 0\] and min_test 0 leave none of the 24 first"),
        ({"min_test": 500}, "500 labels for test cannot be set aside; lower min_test"),
        ({"by": "generation"}, "leaves 0 labels for test"),
    ],
    ids=str,
)
def test_no_labels_to_test_on(tmp_path, split, message):
    with pytest.raises(CampaignError, match=message):
        made(tmp_path, [], split=split)


def test_a_target_on_pairs_without_a_geometry_in_two_orderings(tmp_path):
    alone = {"paired": False, "deformations": [{"kind": "displacement", "count": 6, "amplitude": [0.02, 0.06]}]}
    target = {"targets": {"pairs": {"energy": 5}}}
    with pytest.raises(CampaignError, match=r"a target on pairs, and no geometry is tested in two.*paired: true"):
        made(tmp_path, [], structures=alone, stop=target)
    assert made(tmp_path, [], structures={**alone, "paired": True}, stop=target).jobs


def test_a_target_on_random_labels_where_all_that_is_tested_is_held_out(tmp_path):
    split = {"fractions": [0.9, 0.1, 0.0]}
    with pytest.raises(CampaignError, match="a target on random, and all that is tested is held out"):
        made(tmp_path, ["NiO"], split=split, stop={"targets": {"random": {"energy": 5}}})
    assert made(tmp_path, ["NiO"], split=split, stop={"targets": {"compositions": {"energy": 5}}}).jobs


def test_a_budget_below_the_first_labels(tmp_path):
    with pytest.raises(CampaignError, match=r"stop\.labels is 23, and the first labels are 24 already; raise it"):
        made(tmp_path, [], stop={"labels": 23})
    assert made(tmp_path, [], stop={"labels": 24}).jobs


def test_the_same_labels_are_tested_as_in_the_snapshot(tmp_path):
    options, engine = load_campaign(tiny_campaign(tmp_path))
    configs = list(generate(options.structures, options.name))
    with open_store("memory:") as store:
        for config in configs:
            store.put_point(engine.label(config))
        snapshot = make_snapshot(store, tmp_path / "snapshot", options=options.split)
    tested = {point_id.split("-")[0] for point_id in snapshot.points["test"]}
    assert first_tests(options, configs) == tested
