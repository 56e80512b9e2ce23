"""No command shows or writes the password of a store's URI; ``env:NAME`` keeps it out of what is stored."""

import json

import pytest
from monty.json import MontyEncoder

from tests.support.cli import spinmultinet, tiny_campaign
from workflows import cli
from workflows.campaign import PasswordWarning, load_campaign
from workflows.flows.active_learning import CampaignMaker

SECRET = "s3cr3t"
URI = f"mongodb://ada:{SECRET}@127.0.0.1:1/labels"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datastore.stores.TIMEOUT_MS", 50)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("place", [URI, "env:SPIN_STORE"])
@pytest.mark.parametrize(
    "command",
    [
        "run tiny.yaml",
        "status tiny.yaml",
        "status tiny.yaml --json",
        "report tiny.yaml",
        "retrain tiny.yaml",
        "doctor --store PLACE",
        "models list PLACE",
        "data stats PLACE",
        "data query tiny.yaml",
        "data verify PLACE",
        "data export PLACE a.extxyz",
        "data snapshot PLACE sets",
        "data costs tiny.yaml",
        "data import tasks.extxyz --into PLACE",
        "data import PLACE --into local:labels",
    ],
)
def test_a_store_that_is_not_there(folder, monkeypatch, capsys, caplog, recwarn, place, command):
    monkeypatch.setenv("SPIN_STORE", URI)
    tiny_campaign(folder, store="env:SPIN_STORE" if place == URI else place)
    if place == URI:
        text = (folder / "tiny.yaml").read_text().replace("env:SPIN_STORE", URI)
        (folder / "tiny.yaml").write_text(text)
    code = cli.run(command.replace("PLACE", place).split())
    out, err = capsys.readouterr()
    assert code != 0
    assert SECRET not in out + err + caplog.text
    assert "Traceback" not in out + err
    written = [path for path in folder.rglob("*") if path.is_file() and path.name != "tiny.yaml"]
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    warned = [str(warning.message) for warning in recwarn if warning.category is PasswordWarning]
    assert not any(SECRET in text for text in warned)
    assert bool(warned) == ("tiny.yaml" in command and place == URI)


def test_the_warning_is_one_line_with_the_remedy(tmp_path):
    tiny_campaign(tmp_path, store=URI)
    done = spinmultinet(tmp_path, "structures", "tiny.yaml")
    (line,) = [line for line in done.stderr.splitlines() if "password" in line]
    assert line.startswith("warning: tiny.yaml: the store's URI holds a password")
    assert "write store: env:SPIN_STORE" in line
    assert SECRET not in done.stderr + done.stdout


def test_stored_jobs_hold_the_name_of_the_variable(folder, monkeypatch):
    monkeypatch.setenv("SPIN_STORE", URI)
    text = json.dumps(
        CampaignMaker(*load_campaign(tiny_campaign(folder, store="env:SPIN_STORE"))).make(), cls=MontyEncoder
    )
    assert "env:SPIN_STORE" in text
    assert SECRET not in text
