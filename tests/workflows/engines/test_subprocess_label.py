"""The child process: started single-threaded, its end always an answer or a LabelError."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datastore.schema import SpinConfig
from workflows.engines import LabelError, subprocess_label
from workflows.engines.interface import RawLabel
from workflows.engines.subprocess_label import _death, label_in_child
from workflows.processes import SINGLE_THREAD

ROOT = Path(__file__).parents[3]
CONFIG = SpinConfig(species=["O"], lattice=[[5, 0, 0], [0, 5, 0], [0, 0, 5]], positions=[[0, 0, 0]],
                    magmoms_in=[0.0], ordering="NM")  # fmt: skip
ASK = "from workflows.engines.subprocess_label import single_threaded; print(single_threaded())"


def answer(code: str, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    clean |= {"PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], env=clean, text=True, capture_output=True, check=True).stdout


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the start environment is read from /proc")
def test_single_threaded_sees_the_start_not_what_was_set_later():
    assert answer(ASK, **SINGLE_THREAD) == "True\n"
    assert answer(ASK) == "False\n"
    assert answer(ASK, **{**SINGLE_THREAD, "OMP_NUM_THREADS": "2"}) == "False\n"
    late = "import os; os.environ |= {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}; "
    assert answer(late + ASK) == "False\n"


def test_child_that_cannot_start_is_a_label_error():
    class Broken:
        def model_dump(self) -> dict[str, object]:
            return {"type": "gpaw", "no_such_setting": 1}

        def compute_here(self, config, workdir):
            raise AssertionError("runs in the child only")

    with pytest.raises(LabelError, match=r"exit code 1.*no_such_setting") as caught:
        label_in_child(Broken(), CONFIG, None)
    assert caught.value.kind == "crashed"


class Raising:
    """Stands for an engine whose calculation meets ``error``."""

    def __init__(self, error: Exception | None):
        self.error = error

    def model_dump(self) -> dict[str, object]:
        return {"type": "stand-in"}

    def compute_here(self, config, workdir):
        if self.error:
            raise self.error
        return RawLabel(energy=-1.0, free_energy=-1.0, forces=np.zeros((1, 3)), stress=np.zeros((3, 3)),
                        magmoms_out=np.zeros(1), total_moment=0.0)  # fmt: skip


def run_child_here(monkeypatch, engine, write_error=None):
    """Let label_in_child call main() in this process, with ``engine`` and perhaps a disk that takes no answer."""

    def run(command, **_):
        code, said = 0, ""
        with monkeypatch.context() as patch:
            patch.setattr(subprocess_label, "die_with", lambda parent: None)
            patch.setattr("workflows.engines.get_engine", lambda spec: engine)
            if write_error:
                patch.setattr(Path, "write_text", fail)
            try:
                subprocess_label.main(*command[3:])
            except SystemExit as end:
                code, said = end.code, "[Errno] no room"
        return subprocess.CompletedProcess(command, code, "", said)

    def fail(*_):
        raise write_error

    monkeypatch.setattr(subprocess, "run", run)
    return label_in_child(engine, CONFIG, None)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_in_the_child_is_one_in_the_parent(monkeypatch, number):
    with pytest.raises(OSError, match="no room") as caught:
        run_child_here(monkeypatch, Raising(OSError(number, "full")))
    assert caught.value.errno == number


def test_no_room_for_the_answer_is_a_full_disk_as_well(monkeypatch):
    for engine in (Raising(None), Raising(LabelError("did not converge", "not-converged"))):
        with pytest.raises(OSError, match="no room") as caught:
            run_child_here(monkeypatch, engine, write_error=OSError(errno.ENOSPC, "full"))
        assert caught.value.errno == errno.ENOSPC


def test_label_and_label_error_come_back(monkeypatch):
    assert run_child_here(monkeypatch, Raising(None)).energy == -1.0
    with pytest.raises(LabelError, match="did not converge") as caught:
        run_child_here(monkeypatch, Raising(LabelError("did not converge", "not-converged", {"cpu": 3.0})))
    assert (caught.value.kind, caught.value.timings) == ("not-converged", {"cpu": 3.0})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_real_child_that_finds_no_room_ends_with_the_error_number(tmp_path):
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"engine": {"type": "gpaw"}, "config": CONFIG.model_dump(), "workdir": None}))
    code = (
        "from workflows.engines import gpaw, subprocess_label\n"
        "from pathlib import Path\n"
        "def fail(*_): Path('/dev/full').write_text('x')\n"
        "gpaw.GpawEngine.compute_here = fail\n"
        f"subprocess_label.main({str(job)!r}, {str(tmp_path / 'result.json')!r}, '{os.getpid()}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == errno.ENOSPC, done.stderr
    assert done.stderr.splitlines()[-1] == "[Errno 28] No space left on device"


def test_death_by_signal_is_named():
    assert _death(-9, "") == "the calculation's process was ended by SIGKILL: no message"
