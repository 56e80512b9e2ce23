"""Readers that die, hang or take too much memory cost one task; answers come in order."""

import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import orjson
import pytest

from workflows.processes import descendants
from workflows.vasp_import import pool
from workflows.vasp_import.pool import ReaderError, Task, read_all


def folder_task(folder, number=0):
    files = [[path.name, path.name] for path in sorted(folder.iterdir())]
    return Task(
        number, {"origin": "x", "folder": str(folder), "suffix": "", "files": files, "root": str(folder.parent)}
    )


@pytest.fixture
def children():
    """The processes that this one has started since the test began; others may be left of earlier tests."""
    before = set(descendants())
    return lambda: [process for process in descendants() if process not in before]


@pytest.fixture
def hanging():
    """A task whose reader waits for a database that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"mongodb://127.0.0.1:{server.getsockname()[1]}/db?collection=c"
        yield lambda number=0: Task(number, {"origin": "x", "uri": uri, "key": '"a"'})


def test_answers_come_in_the_order_of_the_tasks(finished, children):
    folders = [finished(name) for name in ("relaxed", "static", "no_lorbit", "version_5")]
    known = Task("known", None, {})
    tasks = [folder_task(folder, number) for number, folder in enumerate(folders * 3)]
    done = list(read_all([*tasks[:5], known, *tasks[5:]], 2, 60))
    assert [task.item for task in done] == [0, 1, 2, 3, 4, "known", *range(5, 12)]
    assert [len(task.answer["points"]) for task in done if task.item != "known"] == [1, 1, 0, 1] * 3
    assert done[2].answer["refused"][0][0] == "no moments"
    assert not children()


def test_a_task_that_takes_too_long_is_refused_and_the_others_go_on(finished, hanging):
    tasks = [folder_task(finished("static"), 0), hanging(1), folder_task(finished("static"), 2)]
    done = list(read_all(tasks, 1, 1.5))
    assert [len(task.answer["points"]) for task in done] == [1, 0, 1]
    ((reason, detail),) = done[1].answer["refused"]
    assert reason == "too slow"
    assert "1.5 s" in detail


def test_a_reader_that_dies_costs_its_task(finished, hanging, children):
    def kill():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if started.is_set() and (readers := children()):
                time.sleep(0.5)  # it has the hanging task by now
                os.kill(readers[0], signal.SIGKILL)
                return
            time.sleep(0.01)

    started = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    results = []
    for task in read_all([folder_task(finished("static")), hanging(), folder_task(finished("static"))], 1, 60):
        results.append(task.answer)
        started.set()
    killer.join()
    assert [len(answer["points"]) for answer in results] == [1, 0, 1]
    ((reason, detail),) = results[1]["refused"]
    assert (reason, detail) == ("reader died", "its reader ended with signal 9")


def test_a_stopped_iteration_leaves_no_process(finished, children):
    tasks = (folder_task(finished("static"), number) for number in range(1000))
    iteration = read_all(tasks, 2, 60)
    next(iteration)
    assert len(children()) == 2
    iteration.close()
    assert not children()


def test_readers_that_cannot_start_are_an_error(monkeypatch, finished):
    monkeypatch.setattr(pool, "_memory", lambda processes: "much")
    with pytest.raises(ReaderError, match="cannot be started: its reader ended with exit code 1: ValueError"):
        list(read_all([folder_task(finished("static"))], 1, 60))


@pytest.mark.parametrize(("allowed", "soft"), [(5 * 2**30, 5 * 2**30), (2**40, 6 * 2**30)])
def test_a_limit_of_the_machine_is_kept(allowed, soft):
    """Nobody may raise a hard limit, not even to the same as before in words."""
    script = (
        "import os, resource, sys; from workflows.vasp_import.worker import _limit_memory\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({allowed}, {allowed}))\n"
        f"_limit_memory({6 * 2**30}); print(*resource.getrlimit(resource.RLIMIT_AS))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.split() == [str(soft), str(allowed)]


def test_a_file_that_needs_more_memory_than_there_is(tmp_path):
    with gzip.open(tmp_path / "OUTCAR.gz", "wb", compresslevel=1) as file:
        for _ in range(32):
            file.write(bytes(2**24))
    (tmp_path / "vasprun.xml").write_text("<modeling>")
    request = orjson.dumps(folder_task(tmp_path).message) + b"\n"
    command = [sys.executable, "-m", "workflows.vasp_import.worker", str(os.getpid()), str(700 * 2**20)]
    done = subprocess.run(command, input=request, capture_output=True, check=True)
    ready, answer = map(orjson.loads, done.stdout.splitlines())
    assert ready == {"ready": True}
    assert answer["refused"][0][0] == "too large"
