"""Which stores a server shows."""

import pytest

from datastore import open_store
from tests.support.cli import tiny_campaign
from workflows.campaign import CampaignError
from workflows.serve.errors import ServeError
from workflows.serve.places import find_projects


def make_store(folder):
    open_store(f"local:{folder}").close()
    return folder


def test_a_campaign_file_and_its_folder_are_one_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tiny_campaign(tmp_path)
    make_store(tmp_path / "runs" / "tiny" / "store")
    (project,) = find_projects([str(file), "runs/tiny", f"local:{tmp_path}/runs/tiny/store"])
    assert project.key == "tiny"
    assert [known.options.name for known in project.campaigns] == ["tiny"]
    assert project.campaign("tiny").engine.type == "spin-lattice"
    assert project.campaign("other") is None
    assert project.folder == tmp_path / "runs" / "tiny"
    assert project.shown_uri == "local:runs/tiny/store"


def test_a_folder_of_campaigns_and_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_campaign(tmp_path)  # with model files beside it, which are no campaigns
    make_store(tmp_path / "runs" / "tiny" / "store")
    make_store(tmp_path / "runs" / "other" / "store")
    found = find_projects(["."])
    assert [(project.key, len(project.campaigns)) for project in found] == [("tiny", 1), ("other", 0)]


def test_keys_differ_and_hold_no_passwords(tmp_path):
    stores = [make_store(tmp_path / name / "nio" / "store") for name in ("a", "b")]
    uri = "mongodb://me:s3cret@db.example.org/labels?authSource=admin"
    found = find_projects([*(f"local:{store}" for store in stores), uri])
    assert [project.key for project in found] == ["nio", "nio-2", "labels"]
    assert found[2].shown_uri == "mongodb://me:***@db.example.org/labels?authSource=admin"
    assert found[2].folder is None


def test_places_with_nothing_to_show(tmp_path):
    with pytest.raises(ServeError, match="no campaign file, campaign folder or store"):
        find_projects([str(tmp_path)])
    with pytest.raises(ServeError, match="is no file, folder or store"):
        find_projects(["nowhere"])
    (tmp_path / "bad.yaml").write_text("name: x")
    with pytest.raises(CampaignError):
        find_projects([str(tmp_path / "bad.yaml")])
