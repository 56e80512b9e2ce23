"""How campaigns stand, with their file and without."""

import json

from datastore import open_store
from tests.support.cli import tiny_campaign
from workflows.serve.overview import overviews, stamp, tally
from workflows.serve.places import find_projects

from .conftest import HOSTILE, extra_label


def test_labels_are_counted_by_round_and_outcome(shown):
    with open_store(shown[0].options.store, readonly=True) as store:
        found = tally(store)
        assert found["nio"].generations == {0: {"accepted": 20, "rejected": 1, "failed": 0}}
        assert found["nio"].total("accepted", "failed") == 20
        assert found["nio"].total() == 21
        assert found[HOSTILE].total("rejected") == 1


def test_a_store_tells_its_campaigns_and_their_models(shown):
    (project,) = find_projects([str(shown[0].folder)])
    with open_store(project.uri, readonly=True) as store:
        one = next(o for o in overviews(project, store) if o.campaign == "nio")
    assert one.state == "no file here"
    assert one.share is None
    assert [row.model_id for row in one.errors] == ["good"]
    assert one.errors[0].tests["random"]["energy"] > 0


def test_the_log_of_runs_tells_jobs_by_kind(shown, tmp_path):
    folder = tmp_path / "logged"
    with open_store(f"local:{folder}/store") as store:
        store.put_point(extra_label(shown[0], 6))
        lines = [("label", "a", "started"), ("label", "a", "done"), ("label", "b", "failed"), ("train", "c", "started")]
        events = [{"time": 1.0, "event": event, "type": kind, "job": kind, "uuid": uuid} for kind, uuid, event in lines]
        (folder / "calculations.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        (one,) = overviews(find_projects([str(folder)])[0], store)
    assert one.jobs["label"] == {"done": 1, "failed": 1, "running": 0, "waiting": 0}
    assert one.jobs["train"] == {"done": 0, "failed": 0, "running": 0, "waiting": 1}  # nothing is at work any more


def test_a_campaign_that_was_not_begun(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (project,) = find_projects([str(tiny_campaign(tmp_path))])
    (one,) = overviews(project, None)
    assert (one.campaign, one.state, one.share) == ("tiny", "not started", 0.0)
    assert one.jobs["label"]["waiting"] == 12


def test_the_stamp_changes_when_a_label_arrives(shown, tmp_path):
    with open_store(f"local:{tmp_path}/s") as store, open_store(f"local:{tmp_path}/s", readonly=True) as reader:
        before = stamp(reader)
        store.put_point(extra_label(shown[0], 7))
        assert stamp(reader) != before
        assert stamp(reader) == stamp(store)
