"""Cost of a calculation, however it ends."""

import subprocess
import sys
import time

import pytest

from datastore.schema import SpinConfig
from workflows.engines import LabelError
from workflows.engines.clock import Clock
from workflows.engines.spin_lattice.engine import SpinLatticeEngine
from workflows.jobs.label import crash_document, label_job
from workflows.structures import apply_ordering, rocksalt

BUSY = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
NI_O = SpinConfig.from_structure(apply_ordering(rocksalt("Ni", cell="rhombohedral4"), "FM"), ordering="FM")


class Ends(SpinLatticeEngine):
    """Computes in a child process on two cores, and then ends with an error where there is one."""

    ending: str = ""

    def cores(self):
        return 2

    def compute(self, config, workdir):
        subprocess.run([sys.executable, "-c", BUSY], check=True)
        if self.ending == "not-converged":
            raise LabelError("no convergence", "not-converged", {"iterations": 120.0})
        if self.ending:
            raise RuntimeError(self.ending)
        return super().compute(config, workdir)


def test_children_of_children_are_charged():
    clock = Clock(cores=2)
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"
    subprocess.run([sys.executable, "-c", nested], check=True)
    spent = clock.spent()
    assert spent["cpu"] >= 0.3
    assert spent["wall"] >= 0.3
    assert spent["cores"] == 2.0


def test_waiting_costs_wall_time_only():
    clock = Clock()
    time.sleep(0.2)
    spent = clock.spent()
    assert spent["wall"] >= 0.2
    assert spent["cpu"] < 0.1


@pytest.mark.parametrize(
    ("ending", "kind", "iterations"),
    [("", None, True), ("not-converged", "not-converged", True), ("out of cheese", "crashed", False)],
)
def test_labels_and_failures_state_what_they_cost(ending, kind, iterations, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = label_job(Ends(ending=ending), NI_O)
    document = job.function(*job.function_args)
    assert document.get("error_type") == kind
    timings = document["timings"]
    assert timings["cpu"] >= 0.3
    assert timings["wall"] >= 0.3
    assert timings["cores"] == 2.0
    assert ("iterations" in timings) == iterations


def test_a_worker_that_vanished_costs_the_time_since_it_got_its_job():
    failure = crash_document(label_job(Ends(), NI_O), "killed", 12.5)["output"]
    assert failure["timings"] == {"wall": 12.5, "cores": 2.0}
