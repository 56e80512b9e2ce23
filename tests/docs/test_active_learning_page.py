"""docs/active-learning.md: its commands and options exist, its tables are the options, its campaign is what it says."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import typer
import yaml

from datastore import open_store
from datastore.snapshot import make_snapshot
from tests.support.cli import in_this_process
from workflows import learning
from workflows.campaign import load_campaign
from workflows.cli import PROGRAM, app
from workflows.cli.option_tables import MARKED, with_tables
from workflows.report.choices import RULES
from workflows.structures.generate import generate

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "active-learning.md").read_text()
COMMANDS = re.findall(rf"^ {{4}}{PROGRAM} (.+)$", PAGE, re.MULTILINE)
HELD_OUT = "FiM[+-++]"
EXAMPLE = "configs/campaigns/active_mn_co_ni.yaml"


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_and_their_options_exist(line):
    command, words = typer.main.get_command(app), shlex.split(line)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(line, words)  # refuses unknown options and missing arguments


def test_tables_are_the_options():
    assert with_tables(PAGE) == PAGE, "run: python -m workflows.cli.option_tables docs/active-learning.md"


def test_every_group_of_options_has_a_table():
    groups = {name for name, kind in vars(learning).items() if name.endswith(("Options", "Source")) and name[0] != "_"}
    assert {found[1] for found in MARKED.findall(PAGE)} == groups - {"FileStructure"}


def test_yaml_is_understood():
    for text in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        learning.ActiveLearningOptions.model_validate(yaml.safe_load(text)["active_learning"])


def test_every_rule_has_a_row():
    section = PAGE.split("## Which rule")[1].split("<!--")[0]
    named = re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
    assert tuple(named) == ("rule", *get_args(learning.RuleName))  # the table's head, then its rows
    assert set(named[1:]) == set(RULES)


def test_every_source_has_a_row():
    section = PAGE.split("## Where candidates come from")[1].split("<!--")[0]
    shown = {re.split(r"[:\s]", found)[0] for found in re.findall(r"\| `([^`]+)` \|$", section, re.MULTILINE)}
    fields = learning.ExploreOptions.model_fields
    assert shown == {name for name in fields if fields[name].default in (None, [])} - {"content"}


def test_every_frozen_test_set_has_a_row():
    section = PAGE.split("## Frozen tests")[1].split("##")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == get_args(learning.TestName)


def test_the_campaign_begins_with_the_labels_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, engine = load_campaign(ROOT / EXAMPLE)
    store = open_store("memory:")
    for config in generate(options.structures, options.name):
        store.put_point(engine.label(config))
    snapshot = make_snapshot(store, tmp_path / "snapshot", options.name, options=options.split)
    points = {document["point_id"]: document["ordering"] for document in store.points.query()}
    assert len(points) == 60
    assert {split: len(found) for split, found in snapshot.points.items()} == {"train": 18, "val": 3, "test": 32}
    assert sum(points[point_id] == HELD_OUT for point_id in snapshot.points["test"]) == 8
    assert len(snapshot.left_out) == 7
    assert {points[point_id] for point_id in snapshot.left_out} == {HELD_OUT}


def test_status_and_dry_run_of_the_campaign(tmp_path):
    done = in_this_process(tmp_path, "status", ROOT / EXAMPLE)
    assert done.returncode == 0, done.stderr
    assert "campaign active_mn_co_ni: not started" in done.stdout
    assert "once all targets are met" in done.stdout
    assert "60 labels" in in_this_process(tmp_path, "status", ROOT / EXAMPLE).stdout
    assert not (tmp_path / "runs").exists()
