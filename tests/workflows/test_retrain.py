"""The driver of retrainings where nothing has to be trained: unfinished work, notifications, the lock, a lost lock."""

import contextlib
import json
import sys
from pathlib import Path

import pytest

from datastore import open_store
from datastore.locks import LockLostError
from datastore.registry import promote
from datastore.retrainings import retrainings
from tests.support.cli import tiny_campaign
from tests.workflows.test_retrain_state import model, point, retraining, snapshot
from workflows.campaign import CampaignError, load_campaign
from workflows.campaign_lock import campaign_lock
from workflows.retrain import look, retrain
from workflows.run_lock import BusyError


@pytest.fixture
def campaign(tmp_path):
    """Options, engine and store of a campaign called nio, whose model has seen both labels there are."""
    keep = "import sys; open('told.jsonl', 'a').write(sys.stdin.read() + '\\n')"
    notify = {"notify": [sys.executable, "-c", keep]}
    tiny_campaign(tmp_path, name="nio", active_learning={"retrain": notify})
    with contextlib.chdir(tmp_path):
        options, engine = load_campaign(Path("tiny.yaml"))
        with open_store(options.store) as store:
            yield options, engine, store


def with_model(store):
    for number in range(2):
        store.put_point(point(number))
    snapshot(store, "s1", [0, 1])
    model(store, "m1", "s1")
    promote(store, "nio", "m1", "tester", ["first"], "")


def test_without_a_model(campaign):
    options, engine, _ = campaign
    assert look(options).survey is None
    assert not look(options).has_work
    with pytest.raises(CampaignError, match="no model in use yet"):
        retrain(options, engine)


def test_what_cannot_be_continued_is_closed_and_nothing_is_run(campaign):
    options, engine, store = campaign
    with_model(store)
    retraining(store, "")  # of another fingerprint
    assert look(options).why[0].endswith("was interrupted")
    done = retrain(options, engine)
    assert (done.record, done.problems) == (None, [])
    (record,) = retrainings(store, "nio")
    assert (record.outcome, record.reasons) == ("abandoned", ["the campaign file was changed on the way"])
    assert not look(options).has_work
    assert not Path("told.jsonl").exists()
    assert not (Path(options.folder) / "calculations.jsonl").exists()


def test_everybody_is_told_once_of_what_a_killed_process_did_not_tell(campaign):
    options, engine, store = campaign
    with_model(store)
    retraining(store, "refused")
    assert look(options).has_work
    retrain(options, engine)
    retrain(options, engine)
    (told,) = [json.loads(line) for line in Path("told.jsonl").read_text().splitlines()]
    assert (told["campaign"], told["outcome"], told["champion"]) == ("nio", "refused", "m1")
    assert not look(options).has_work


def test_one_at_a_time(campaign):
    options, engine, store = campaign
    with_model(store)
    with campaign_lock(options, "spinmultinet run"), pytest.raises(BusyError):
        retrain(options, engine)


def test_a_lock_that_is_lost_on_the_way_ends_the_retraining(campaign):
    options, engine, store = campaign
    with_model(store)

    def steal(event):
        store.locks.update({**store.locks.query_one({}), "token": "of somebody else"})

    with pytest.raises(LockLostError, match="the lock of campaign nio was lost"):
        retrain(options, engine, "by hand", 1, steal)
    assert retrainings(store, "nio") == []
