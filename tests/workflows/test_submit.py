"""The local runner: parallel, resumable, nothing twice, failures contained."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from jobflow import Flow

from datastore import SpinConfig
from datastore.ingest import ingest
from tests.support import toy_jobs
from tests.support.counted_engine import Counted
from tests.support.lethal_engine import KillsItself
from workflows.engines import get_engine
from workflows.job_store import open_job_store
from workflows.jobs.label import label_job
from workflows.structures import apply_ordering, rocksalt
from workflows.submit import RunError, run_local

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def run(flow, place, workers=WORKERS, watch=None):
    return run_local(flow, f"local:{place / 'store'}", place / "files", workers, watch)


def ni_o() -> SpinConfig:
    return SpinConfig.from_structure(apply_ordering(rocksalt("Ni", cell="rhombohedral4"), "FM"), ordering="FM")


def scaled(number: int) -> SpinConfig:
    """One of several configurations."""
    return ni_o().model_copy(update={"magmoms_in": ni_o().magmoms_in * (1 + number / 10)})


def executions(log: Path) -> list[str]:
    return log.read_text().split("\n")[:-1] if log.exists() else []


def chain(log: Path, length: int, seconds: float = 0.0) -> Flow:
    jobs = []
    for value in range(length):
        after = jobs[-1].output if jobs else None
        jobs.append(toy_jobs.named(toy_jobs.count_up(str(log), value, after, seconds), str(value)))
    return Flow(jobs)


def test_runs_in_order_and_stores_outputs(place):
    log = place / "log"
    result = run(chain(log, 4), place)
    assert executions(log) == ["0", "1", "2", "3"]
    assert (result.executed, result.reused) == (4, 0)
    store = open_job_store(f"local:{place / 'store'}")
    assert sorted(d["output"] for d in store.query(properties=["output"])) == [1, 2, 3, 4]


def test_second_run_executes_nothing(place):
    log = place / "log"
    run(chain(log, 3), place)
    result = run(chain(log, 3), place)
    assert (result.executed, result.reused) == (0, 3)
    assert len(executions(log)) == 3


def test_independent_jobs_run_side_by_side(place):
    log = place / "log"
    flow = Flow([toy_jobs.named(toy_jobs.count_up(str(log), v, None, 2.0)) for v in range(2)])
    spans = {}

    def watch(event):
        if event["kind"] in ("started", "done"):
            spans.setdefault(event["uuid"], []).append(time.time())

    run(flow, place, workers=2, watch=watch)
    (a0, a1), (b0, b1) = spans.values()
    assert a0 < b1
    assert b0 < a1


def test_what_another_run_finishes_meanwhile_is_not_computed_again(place):
    """Two campaigns in one store at the same time: the second finishes a job that the first has yet to start."""
    engine = Counted(log=str(place / "log"))
    fm = ni_o()
    configs = [fm, fm.model_copy(update={"lattice": fm.lattice * 1.01})]
    jobs = [label_job(engine, config) for config in configs]
    events = []

    def watch(event):
        events.append(event)
        if event["kind"] == "started":
            (other,) = [config for config, job in zip(configs, jobs, strict=True) if job.uuid != event["uuid"]]
            run_local(Flow([label_job(engine, other)]), f"local:{place / 'store'}", place / "other", 1)

    result = run(Flow(jobs), place, workers=1, watch=watch)
    assert engine.calls() == 2
    assert (result.executed, result.reused) == (1, 1)
    assert [event["reused"] for event in events if event["kind"] == "done" and "reused" in event] == [True]
    assert sum(event["kind"] == "done" for event in events) == 2


def test_dynamic_flows_grow_and_are_found_again(place):
    log = place / "log"
    run(Flow([toy_jobs.grown(str(log), 2)]), place)
    expected = ["grow 2", "102", "grow 1", "101", "grow 0"]
    assert sorted(executions(log)) == sorted(expected)
    result = run(Flow([toy_jobs.grown(str(log), 2)]), place)
    assert (result.executed, result.reused) == (0, 5)
    assert len(executions(log)) == 5


def test_lost_addition_is_made_again(place):
    """Output written, added flow not: the window of a kill between the two writes."""
    log = place / "log"
    run(Flow([toy_jobs.grown(str(log), 1)]), place)
    store = open_job_store(f"local:{place / 'store'}")
    store.spin_store.flows.remove_docs({})
    run(Flow([toy_jobs.grown(str(log), 1)]), place)
    assert executions(log).count("101") == 1


def test_replace_runs_the_new_job(place):
    log = place / "log"
    run(Flow([toy_jobs.named(toy_jobs.replace_me(str(log)))]), place)
    assert executions(log) == ["50"]


def test_failed_job_stops_its_children_only(place):
    log = place / "log"
    bad = toy_jobs.named(toy_jobs.fail("no such thing; bring one"))
    child = toy_jobs.named(toy_jobs.count_up(str(log), 1, bad.output))
    other = toy_jobs.named(toy_jobs.count_up(str(log), 2))
    with pytest.raises(RunError, match="no such thing; bring one"):
        run(Flow([bad, child, other]), place)
    assert executions(log) == ["2"]


def test_of_many_failures_a_few_are_told(place):
    bad = [toy_jobs.named(toy_jobs.fail(f"thing {number} lacks")) for number in range(5)]
    with pytest.raises(RunError, match=r"and 2 more$") as raised:
        run(Flow(bad), place)
    assert str(raised.value).count("lacks") == 3


@pytest.mark.parametrize("disk_full", [False, True])
def test_where_the_machine_has_no_time_or_space_no_further_label_is_begun(place, disk_full):
    log, labelled = place / "log", place / "labels"
    engine = Counted(log=str(labelled), later_at=2, disk_full=disk_full)
    labels = [label_job(engine, scaled(number)) for number in range(6)]
    flow = Flow([*labels, toy_jobs.named(toy_jobs.count_up(str(log), 1))])
    said = "No space left on device" if disk_full else "the job ends"
    with pytest.raises(RunError, match=rf"{said}.*3 calculations were not begun; the same command continues") as raised:
        run(flow, place, workers=1)
    assert str(raised.value).count(said) == 1
    assert "TryLaterError" not in str(raised.value)
    assert engine.calls() == 2
    assert executions(log) == ["1"], "what calculates nothing goes on"
    labelled.write_text("many\n" * 9)
    assert run(flow, place, workers=1).executed == 4


def test_vanished_worker_is_an_error_and_the_rest_goes_on(place):
    log = place / "log"
    lost = toy_jobs.named(toy_jobs.die())
    others = [toy_jobs.named(toy_jobs.count_up(str(log), v)) for v in range(3)]
    with pytest.raises(RunError, match="signal 9"):
        run(Flow([lost, *others]), place, workers=1)
    assert sorted(executions(log)) == ["0", "1", "2"]


def test_vanished_label_worker_is_a_recorded_failure(place):
    config = ni_o()
    job = label_job(KillsItself(), config)
    result = run(Flow([job]), place, workers=1)
    assert result.executed_by_kind == {"label": 1}
    store = open_job_store(f"local:{place / 'store'}")
    (document,) = store.spin_store.jobs.query()
    assert document["output"]["error_type"] == "crashed"
    assert "signal 9" in document["output"]["error"]
    assert document["completed_at"]
    assert document["output"]["timings"]["wall"] > 0
    ledger = [json.loads(line) for line in (place / "files" / "calculations.jsonl").read_text().splitlines()]
    assert [entry["event"] for entry in ledger] == ["started", "done"]
    assert ledger[1]["seconds"] == pytest.approx(document["output"]["timings"]["wall"], rel=0.01)
    assert ingest(store.spin_store).failures == 1


def test_orderings_of_any_length_have_folders(place):
    """One sign per cation: longer than file systems take for a name."""
    config = ni_o().model_copy(update={"ordering": f"AFM[{'+-' * 200}]"})
    job = label_job(get_engine("spin-lattice"), config)
    assert len(job.name) < 150
    assert run(Flow([job]), place, workers=1).executed == 1
    (document,) = open_job_store(f"local:{place / 'store'}").spin_store.jobs.query()
    assert document["output"]["ordering"] == config.ordering
    assert document["output"]["verdict"] == "accepted"


def test_worker_that_vanishes_after_storing_loses_nothing(place):
    """The window between the output in the store and the answer to the parent."""
    job = label_job(KillsItself(after_storing=True), ni_o())
    result = run(Flow([job]), place, workers=1)
    assert result.executed == 1
    (document,) = open_job_store(f"local:{place / 'store'}").spin_store.jobs.query()
    assert document["output"] == {"stored": "before the end"}


def test_progress_events_arrive(place):
    seen = []
    run(
        Flow([toy_jobs.named(toy_jobs.slow_with_progress(6))]),
        place,
        watch=lambda e: seen.append(e) if e["kind"] == "progress" else None,
    )
    assert seen
    assert all(0 < event["fraction"] <= 1 for event in seen)


def test_workers_have_one_thread_each(place, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run(Flow([toy_jobs.named(toy_jobs.read_environment("OMP_NUM_THREADS"))]), place)
    (document,) = open_job_store(f"local:{place / 'store'}").query()
    assert document["output"] == "1"


def test_arguments_of_workers_do_not_tell_the_store(place):
    """Its URI may hold a password, and everybody on the machine can read the arguments of a process."""
    told = []

    def look(event):
        if event["kind"] == "started":
            ours = [path for path in Path("/proc").glob("[0-9]*") if parent_of(path) == os.getpid()]
            told.extend((path / "cmdline").read_bytes().decode().split("\0") for path in ours)

    run(chain(place / "log", 1), place, watch=look)
    workers = [arguments for arguments in told if "workflows.worker" in arguments]
    assert len(workers) == 1
    assert not [argument for argument in workers[0] if "store" in argument]


def parent_of(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


DRIVER = """
import sys
from pathlib import Path
from tests.workflows.test_submit import chain, run
from jobflow import Flow
from tests.support import toy_jobs
place = Path(sys.argv[1])
jobs = [toy_jobs.named(toy_jobs.count_up(str(place / "log"), v, None, 0.3)) for v in range(12)]
run(Flow(jobs), place)
"""


def test_kill_and_resume_executes_nothing_acknowledged_twice(place):
    """kill -9 of the driver: its workers die with it, and what was stored is not run again."""
    command = [sys.executable, "-c", DRIVER, str(place)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment)
    while len(executions(place / "log")) < 4:
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.6)
    stored = {d["uuid"] for d in open_job_store(f"local:{place / 'store'}").query(properties=["uuid"])}
    before = len(executions(place / "log"))
    time.sleep(0.6)
    assert len(executions(place / "log")) == before, "a worker went on without its parent"
    killed = events(place)
    assert 0 <= killed["started"].total() - killed["done"].total() <= WORKERS
    subprocess.run(command, env=environment, check=True)
    after = executions(place / "log")
    assert set(after) == {str(v) for v in range(12)}
    assert len(after) - before == 12 - len(stored)
    both = events(place)
    assert set(both["started"]) >= set(both["done"])
    assert max(both["done"].values()) == 1, "something was acknowledged twice"
    twice = both["started"].total() - len(both["started"])
    assert twice <= WORKERS, "more was begun again than was running when the driver was killed"


def events(place):
    """Event -> how often each uuid had it, in all runs so far."""
    found = defaultdict(Counter)
    for line in (place / "files" / "calculations.jsonl").read_text().splitlines():
        entry = json.loads(line)
        found[entry["event"]][entry["uuid"]] += 1
    return found
