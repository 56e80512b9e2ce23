"""The job around a source: its file, its uuid, and that a rerun gives the same."""

import json
import multiprocessing
import time

import pytest
from jobflow import run_locally

from datastore.atoms import read_configs
from tests.workflows.exploration.conftest import campaign, trained
from workflows.engines import get_engine
from workflows.jobs.explore import explore_job, find_candidates, sources
from workflows.jobs.files import sha256

__all__ = ["trained"]  # the fixture

ENGINE = get_engine("spin-lattice")


@pytest.fixture
def previous(trained):
    """What an evaluation hands on."""
    members = [{"path": path, "sha256": "0" * 64} for path in trained.members]
    return {
        "model_id": trained.model_id,
        "members": members,
        "snapshot": trained.snapshot,
        "point_ids": trained.point_ids,
    }


def output(job):
    return run_locally(job, ensure_success=True)[job.uuid][1].output


def test_deformations_are_always_asked_for_and_first():
    assert sources(campaign()) == ["deformations"]


def test_file_and_document(previous, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = explore_job(campaign(), ENGINE, 1, "deformations", previous, tmp_path / "out")
    assert job.metadata["kind"] == "explore"
    done = output(job)
    assert json.loads(json.dumps(done)) == done
    assert sha256(tmp_path / "out" / done["file"].rsplit("/", 1)[-1]) == done["sha256"]
    configs = list(read_configs(done["file"]))
    assert (done["source"], done["count"], done["dropped"]) == ("deformations", len(configs), {})
    assert {(c.campaign, c.generation) for c in configs} == {("search", 1)}
    again = output(explore_job(campaign(), ENGINE, 1, "deformations", previous, tmp_path / "out"))
    assert again == done


@pytest.mark.parametrize(("source", "killed_after"), [("dynamics", 1), ("relaxations", 2), ("spin-moves", 1)])
def test_after_a_kill_it_ends_with_the_same_file(previous, tmp_path, source, killed_after):
    options = campaign(
        structures={"parents": [{"species": "Ni", "cell": "rhombohedral4"}], "orderings": ["FM", "AFM-II"]},
        relaxations={"count": 2, "steps": 3},
        dynamics={"steps": 8, "interval": 4, "temperatures": [300.0], "max_spread": 1e6},
        spin_moves={"count": 6, "steps": 300, "frames": 2},
    )

    def run(folder):
        return find_candidates.original(options, 1, source, previous, str(folder))

    child = multiprocessing.get_context("fork").Process(target=run, args=(tmp_path / "killed",))
    child.start()
    while child.is_alive() and lines(tmp_path / "killed") < killed_after:
        time.sleep(0.001)
    child.kill()
    child.join()
    assert lines(tmp_path / "killed") >= killed_after
    assert not list((tmp_path / "killed").glob("*.xyz"))
    whole, again = run(tmp_path / "whole"), run(tmp_path / "killed")
    assert again["sha256"] == whole["sha256"]
    assert again["dropped"] == whole["dropped"]


def lines(folder):
    return sum(len(path.read_text().splitlines()) for path in folder.glob("*/finished.jsonl"))


def test_the_uuid_is_that_of_what_decides(previous, tmp_path):
    def uuid(options=None, generation=1, source="deformations", **changes):
        changed = {**previous, **changes}
        return explore_job(options or campaign(), ENGINE, generation, source, changed, tmp_path).uuid

    assert uuid() == uuid(scores={"other": 1})
    changed = [
        uuid(generation=2),
        uuid(model_id="other"),
        uuid(options=campaign(seed=1)),
        uuid(options=campaign(candidates=5)),
        uuid(options=campaign(min_distance=0.7)),
        uuid(champion={**previous, "model_id": "champion"}),
    ]
    assert len({uuid(), *changed}) == 1 + len(changed)
