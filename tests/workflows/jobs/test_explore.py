"""The job around a source: its file, its uuid, and that a rerun gives the same."""

import json

import pytest
from jobflow import run_locally

from datastore.atoms import read_configs
from tests.workflows.exploration.conftest import campaign, trained
from workflows.engines import get_engine
from workflows.jobs.explore import explore_job, sources
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
