"""Locks between real processes, in every kind of store that several processes can open."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from datastore.errors import DataError
from datastore.locks import HELD, BusyError, LockLostError, holder, lock, require_held
from datastore.stores import open_store

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from pathlib import Path
from datastore.locks import BusyError, LockLostError, lock, require_held
from datastore.stores import open_store
uri, go, seconds, ttl = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
with open_store(uri) as store:
    print("ready", flush=True)
    while not go.exists():
        time.sleep(0.002)
    try:
        with lock(store, "campaign", "a test", ttl) as held:
            print("held", flush=True)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(0.02)
                held.check()
            require_held(store)
        print("finished", flush=True)
    except BusyError as error:
        print("busy", flush=True)
    except LockLostError as error:
        print("lost", error, flush=True)
"""


@pytest.fixture(params=["local", "mongodb"])
def uri(request, tmp_path):
    if request.param == "local":
        yield f"local:{tmp_path / 'data'}"
        return
    base = os.environ.get("SPINMULTINET_TEST_MONGO_URI", "")
    if not base:
        pytest.skip("SPINMULTINET_TEST_MONGO_URI names no MongoDB server")
    name = f"test_{uuid4().hex[:8]}"
    yield f"{base.rstrip('/')}/{name}"
    with open_store(f"{base.rstrip('/')}/{name}") as store:
        store.locks._collection.database.client.drop_database(name)


@pytest.fixture
def processes():
    started = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start(processes, uri, go, seconds=1.0, ttl=60.0):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, uri, str(go), str(seconds), str(ttl)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    processes.append(process)
    return process


def said(process):
    return process.stdout.readline().split()[0]


def test_of_eight_at_once_one_holds(uri, tmp_path, processes):
    everybody = [start(processes, uri, tmp_path / "go", seconds=3.0) for _ in range(8)]
    assert [said(process) for process in everybody] == ["ready"] * 8
    (tmp_path / "go").touch()
    words = [process.communicate(timeout=60)[0].split() for process in everybody]
    assert sorted(words) == [["busy"]] * 7 + [["held", "finished"]]


def test_after_kill_the_next_takes_over_at_once(uri, tmp_path, processes):
    (tmp_path / "go").touch()
    first = start(processes, uri, tmp_path / "go", seconds=60)
    assert [said(first), said(first)] == ["ready", "held"]
    with open_store(uri) as store:
        with (
            pytest.raises(BusyError, match=f"a test since .* \\(process {first.pid} on"),
            lock(store, "campaign", "me"),
        ):
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
        with lock(store, "campaign", "me"):
            assert f"process {os.getpid()} " in holder(store, "campaign")
        assert holder(store, "campaign") == ""
        assert store.locks.count() == 0


def test_one_that_slept_longer_than_its_time_has_lost_and_says_so(uri, tmp_path, processes):
    (tmp_path / "go").touch()
    first = start(processes, uri, tmp_path / "go", seconds=4.0, ttl=4.0)
    assert [said(first), said(first)] == ["ready", "held"]
    first.send_signal(signal.SIGSTOP)
    with open_store(uri) as store:
        with pytest.raises(BusyError), lock(store, "campaign", "me"):
            pass
        time.sleep(4.2)
        with lock(store, "campaign", "me", ttl=30) as held:
            first.send_signal(signal.SIGCONT)
            out = first.communicate(timeout=30)[0]
            assert out.startswith("lost the lock of campaign was lost")
            assert "now it has me since" in out
            held.check()  # the loser has not removed what is ours
            require_held(store)


def test_renewed_while_it_is_held(uri):
    with open_store(uri) as store, lock(store, "campaign", "me", ttl=2.0) as held:
        time.sleep(3.0)
        held.check()
        with open_store(uri) as other, pytest.raises(BusyError), lock(other, "campaign", "you"):
            pass


@pytest.fixture
def store(tmp_path):
    with open_store(f"local:{tmp_path / 'data'}") as opened:
        yield opened


def test_released_after_an_error_and_names_are_independent(store):
    with pytest.raises(ValueError, match="mine"), lock(store, "a", "me"), lock(store, "b", "me"):
        raise ValueError("mine")
    assert store.locks.count() == 0
    with lock(store, "a", "me"):
        pass


def edit(store, **changes):
    store.locks.update({**store.locks.query_one({"name": "a"}), **changes})


def test_a_process_id_that_was_used_again_is_another_process(store):
    with lock(store, "a", "me"):
        edit(store, token="other")
        with pytest.raises(BusyError), lock(store, "a", "me"):
            pass
        edit(store, process_start="1")
        with lock(store, "a", "me"):
            pass


def test_a_holder_elsewhere_lives_as_long_as_it_renews(store):
    with lock(store, "a", "me"):
        edit(store, machine="another", pid=2**22 + 1, process_start="1", token="other")
        with pytest.raises(BusyError), lock(store, "a", "me"):
            pass
        edit(store, renewed=time.time() - 121)
        with lock(store, "a", "me"):
            pass


def test_tokens_reach_children_and_tell_them_of_a_loss(store):
    require_held(store)  # under no lock there is nothing to lose
    child = "from datastore import locks, open_store; import sys; locks.require_held(open_store(sys.argv[1]))"

    def in_child():
        command = [sys.executable, "-c", child, store.uri]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stderr

    with lock(store, "a", "me") as held:
        assert json.loads(os.environ[HELD])
        assert in_child() == ""
        edit(store, token="other")
        assert "LockLostError: the lock of a was lost" in in_child()
        with pytest.raises(LockLostError):
            require_held(store)
        assert not held.beat()
        with pytest.raises(LockLostError):
            held.check()
    assert HELD not in os.environ


def test_errors_are_of_the_store():
    assert issubclass(BusyError, DataError)
    assert issubclass(LockLostError, DataError)
