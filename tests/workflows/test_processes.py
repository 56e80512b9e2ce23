"""Programs that must not outlive whoever started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workflows.processes import NOT_STARTED, OUT_OF_TIME, supervised

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

# A rank in a session of its own, as mpirun starts them, that does not heed SIGTERM; then the launcher waits.
LAUNCHER = "setsid sh -c 'trap \"\" TERM; echo $$ > rank; while true; do sleep 0.1; done' & echo $! > launched; wait"


def start(command, folder, until=None):
    return subprocess.Popen(supervised(command, until), cwd=folder, start_new_session=True)


def rank_of(folder):
    deadline = time.monotonic() + 10
    while not (folder / "rank").exists() or not (folder / "rank").read_text().strip():
        assert time.monotonic() < deadline, "the program did not start"
        time.sleep(0.02)
    return int((folder / "rank").read_text())


def gone(process, seconds=8.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -SEGV $$", 139)])
def test_exit_code_is_that_of_the_program(tmp_path, script, code):
    assert start(["sh", "-c", script], tmp_path).wait() == code


def test_program_that_is_not_there(tmp_path):
    assert start(["no-such-program"], tmp_path).wait() == NOT_STARTED


def test_ended_at_the_limit(tmp_path):
    began = time.time()
    assert start(["sleep", "60"], tmp_path, began + 0.5).wait() == OUT_OF_TIME
    assert time.time() - began < 5


def test_orphans_of_a_launcher_that_ended_are_ended(tmp_path):
    child = start(["sh", "-c", f"{LAUNCHER.removesuffix('wait')} sleep 0.5; exit 3"], tmp_path)
    rank = rank_of(tmp_path)
    assert child.wait(15) == 3
    assert gone(rank, 0.1)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_ranks_in_sessions_of_their_own_end_with_it(tmp_path, sign):
    child = start(["sh", "-c", LAUNCHER], tmp_path)
    rank = rank_of(tmp_path)
    child.send_signal(sign)
    assert child.wait(15) == 128 + sign
    assert gone(rank, 0.1)


def test_nothing_outlives_a_parent_that_is_killed(tmp_path):
    code = (
        "import subprocess, sys, time; from workflows.processes import supervised;"
        f"subprocess.Popen(supervised(['sh', '-c', {LAUNCHER!r}]), start_new_session=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    rank = rank_of(tmp_path)
    launched = int((tmp_path / "launched").read_text())
    parent.kill()
    parent.wait()
    assert gone(rank)
    assert gone(launched)
