"""Jobs that a run hands over to somewhere else, such as the queue of a cluster."""

from pathlib import Path

import pytest
from jobflow import Flow

from tests.support import toy_jobs
from workflows.job_store import open_job_store
from workflows.submit import RunError, run_local

ROOT = Path(__file__).resolve().parents[2]


class Queue:
    """Takes jobs of one kind, and remembers which."""

    def __init__(self, refused=()):
        self.given, self.refused = [], refused

    def takes(self, job):
        return job.metadata.get("kind") == "heavy"

    def give(self, jobs):
        self.given.append([job.uuid for job in jobs])
        return {job.uuid: "its worker is broken" for job in jobs if job.uuid in self.refused}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def heavy(log: Path, value: int):
    new = toy_jobs.named(toy_jobs.count_up(str(log), value), str(value))
    new.update_metadata({"kind": "heavy"}, dynamic=False)
    return new


def flow(log: Path):
    """One light job on its own, two heavy ones, and one that needs both."""
    first, second = heavy(log, 10), heavy(log, 20)
    last = toy_jobs.named(toy_jobs.count_up(str(log), 3, [first.output, second.output]))
    return Flow([toy_jobs.named(toy_jobs.count_up(str(log), 1)), first, second, last]), [first, second]


def run(made, place, queue, events=None):
    watch = None if events is None else events.append
    return run_local(made, f"local:{place / 'store'}", place / "files", 1, watch, queue)


def done(log: Path):
    return log.read_text().split() if log.exists() else []


def test_light_jobs_run_and_heavy_ones_are_handed_over_together(place):
    made, leaving = flow(place / "log")
    queue, events = Queue(), []
    result = run(made, place, queue, events)
    assert done(place / "log") == ["1"]
    assert queue.given == [[job.uuid for job in leaving]]
    assert (result.executed, result.away) == (1, 2)
    assert [event["kind"] for event in events if event["kind"] not in ("tick", "added")] == ["started", "done"]


def test_what_came_back_is_taken_in_and_the_run_goes_on(place):
    made, leaving = flow(place / "log")
    run(made, place, Queue())
    store = open_job_store(f"local:{place / 'store'}")
    for job in leaving:
        job.run(store)
    queue = Queue()
    result = run(flow(place / "log")[0], place, queue)
    assert queue.given == []
    assert (result.executed, result.reused, result.away) == (1, 3, 0)
    assert done(place / "log") == ["1", "10", "20", "3"]


def test_heavy_jobs_of_a_flow_that_grows_are_handed_over_too(place):
    """The first is ready at once, the second after a light job."""
    before = toy_jobs.named(toy_jobs.count_up(str(place / "log"), 1))
    first, second = heavy(place / "log", 10), heavy(place / "log", 20)
    second.function_kwargs["after"] = before.output
    queue = Queue()
    result = run(Flow([before, first, second]), place, queue)
    assert queue.given == [[first.uuid], [second.uuid]]
    assert result.away == 2


def test_a_job_that_is_refused_counts_as_failed(place):
    made, (first, second) = flow(place / "log")
    queue = Queue(refused=[first.uuid])
    with pytest.raises(RunError, match="count_up: its worker is broken"):
        run(made, place, queue)
    assert queue.given == [[first.uuid, second.uuid]]
    assert done(place / "log") == ["1"]
