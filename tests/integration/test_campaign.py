"""A whole campaign, killed and resumed. The engine is the spin-lattice Hamiltonian; the rest is the real thing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import yaml

from datastore import open_store
from datastore.queries import find
from datastore.snapshot import load_snapshot
from workflows.campaign import load_campaign
from workflows.flows import CampaignMaker
from workflows.submit import run_local

ROOT = Path(__file__).resolve().parents[2]
MODEL = {
    "model": {"layers": 1, "channels": 4, "l_max": 1, "cutoff": 3.5},
    "training": {"epochs": 20, "batch_structures": 4, "checkpoint_epochs": 5},
}
CAMPAIGN = {
    "name": "tiny",
    "engine": {"type": "spin-lattice"},
    "structures": {
        "parents": [{"species": "Ni", "lattice_constant": 4.17, "cell": "rhombohedral4"}],
        "orderings": ["FM", "AFM-II"],
        "magmoms": {"Ni": 2.5},
        "deformations": [
            {"kind": "none"},
            {"kind": "displacement", "count": 3, "amplitude": [0.02, 0.06]},
            {"kind": "volume", "count": 3, "amplitude": [0.95, 1.05]},
        ],
    },
    "split": {"fractions": [0.6, 0.15, 0.25], "min_test": 4},
    "committee": 2,
    "active_learning": {"rounds": 1, "labels": 4, "candidates": 12},
}
LABELS = 14 + 4

DRIVER = """
import sys
from pathlib import Path
from workflows.campaign import load_campaign
from workflows.flows import CampaignMaker
from workflows.submit import run_local
options, engine = load_campaign(Path(sys.argv[1]))
result = run_local(CampaignMaker(options, engine).make(), options.store, Path(options.folder), workers=2)
print(result.executed, result.reused)
"""


def write_campaign(folder: Path) -> Path:
    (folder / "model.yaml").write_text(yaml.safe_dump(MODEL))
    blind = {**MODEL, "model": {**MODEL["model"], "spin": False, "moments": False}}
    (folder / "blind.yaml").write_text(yaml.safe_dump(blind))
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump({**CAMPAIGN, "model": "model.yaml", "baseline": "blind.yaml"}))
    return path


def start(campaign: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(campaign)],
        cwd=campaign.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(campaign: Path) -> tuple[int, int]:
    """What the driver does, in this process; its workers are processes all the same."""
    with contextlib.chdir(campaign.parent), mock.patch.dict(os.environ, {"PYTHONPATH": str(ROOT)}):
        options, engine = load_campaign(campaign)
        result = run_local(CampaignMaker(options, engine).make(), options.store, Path(options.folder), workers=2)
    return result.executed, result.reused


def ledger(campaign: Path) -> list[dict]:
    file = campaign.parent / "runs" / "tiny" / "calculations.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def started(campaign: Path, kind: str) -> list[str]:
    return [entry["uuid"] for entry in ledger(campaign) if entry["event"] == "started" and entry["type"] == kind]


def done(campaign: Path, kind: str) -> list[str]:
    return [entry["uuid"] for entry in ledger(campaign) if entry["event"] == "done" and entry["type"] == kind]


def point_ids(campaign: Path) -> set[str]:
    with open_store(f"local:{campaign.parent / 'runs' / 'tiny' / 'store'}") as store:
        return {point.point_id for point in find(store)}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    campaign = write_campaign(tmp_path_factory.mktemp("uninterrupted"))
    executed, reused = finish(campaign)
    assert reused == 0
    return campaign, executed


def test_all_configurations_are_labelled_and_judged(uninterrupted):
    campaign, _ = uninterrupted
    with open_store(f"local:{campaign.parent / 'runs' / 'tiny' / 'store'}") as store:
        points = list(find(store))
    assert len(points) == LABELS
    assert {point.generation for point in points} == {0, 1}
    assert sum(point.generation == 1 for point in points) == 4
    assert all(point.campaign == "tiny" for point in points)


def test_chosen_labels_go_to_training_and_held_out_stay_out(uninterrupted):
    campaign, _ = uninterrupted
    folder = campaign.parent / "runs" / "tiny"
    first, second = (load_snapshot(next((folder / f"generation_{g}" / "snapshot").glob("*/*"))) for g in (0, 1))
    assert set(first.points["test"]) == set(second.points["test"])
    assert len(second.points["train"]) == len(first.points["train"]) + 4
    assert not set(second.points["train"]) & set(second.points["test"])


def test_one_champion_with_files_that_are_what_the_record_says(uninterrupted):
    campaign, _ = uninterrupted
    with open_store(f"local:{campaign.parent / 'runs' / 'tiny' / 'store'}") as store:
        models = store.get_models(campaign="tiny")
    assert sorted(model.status for model in models) == ["champion", "retired"]
    champion = next(model for model in models if model.status == "champion")
    assert champion.generation == 1
    assert champion.parents == [next(model.model_id for model in models if model.status == "retired")]
    from workflows.jobs.files import sha256

    assert [sha256(Path(file.path)) for file in champion.files] == [file.sha256 for file in champion.files]
    assert {"model", "constant", "no_spin", "honest"} <= set(champion.scores)


def test_second_run_does_nothing(uninterrupted):
    campaign, executed = uninterrupted
    before = len(ledger(campaign))
    assert finish(campaign) == (0, executed)
    assert len(ledger(campaign)) == before


def edited(campaign: Path, **changes) -> None:
    campaign.write_text(yaml.safe_dump({**yaml.safe_load(campaign.read_text()), **changes}))


def champion(campaign: Path):
    with open_store(f"local:{campaign.parent / 'runs' / 'tiny' / 'store'}") as store:
        (record,) = store.get_models(campaign="tiny", status="champion")
    return record


def test_an_edited_file_does_what_it_says_now_and_labels_nothing_twice(tmp_path):
    campaign = write_campaign(tmp_path)
    edited(campaign, active_learning={"rounds": 1, "labels": 2, "candidates": 12}, baseline="")
    finish(campaign)
    assert len(point_ids(campaign)) == 14 + 2
    edited(campaign, active_learning={"rounds": 1, "labels": 4, "candidates": 12})
    finish(campaign)
    assert len(point_ids(campaign)) == 14 + 4
    labels = started(campaign, "label")
    assert len(labels) == len(set(labels))


def wait_for(process: subprocess.Popen, condition) -> None:
    deadline = time.time() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.time() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("kind", "finished"), [("label", 3), ("label", 11), ("train", 0), ("train", 1), ("train", 3)], ids=str
)
def test_kill_and_resume_gives_the_same_campaign(uninterrupted, tmp_path, kind, finished):
    """kill -9 of the driver in the middle of labelling or of training: same labels at the end, none computed twice."""
    campaign = write_campaign(tmp_path)
    process = start(campaign)
    wait_for(process, lambda: len(done(campaign, kind)) >= finished and len(started(campaign, kind)) > finished)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(0.3)
    acknowledged = set(done(campaign, "label")) | set(done(campaign, "train"))
    executed, reused = finish(campaign)
    whole, total = uninterrupted
    assert point_ids(campaign) == point_ids(whole)
    assert executed + reused == total
    for uuid in acknowledged:
        assert (started(campaign, "label") + started(campaign, "train")).count(uuid) == 1
