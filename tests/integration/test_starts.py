"""A campaign whose labels end in the wrong spin state starts them again, and the lower state becomes the label.

The engine is the spin-lattice Hamiltonian, in which Co has a low-spin minimum above the high-spin one on crowded sites.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
import yaml

from datastore import open_store
from datastore.metastable import state_key
from datastore.quality import other_spin_state
from datastore.queries import find
from datastore.snapshot import load_snapshot
from datastore.verify import verify
from tests.integration.test_campaign import MODEL, ROOT
from workflows.campaign import load_campaign
from workflows.flows import CampaignMaker
from workflows.report import summarise
from workflows.report.summary import headline
from workflows.results import latest_evaluation
from workflows.submit import run_local

CAMPAIGN = {
    "name": "coo",
    "engine": {"type": "spin-lattice"},
    "structures": {
        "parents": [{"species": "Co", "lattice_constant": 4.29, "cell": "rhombohedral4"}],
        "orderings": ["FM", "AFM-II"],
        "magmoms": {"Co": 1.0},
        "deformations": [
            {"kind": "displacement", "count": 2, "amplitude": [0.02, 0.06]},
            {"kind": "volume", "count": 10, "amplitude": [0.86, 1.05], "displacement": 0.05},
        ],
        "seed": 2,
    },
    "split": {"fractions": [0.6, 0.15, 0.25], "min_test": 4},
    "committee": 2,
    "baseline": "",
    "active_learning": {"rounds": 1, "labels": 4, "candidates": 16},
    "starts": {"count": 2},
}


def write_campaign(folder: Path, **changes) -> Path:
    model = {**MODEL, "training": {**MODEL["training"], "epochs": 4}}
    (folder / "model.yaml").write_text(yaml.safe_dump(model))
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump({**CAMPAIGN, "model": "model.yaml", **changes}))
    return path


def run(campaign: Path, watch=None):
    with contextlib.chdir(campaign.parent), mock.patch.dict(os.environ, {"PYTHONPATH": str(ROOT)}):
        options, engine = load_campaign(campaign)
        flow = CampaignMaker(options, engine).make()
        return options, run_local(flow, options.store, Path(options.folder), workers=2, watch=watch)


def labels(campaign: Path):
    with open_store(f"local:{campaign.parent / 'runs' / 'coo' / 'store'}", create=False) as store:
        return list(find(store))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    campaign = write_campaign(tmp_path_factory.mktemp("starts"))
    options, result = run(campaign)
    return campaign, options, result


def test_labels_that_began_in_the_wrong_branch_are_found_lower(finished):
    campaign, _, _ = finished
    points = labels(campaign)
    wrong = [p for p in points if not p.start and other_spin_state(p)]
    assert len(wrong) >= 2
    by_id = {p.point_id: p for p in points}
    for point in wrong:
        ground = by_id[point.ground]
        assert ground.start == "high-spin"
        assert state_key(ground) == state_key(point)
        assert ground.verdict == "accepted"
        assert point.excitation * 4 == pytest.approx(point.free_energy - ground.free_energy)
        assert any(reason.startswith("metastable") for reason in point.verdict_reasons)
    assert sum(point.excitation > 0.001 for point in wrong) >= 2
    kept = [p for p in points if p.verdict == "accepted"]
    assert len({state_key(p) for p in kept}) == len(kept)


def test_only_suspects_are_started_again_and_each_says_why(finished):
    campaign, options, _ = finished
    points = labels(campaign)
    again = {state_key(p) for p in points if p.start}
    assert 0 < len(again) < len({state_key(p) for p in points})
    told = [json.loads(path.read_text()) for path in Path(options.folder).glob("generation_*/starts-*.json")]
    assert [t["generation"] for t in sorted(told, key=lambda t: t["generation"])] == [0, 1]
    by_id = {p.point_id: p for p in points}
    suspects = {suspect["point_id"] for t in told for suspect in t["suspects"]}
    assert {state_key(by_id[point_id]) for point_id in suspects} == again
    assert all(suspect["reason"] for t in told for suspect in t["suspects"])


def test_training_sets_hold_the_lower_state_once(finished):
    campaign, options, _ = finished
    points = {p.point_id: p for p in labels(campaign)}
    folders = [next(Path(options.folder).glob(f"generation_{g}/snapshot/*/*/snapshot.json")).parent for g in (0, 1)]
    for folder in folders:
        held = [points[name] for members in load_snapshot(folder).points.values() for name in members]
        assert len({state_key(p) for p in held}) == len(held)
        assert any(p.start for p in held)
        assert not any(p.ground for p in held)


def test_the_report_counts_them(finished):
    campaign, options, _ = finished
    with open_store(options.store) as store:
        summary = summarise(options, store, latest_evaluation(store, "coo"))
        assert verify(store).problems == []
    points = labels(campaign)
    lowered = sum(p.ground != "" and not p.start and p.excitation is not None for p in points)
    again = len({state_key(p) for p in points if p.start})
    assert (summary.counts.restarted, summary.counts.lowered) == (again, lowered)
    assert summary.counts.chosen == 4
    assert f"{again} of them were started again, {lowered} ended lower" in headline(summary)


def test_a_second_run_does_nothing(finished):
    campaign, _, first = finished
    _, second = run(campaign)
    assert (second.executed, second.reused) == (0, first.executed)


@pytest.mark.parametrize("changes", [{}, {"starts": None}], ids=["starts chosen anew", "a campaign without starts"])
def test_a_changed_campaign_trains_on_the_same_labels_and_calculates_none(finished, tmp_path, changes):
    """The lower states are in the store already, and are kept in place of the labels this campaign asks for."""
    whole, _, _ = finished
    shutil.copytree(whole.parent, tmp_path, dirs_exist_ok=True)
    campaign = write_campaign(tmp_path, active_learning={"rounds": 0}, committee=1, **changes)
    options, result = run(campaign)
    assert "label" not in result.executed_by_kind
    assert result.executed_by_kind["dataset" if changes else "starts"] == 1
    with open_store(options.store) as store:
        used = load_snapshot(latest_evaluation(store, "coo")["snapshot"])
    first = next(whole.parent.glob("runs/coo/generation_0/snapshot/*/*/snapshot.json")).parent
    assert {i for ids in used.points.values() for i in ids} == {
        i for ids in load_snapshot(first).points.values() for i in ids
    }


class StoppedError(Exception):
    """The user's Ctrl-C."""


def test_a_stopped_campaign_goes_on_to_the_same_end(finished, tmp_path):
    """Stopped after the decision, when the first further start is done: nothing is labelled twice."""
    whole, _, total = finished
    campaign = write_campaign(tmp_path)
    decided = []

    def watch(event):
        if event["kind"] != "done":
            return
        if event["type"] == "starts":
            decided.append(event["uuid"])
        if decided and event["type"] == "label":
            raise StoppedError

    with pytest.raises(StoppedError):
        run(campaign, watch)
    _, second = run(campaign)
    assert second.executed + second.reused == total.executed
    assert {p.point_id for p in labels(campaign)} == {p.point_id for p in labels(whole)}
    verdicts = [{p.point_id: (p.verdict, p.ground) for p in labels(c)} for c in (campaign, whole)]
    assert verdicts[0] == verdicts[1]
    entries = [json.loads(line) for line in (tmp_path / "runs/coo/calculations.jsonl").read_text().splitlines()]
    finished_labels = [e["uuid"] for e in entries if e["event"] == "done" and e["type"] == "label"]
    assert len(finished_labels) == len(set(finished_labels))


def test_where_nothing_is_suspect_the_campaign_goes_on(tmp_path):
    never = {"count": 1, "when": ["neighbours"], "energy": 9.0}
    campaign = write_campaign(tmp_path, starts=never, active_learning={"rounds": 0}, committee=1)
    _, result = run(campaign)
    assert (result.executed_by_kind["starts"], result.executed_by_kind["promote"]) == (1, 1)
    points = labels(campaign)
    assert not any(p.start for p in points)
    assert any(p.verdict_reasons and p.verdict_reasons[0].startswith("low spin") for p in points)
