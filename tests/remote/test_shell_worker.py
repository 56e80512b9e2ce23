"""A campaign through the queue of one workstation: no scheduler, but a real runner, database and worker processes."""

import json
from pathlib import Path

import pytest
from pymongo import MongoClient

from datastore import open_store
from datastore.queries import find
from tests.remote.campaigns import LABELS, again, of_kind, start
from tests.support.cluster import mongo
from tests.support.cluster.stack import Stack
from workflows.engines import get_engine

pytestmark = pytest.mark.remote

NAME = "desk"


@pytest.fixture(scope="module")
def desk():
    """The database only; workers are processes."""
    pytest.importorskip("jobflow_remote", reason="pip install 'spinmultinet-workflows[remote]'")
    if lacking := mongo.missing():
        pytest.skip("; ".join(lacking))
    servers = Stack()
    try:
        servers.mongo.start()
        yield servers
    finally:
        servers.stop()


def test_a_campaign_with_a_training_whose_files_travel(desk):
    """Each label once and right; the model comes home through the store of files; the folder of the training goes."""
    worker_map = desk.project("workstation", NAME, "--max-jobs", 2)
    desk.change_map(worker_map, shared={}, chunk=3)
    path = start(desk, NAME, worker_map)
    jobs = desk.wait(NAME)
    desk.end(NAME)

    labels = of_kind(jobs, "label")
    assert len(labels) == len({job["uuid"] for job in labels}) == LABELS
    with open_store(desk.uri(NAME)) as store:
        points = list(find(store))
        slim = [len(str(d)) for d in store.jobs.query({"metadata.kind": "training"})]
    assert len(points) == LABELS
    for point in points:
        expected = get_engine("spin-lattice").label(point.config())
        assert point.energy == pytest.approx(expected.energy, abs=1e-10)
    assert max(slim) < 2000

    (training,) = of_kind(jobs, "training")
    assert list(path.parent.glob("runs/tiny/generation_0/models/**/model.pt"))
    assert not Path(training["run_dir"]).exists()
    with MongoClient(desk.uri(NAME)) as client:
        stored = client[NAME]
        assert stored["remote_files.files"].count_documents({}) == 0, "copies that nothing asks for any more"
        assert stored["jobs"].count_documents({"metadata.kind": "staged"}) == 0
    told = json.loads(desk.spinmultinet("status", path, "--json", folder=path.parent))
    assert told["state"] == "finished"
    assert told["queue"]["failures"] == []

    said = again(desk, NAME, path, worker_map)
    assert f"{LABELS} spin-lattice calculations of NiO: {LABELS} accepted" in said
    assert len(desk.queue(NAME)) == len(jobs)
