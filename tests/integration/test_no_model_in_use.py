"""A campaign whose models all fail their checks goes on to its end, and says there that no model is in use."""

import contextlib
import json
from pathlib import Path

import pytest
import yaml

from datastore import open_store
from datastore.registry import champion, history
from tests.support.cli import in_this_process, tiny_campaign
from workflows.campaign import load_campaign
from workflows.jobs.decide import NOT_IN_USE

pytestmark = pytest.mark.slow
IMPOSSIBLE = {"md_force": 1e-9, "md_steps": 2, "structures": 1}
"""No force is as small as that: every model explodes in its smoke test."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Campaign file, and how its run ended."""
    rounds = {"rounds": 1, "labels": 2, "candidates": 4, "select": {"rule": "farthest-point"}}
    rounds |= {"stop": {"targets": {"random": {"energy": 1e9}}}, "promote": IMPOSSIBLE}
    campaign = tiny_campaign(tmp_path_factory.mktemp("unfit"), active_learning=rounds, committee=2)
    return campaign, in_this_process(campaign.parent, "run", campaign.name, "--workers", 2)


def options_of(campaign: Path):
    with contextlib.chdir(campaign.parent):
        return load_campaign(campaign)[0]


def decisions(campaign: Path):
    found = sorted(campaign.parent.glob("runs/tiny/generation_*/decision-*.json"))
    return [json.loads(path.read_text()) for path in found]


def test_the_run_ends_with_one_clear_line_and_exit_code_1(finished):
    _, done = finished
    assert done.returncode == 1
    assert "No model is in use: 2 trained, each refused because it failed its checks." in " ".join(done.stdout.split())
    assert "report.html" in done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: tiny is at its end and no model is in use; the last one was refused: check dynamics")
    assert "Traceback" not in done.stdout + done.stderr


def test_it_explores_with_the_newest_and_no_target_is_met_by_a_model_that_cannot_be_used(finished):
    campaign, _ = finished
    first, last = decisions(campaign)
    assert (first["stop"], last["stop"]) == (False, True)
    assert "energy on random not known, target 1e+09 meV/atom" in first["why"]
    assert first["why"].endswith(NOT_IN_USE)
    assert last["why"].startswith("no round is left of at most 1")
    assert [(entry["champion"], entry["errors"]) for entry in last["history"]] == [("", {})] * 2
    assert all(entry["own_errors"]["random"]["energy"] > 0 for entry in last["history"])
    assert last["history"][1]["honest"]["model_id"] == last["history"][0]["model_id"]
    with open_store(options_of(campaign).store) as store:
        log = history(store, "tiny")
        assert champion(store, "tiny") is None
    assert [(entry.action, entry.model_id) for entry in log] == [("refuse", h["model_id"]) for h in last["history"]]


def test_records_say_how_the_models_were_made(finished):
    campaign, _ = finished
    options = options_of(campaign)
    with open_store(options.store) as store:
        records = store.get_models(campaign="tiny")
    assert len(records) == 2
    for record in records:
        assert record.seeds == [options.seed, options.seed + 1]
        assert {"python", "torch", "numpy", "platform"} <= set(record.environment)
        assert {"energy", "forces"} <= set(record.calibration)
        assert all(factor > 0 for factor in record.calibration.values())
    text = in_this_process(campaign.parent, "models", "show", campaign.name, records[0].model_id).stdout
    assert f"python {records[0].environment['python']}, torch {records[0].environment['torch']}" in text
    assert "seeds           0, 1" in text
    assert "error / spread  energy " in text


def test_status_report_and_a_second_run_say_the_same(finished):
    campaign, _ = finished
    done = in_this_process(campaign.parent, "status", campaign.name)
    assert "campaign tiny: finished" in done.stdout
    assert "model in use: none\n" in done.stdout
    assert "refused: check dynamics failed" in " ".join(done.stdout.split())
    done = in_this_process(campaign.parent, "report", campaign.name)
    assert done.returncode == 0
    assert "No model is in use: 2 trained" in Path(done.stdout.strip()).read_text()
    again = in_this_process(campaign.parent, "run", campaign.name, "--json")
    assert again.returncode == 1
    assert (json.loads(again.stdout)["jobs_run"], json.loads(again.stdout)["summary"]["refused"]) == (0, 2)
    assert "no model is in use" in again.stderr


def test_a_model_that_passes_is_used_from_then_on(finished):
    """The same models by other rules: the log is asked again, and nothing is trained twice."""
    campaign, _ = finished
    content = yaml.safe_load(campaign.read_text())
    content["active_learning"]["promote"]["md_force"] = 1e6
    content["active_learning"]["promote"]["symmetry"] = 1.0
    other = campaign.with_name("other.yaml")
    other.write_text(yaml.safe_dump(content))
    with open_store(options_of(campaign).store) as store:
        newest = history(store, "tiny")[-1].model_id
    done = in_this_process(
        campaign.parent, "models", "promote", other.name, newest, "--reason", "rules were too strict"
    )
    assert done.returncode == 0, done.stderr
    assert in_this_process(campaign.parent, "run", campaign.name).returncode == 0
    with open_store(options_of(campaign).store) as store:
        assert champion(store, "tiny").model_id == newest


def test_an_edit_and_its_revert_do_not_touch_what_people_decided(finished):
    """Comes last: the runs find everything but decisions and conclusions done, and the log stays as it is."""
    campaign, _ = finished
    content = campaign.read_text()
    strict = yaml.safe_load(content)
    strict["active_learning"]["promote"] |= {"md_force": 1e6, "symmetry": 1.0}
    rules = campaign.with_name("rules.yaml")
    rules.write_text(yaml.safe_dump(strict))
    with open_store(options_of(campaign).store) as store:
        records = sorted(store.get_models(campaign="tiny"), key=lambda record: record.generation)
        in_use = champion(store, "tiny").model_id
    first, newest = (record.model_id for record in records)
    assert in_use == newest
    why = ("--reason", "to be sure", "--by", "Ada")
    done = in_this_process(campaign.parent, "models", "promote", rules.name, first, "--force", *why)
    assert done.returncode == 0, done.stderr
    assert in_this_process(campaign.parent, "models", "rollback", campaign.name, *why).returncode == 0
    with open_store(options_of(campaign).store) as store:
        log = [entry.to_document() for entry in history(store, "tiny")]
    assert [entry["action"] for entry in log] == ["refuse", "refuse", "promote", "promote", "rollback"]
    changed = content.replace("1000000000.0", "100000000.0")
    assert changed != content
    for text in (changed, content):
        campaign.write_text(text)
        assert in_this_process(campaign.parent, "run", campaign.name).returncode == 0
        with open_store(options_of(campaign).store) as store:
            assert [entry.to_document() for entry in history(store, "tiny")] == log
            assert champion(store, "tiny").model_id == newest
