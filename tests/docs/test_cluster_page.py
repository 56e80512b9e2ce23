"""docs/cluster.md: its set-ups are written for real, its worker map routes, its numbers are those of the code."""

import re

import pytest
import yaml

from tests.support.cli import in_this_process
from tests.support.pages import ROOT, arguments_of, blocks, command_lines
from workflows.remote.retries import decide
from workflows.remote.routing import MORE, STEEPNESS, RemoteOptions, load_remote, route

PAGE = (ROOT / "docs" / "cluster.md").read_text()
TEXT = " ".join(PAGE.split())
SETUPS = [line for line in command_lines(PAGE) if " remote init " in line]
MAP = RemoteOptions.model_validate(yaml.safe_load(next(b for b in blocks(PAGE, "yaml") if "workers:" in b)))


@pytest.mark.parametrize("line", SETUPS, ids=[arguments_of(line)[2] for line in SETUPS])
def test_set_ups_are_written(line, tmp_path, monkeypatch):
    jobflow_remote = pytest.importorskip("jobflow_remote", reason="jobflow-remote is not installed")
    monkeypatch.setattr(jobflow_remote.SETTINGS, "projects_folder", str(tmp_path / "projects"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").touch(0o600)
    monkeypatch.setenv("SPINMULTINET_STORE_URI", "mongodb://db.example.org/spins")
    done = in_this_process(tmp_path, *arguments_of(line))
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "projects").glob("*.yaml")
    assert written.stat().st_mode & 0o077 == 0
    project = yaml.safe_load(written.read_text())
    assert project["queue"]["store"]["database"] == "spins_queue"
    assert set(load_remote(tmp_path / f"{written.stem}_workers.yaml").names()) <= set(project["workers"])


def test_there_is_a_set_up_for_each_layout():
    from workflows.remote.projects import LAYOUTS

    assert [arguments_of(line)[2] for line in SETUPS] == list(LAYOUTS)


def test_the_worker_map_does_what_the_page_says():
    assert route(MAP, "label", 4).worker == "pilot"
    assert route(MAP, "label", 4, attempt=1).worker == "cpu"
    rows = MAP.resources["label"]
    assert route(MAP, "label", 8).resources["time_limit"] == rows[0].time
    assert route(MAP, "label", 9).resources["nodes"] == rows[1].nodes == 2
    assert route(MAP, "label", 70).resources["time_limit"] == round(rows[1].time * (70 / 64) ** STEEPNESS)
    assert route(MAP, "label", 8, attempt=1).resources["time_limit"] == MORE * rows[0].time
    assert f"to the power of {STEEPNESS:g}" in TEXT
    assert "twice the time and memory" in TEXT


def test_what_breaks_is_treated_as_the_table_says():
    assert decide("label", "REMOTE_ERROR", "transfer", 0, 2, False).action == "resume"
    assert decide("label", "REMOTE_ERROR", "transfer", 2, 2, False).action == "wait"
    assert decide("label", "FAILED", "time", 1, 2, False).action == "again"
    assert decide("label", "FAILED", "time", 2, 2, False).action == "record"
    for cause, unasked in (("disk", "wait"), ("program", "refuse")):
        assert decide("label", "FAILED", cause, 0, 2, asked=False).action == unasked
        assert decide("label", "FAILED", cause, 0, 2, asked=True).action == "again"


def test_every_option_of_the_worker_map_that_is_explained_exists():
    explained = re.findall(r"^- \*\*`(\w+)`\*\*", PAGE, re.MULTILINE)
    assert explained
    assert set(explained) <= {*RemoteOptions.model_fields, "engine"}
