"""What does not fit into a time limit of Slurm is done all the same: a label in a longer job, a training in parts.

Both campaigns are at work at the same time: Slurm's shortest limit is a minute.
"""

import time
from pathlib import Path

import pytest
import yaml

from datastore import open_store
from datastore.queries import find
from datastore.snapshot import load_snapshot
from spinmultinet import load_model
from spinmultinet.fine_tune import weights_hash
from tests.remote.campaigns import LABELS, of_kind, scheduled, start
from tests.remote.test_campaigns import check_labels
from tests.support.cli import MODEL, TRAINING
from tests.support.cluster.servers import wait_until
from tests.workflows.remote.support import small_snapshot
from workflows.jobs.train import train_member

pytestmark = pytest.mark.remote

MINUTE = "00:01:00"
BEFORE = 38
"""Seconds of its minute that the first job on the GPU spends before it begins, as with many modules to load."""

TAKES = 40.0
"""Seconds of the training; of the first minute less than 16 are left for it, also where it is measured too slow."""


@pytest.fixture(scope="module")
def begun(stack, tmp_path_factory):
    """Both campaigns, handed to their queues: ``late``, with a label whose first job hangs, and ``parts``."""
    late = stack.change_map(
        stack.project("slurm", "late"),
        pilot={"worker": "pilot", "sites": 1},
        resources={"label": [{"queue": "cpu", "time": MINUTE}]},
        workers={"label": "cpu", "train": "local", "light": "local"},
    )
    _first(stack, "late", "cpu", f"if mkdir {stack.folder}/hung 2>/dev/null; then sleep 600; fi")
    start(stack, "late", late)
    parts = stack.change_map(
        stack.project("slurm", "parts"), resources={"train": [{"queue": "gpu", "gpus": 1, "time": MINUTE}]}
    )
    _first(stack, "parts", "gpu", f"if mkdir {stack.folder}/slow 2>/dev/null; then sleep {BEFORE}; fi")
    epochs = _epochs(tmp_path_factory.mktemp("measured"))
    start(stack, "parts", parts, model=_options(stack.folder / "parts_model.yaml", epochs))
    yield
    for name in ("late", "parts"):
        stack.end(name)


def _first(stack, project: str, worker: str, line: str) -> None:
    """Let jobs of a worker begin with a line of shell."""
    path = stack.folder / "projects" / f"{project}.yaml"
    content = yaml.safe_load(path.read_text())
    options = content["workers"][worker]
    options["pre_run"] = f"{options['pre_run']}\n{line}"
    path.write_text(yaml.safe_dump(content))


def _options(file: Path, epochs: int) -> str:
    file.write_text(yaml.safe_dump({"model": MODEL, "training": {**TRAINING, "epochs": epochs}}))
    return str(file)


def _epochs(folder: Path) -> int:
    """How many such a training needs here to take about as long as TAKES."""
    few = 40
    snapshot = small_snapshot(folder)
    hypers = {"model": MODEL, "training": {**TRAINING, "epochs": 1}}
    train_member.original(str(snapshot), hypers, 0, str(folder / "first"))
    hypers["training"]["epochs"] = few
    started = time.monotonic()
    train_member.original(str(snapshot), hypers, 0, str(folder / "few"))
    return int(few * TAKES / (time.monotonic() - started))


def test_a_training_in_parts_ends_where_an_uninterrupted_one_ends(stack, begun, tmp_path):
    wait_until(lambda: bool(of_kind(stack.queue("parts"), "training")), "the training is in the queue", 200, step=1)
    (first,) = of_kind(stack.queue("parts"), "training")
    snapshot, hypers, seed, workdir, *_ = first["job"]["function_args"]
    train_member.original(snapshot, hypers, seed, str(tmp_path))

    parts = of_kind(stack.wait("parts", forgiving=True), "training")
    assert len(parts) > 1
    for job in scheduled(stack, parts):
        assert (job["Partition"], job["TimeLimit"], job["TresPerNode"]) == ("gpu", MINUTE, "gres:gpu:1")
    name = load_snapshot(snapshot).snapshot_id
    here, there = tmp_path / name, Path(workdir) / name
    assert weights_hash(load_model(there / "model.pt")) == weights_hash(load_model(here / "model.pt"))
    assert (there / "metrics.csv").read_bytes() == (here / "metrics.csv").read_bytes()


def test_a_label_that_slurm_times_out_gets_more_time_and_is_accepted(stack, begun):
    labels = of_kind(stack.wait("late", forgiving=True), "label")
    (again,) = [job for job in labels if job["job"]["metadata"]["attempts"]]
    assert again["job"]["metadata"]["attempts"] == 1
    (job,) = scheduled(stack, [again])
    assert (job["JobState"], job["TimeLimit"]) == ("COMPLETED", "00:02:00")
    ended = [job for job in stack.slurm.jobs() if job["JobState"] == "TIMEOUT" and job["Partition"] == "cpu"]
    assert [job["TimeLimit"] for job in ended] == [MINUTE]
    check_labels(stack, "late", LABELS)
    with open_store(stack.uri("late")) as store:
        assert {point.verdict for point in find(store)} == {"accepted"}
