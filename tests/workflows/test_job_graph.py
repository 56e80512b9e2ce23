"""What is ready, what waits and what can never run."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobflow import Flow, JobOrder, OutputReference
from monty.json import MontyEncoder

from tests.support import toy_jobs
from workflows.job_graph import JobGraph, OpenJob, jobs_in


def job(name, *parents, dynamic=False):
    return OpenJob(name, 1, name, "job", dynamic, frozenset(parents), "{}")


def graph_of(*jobs):
    graph = JobGraph()
    graph.add(jobs)
    graph.link()
    return graph


def ready(graph):
    return [job.uuid for job in graph.take_ready()]


def test_a_job_is_ready_once_all_it_refers_to_is_done():
    graph = graph_of(job("a"), job("b"), job("c", "a", "b"))
    assert ready(graph) == ["a", "b"]
    graph.done(("a", 1))
    assert ready(graph) == []
    graph.done(("b", 1))
    assert ready(graph) == ["c"]
    graph.done(("c", 1))
    assert not graph.jobs


def test_what_is_not_here_counts_as_done():
    assert ready(graph_of(job("a", "done long ago"))) == ["a"]


def test_a_replacement_is_waited_for():
    graph = graph_of(job("a"), job("b", "a"))
    ready(graph)
    second = OpenJob("a", 2, "a", "job", False, frozenset(), "{}")
    graph.add([second])
    graph.link()
    graph.done(("a", 1))
    assert ready(graph) == ["a"]
    graph.done(("a", 2))
    assert ready(graph) == ["b"]


def test_what_depends_on_a_failure_is_dropped_and_so_is_what_comes_later():
    graph = graph_of(job("a"), job("b", "a"), job("c", "b"), job("d"))
    assert ready(graph) == ["a", "d"]
    graph.failed(("a", 1))
    assert set(graph.jobs) == {("d", 1)}
    late = [job("e", "c"), job("f", "d")]
    graph.add(late)
    graph.link()
    graph.done(("d", 1))
    assert ready(graph) == ["f"]
    assert graph.dead == {"a", "b", "c", "e"}


def test_what_waits_for_a_job_elsewhere_stays_waiting():
    graph = graph_of(job("a"), job("b", "a"))
    (away,) = graph.take_ready()
    graph.leave(away.key)
    assert ready(graph) == []
    assert set(graph.jobs) == {("b", 1)}


@given(st.lists(st.sets(st.integers(0, 30)), max_size=30))
def test_every_job_is_ready_once_and_after_what_it_refers_to(wanted):
    jobs = [job(str(n), *(str(p) for p in parents if p < n)) for n, parents in enumerate(wanted)]
    graph = graph_of(*jobs)
    order = []
    while found := graph.take_ready():
        for one in found:
            order.append(one.uuid)
            graph.done(one.key)
    assert sorted(order) == sorted(one.uuid for one in jobs)
    place = {uuid: n for n, uuid in enumerate(order)}
    assert all(place[parent] < place[one.uuid] for one in jobs for parent in one.parents)


def test_thirty_thousand_jobs_take_a_moment():
    jobs = [job(str(n), *([str(n - 500)] if n >= 500 else [])) for n in range(30_000)]
    started = time.perf_counter()
    graph = graph_of(*jobs)
    while found := graph.take_ready():
        for one in found:
            graph.done(one.key)
    assert not graph.jobs
    assert time.perf_counter() - started < 5


def flow(**options):
    first = toy_jobs.named(toy_jobs.count_up("log", 1))
    second = toy_jobs.named(toy_jobs.count_up("log", 2, [first.output]))
    other = toy_jobs.named(toy_jobs.count_up("log", 3))
    other.update_metadata({"kind": "label", "dynamic": True}, dynamic=False)
    return Flow([Flow([first, second], **options), other])


def told(jobs):
    return {(j.uuid, j.index, j.name, j.kind, j.dynamic, j.parents) for j in jobs}


@pytest.mark.parametrize("order", list(JobOrder))
def test_a_flow_as_text_reads_as_the_flow_itself(order):
    made = flow(order=order)
    text = json.dumps(made, cls=MontyEncoder)
    assert told(jobs_in(text)) == told(jobs_in(made))
    for one in jobs_in(text):
        assert one.job().uuid == one.uuid
        assert json.loads(one.text())["uuid"] == one.uuid


def test_references_to_jobs_of_other_flows_count():
    """Chunks wait for labels that the chunk before has added."""
    one = toy_jobs.named(toy_jobs.count_up("log", 1, {"deep": [OutputReference("elsewhere")["x"]]}))
    (found,) = jobs_in(json.dumps(Flow([one]), cls=MontyEncoder))
    assert found.parents == {"elsewhere"}
