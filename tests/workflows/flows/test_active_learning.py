"""The flow of a campaign before it runs: ids that follow from the work, and jobs that stored flows name."""

import json

import pytest
from jobflow import Flow
from monty.json import MontyDecoder, MontyEncoder

from tests.support.cli import tiny_campaign
from workflows.campaign import load_campaign
from workflows.flows import CampaignMaker
from workflows.flows import active_learning as flows
from workflows.jobs import evaluate
from workflows.submit import job_kind

PREVIOUS = {
    "generation": 0,
    "model_id": "m0",
    "members": [{"path": "/models/0", "sha256": "0" * 64}],
    "scores": {},
    "results": "/results.json",
    "snapshot": "/snapshot",
    "point_ids": ["a-b"],
    "selections": [],
}
"""Output of an evaluation as versions without honest tests and decisions have stored it."""


def maker(folder, **learning) -> CampaignMaker:
    folder.mkdir(exist_ok=True)
    options, engine = load_campaign(tiny_campaign(folder, active_learning={"rounds": 2, "labels": 2, **learning}))
    return CampaignMaker(options, engine)


def ids(flow: Flow) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for job, _ in flow.iterflow():
        found.setdefault(job_kind(job), []).append(job.uuid)
    return found


@pytest.mark.parametrize("change", [{"rounds": 5}, {"stop": {"labels": 99}}, {"labels": 7}], ids=str)
def test_an_edit_of_the_rounds_only_decides_anew(tmp_path, change):
    before, after = ids(maker(tmp_path).make()), ids(maker(tmp_path, **change).make())
    assert {kind for kind in before if before[kind] != after[kind]} == {"decide"}


def test_jobs_of_a_generation_in_their_order(tmp_path):
    kinds = [job_kind(job) for job, _ in maker(tmp_path).generation(1, [], ["a-b"], PREVIOUS).iterflow()]
    assert kinds == ["honest", "dataset", "train", "evaluate", "promote", "decide"]


def test_nothing_is_merged_before_the_honest_test(tmp_path):
    flow = maker(tmp_path).generation(1, [], ["a-b"], PREVIOUS)
    parents = {job_kind(job): above for job, above in flow.iterflow()}
    by_kind = ids(flow)
    assert by_kind["honest"][0] in parents["dataset"]
    assert by_kind["dataset"][0] in parents["train"]


def test_sources_are_asked_side_by_side(tmp_path):
    flow = maker(tmp_path, explore={"spin_moves": {}, "relaxations": {}}).exploration(1, PREVIOUS)
    jobs = {job.name: above for job, above in flow.iterflow()}
    explored = {"explore 1 deformations", "explore 1 relaxations", "explore 1 spin-moves"}
    assert set(jobs) == {*explored, "select 1"}
    assert all(not jobs[name] for name in explored)
    assert len(jobs["select 1"]) == 3


def test_a_campaign_without_baseline_is_concluded_all_the_same(tmp_path):
    with_baseline = maker(tmp_path)
    assert list(ids(with_baseline.conclusion(1, PREVIOUS))) == ["train", "conclude"]
    with_baseline.baseline = {}
    assert list(ids(with_baseline.conclusion(1, PREVIOUS))) == ["conclude"]


@pytest.mark.parametrize(
    "stored",
    [
        lambda m: flows.next_generation(m, 0, PREVIOUS),
        lambda m: flows.first_generation(m, []),
        lambda m: flows.further_starts(m, 0, ["a-b"], [], None),
        lambda m: evaluate.promote("local:store", "tiny", PREVIOUS),
        lambda m: evaluate.evaluate_committee(m.options, m.hypers, 0, {}, [], [], None, "/folder"),
    ],
    ids=["next_generation", "first_generation", "further_starts", "promote", "evaluate_committee"],
)
def test_jobs_in_flows_of_before_are_found_again(tmp_path, stored):
    job = stored(maker(tmp_path))
    text = json.dumps(job, cls=MontyEncoder)
    found = MontyDecoder().decode(text)
    assert found.function.original is job.function
    assert json.loads(text)["function"]["@module"] in ("workflows.flows.active_learning", "workflows.jobs.evaluate")


def test_a_stored_next_generation_explores(tmp_path):
    response = flows.next_generation.original(maker(tmp_path), 0, PREVIOUS)
    assert list(ids(response.addition)) == ["explore", "select"]
