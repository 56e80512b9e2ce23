"""Campaigns through a real Slurm: each label once, where the map says, with the numbers of a run without a queue."""

import numpy as np
import pytest

from datastore import open_store
from datastore.queries import find
from tests.remote.campaigns import LABELS, again, of_kind, scheduled, start
from workflows.engines import get_engine

pytestmark = pytest.mark.remote


def check_labels(stack, name, number):
    """As many as there are, each as the engine gives it in this process."""
    with open_store(stack.uri(name)) as store:
        points = list(find(store))
        assert store.failures.count() == 0
    assert len(points) == number
    for point in points:
        expected = get_engine("spin-lattice").label(point.config())
        assert point.energy == pytest.approx(expected.energy, abs=1e-10)
        assert point.verdict == expected.verdict
        np.testing.assert_allclose(point.forces, expected.forces, atol=1e-10)


def check_trainings(stack, jobs, number):
    """On the partition with the GPU, which they were given, each to its end."""
    trainings = of_kind(jobs, "training")
    assert len(trainings) == number
    for job in scheduled(stack, trainings):
        assert (job["Partition"], job["TresPerNode"]) == ("gpu", "gres:gpu:1")


def test_labels_and_retraining_on_the_cluster_of_this_host(stack):
    """A round of active learning: the model is trained, chooses labels, and is trained again with them."""
    worker_map = stack.change_map(stack.project("slurm", "here"), pilot={"worker": "pilot", "sites": 1})
    path = start(stack, "here", worker_map, active_learning__rounds=1, active_learning__labels=2)
    jobs = stack.wait("here")
    labels = of_kind(jobs, "label")
    assert {job["worker"] for job in labels} == {"cpu"}
    assert {job["Partition"] for job in scheduled(stack, labels)} == {"cpu"}
    assert len({job["remote"]["process_id"] for job in labels}) == LABELS + 2
    check_labels(stack, "here", LABELS + 2)
    check_trainings(stack, jobs, 2)
    said = again(stack, "here", path, worker_map)
    assert "10 spin-lattice calculations of NiO: 10 accepted, 0 rejected, 0 failed" in said
    assert len(stack.queue("here")) == len(jobs)
    stack.end("here")


def test_cluster_over_ssh_through_a_jump_host(stack):
    """Nothing of the campaign's folder is seen there: snapshot and checkpoint travel."""
    jump = ("--jump", f"root@127.0.0.1:{stack.sshd.port}")
    worker_map = stack.change_map(stack.project("ssh", "far", *jump), pilot={"worker": "cluster_pilot", "sites": 1})
    path = start(stack, "far", worker_map)
    jobs = stack.wait("far")
    assert {job["worker"] for job in of_kind(jobs, "label")} == {"cluster_cpu"}
    assert {job["Partition"] for job in scheduled(stack, of_kind(jobs, "label"))} == {"cpu"}
    check_labels(stack, "far", LABELS)
    check_trainings(stack, jobs, 1)
    assert list(path.parent.rglob("model.pt"))
    stack.end("far")


def test_small_labels_share_a_pilot_job(stack):
    worker_map = stack.project("slurm", "shared")
    start(stack, "shared", worker_map)
    labels = of_kind(stack.wait("shared"), "label")
    assert {job["worker"] for job in labels} == {"pilot"}
    check_labels(stack, "shared", LABELS)
    assert len({job["remote"]["process_id"] for job in labels}) < len(labels)
    assert {job["Partition"] for job in scheduled(stack, labels)} == {"cpu"}
    stack.end("shared")
