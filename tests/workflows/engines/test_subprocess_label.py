"""The child process: started single-threaded, its end always an answer or a LabelError."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datastore.schema import SpinConfig
from workflows.engines import LabelError
from workflows.engines.subprocess_label import _death, label_in_child
from workflows.processes import SINGLE_THREAD

ROOT = Path(__file__).parents[3]
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

    config = SpinConfig(species=["O"], lattice=[[5, 0, 0], [0, 5, 0], [0, 0, 5]], positions=[[0, 0, 0]],
                        magmoms_in=[0.0], ordering="NM")  # fmt: skip
    with pytest.raises(LabelError, match=r"exit code 1.*no_such_setting") as caught:
        label_in_child(Broken(), config, None)
    assert caught.value.kind == "crashed"


def test_death_by_signal_is_named():
    assert _death(-9, "") == "the calculation's process was ended by SIGKILL: no message"
