"""The tutorial is followed: its files written, its commands and its Python run, page by page."""

import os
import re

import pytest
import yaml

from datastore import open_store
from tests.support.cli import in_this_process
from tests.support.pages import COMMAND, FENCE, ROOT, arguments_of, blocks

pytestmark = pytest.mark.slow

TUTORIAL = ROOT / "docs" / "tutorial"
SECOND = "## On MongoDB"
MONGO = "mongodb://127.0.0.1:27017/spins"
NAMED = re.compile(r"# (change in )?(\S+\.yaml)\n")


def read(page):
    return (TUTORIAL / page).read_text()


def follow(text, folder):
    """Do what a page says in ``folder``; returns command line -> what it printed."""
    printed = {}
    for _, language, body in FENCE.findall(text):
        if language == "yaml" and (named := NAMED.match(body)):
            write_yaml(folder / named[2], body, bool(named[1]))
        elif language == "python":
            exec(compile(body, "page", "exec"), {})  # our own page
        elif language == "bash":
            lines = [line for line in body.splitlines() if COMMAND.match(line)]
            printed |= {line: run(line, folder) for line in lines}
    return printed


def write_yaml(path, body, change):
    content = {**yaml.safe_load(path.read_text()), **yaml.safe_load(body)} if change else yaml.safe_load(body)
    path.write_text(yaml.safe_dump(content) if change else body)


def run(line, folder):
    arguments, _, target = line.partition(" > ")
    done = in_this_process(folder, *arguments_of(arguments))
    assert done.returncode == 0, f"{line}: {done.stderr}"
    if target:
        (folder / target).write_text(done.stdout)
    return done.stdout


def test_on_a_laptop(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first = follow(read("first-campaign.md"), tmp_path)
    assert "24 configurations" in first["spinmultinet structures first.yaml"]
    assert len(list((tmp_path / "spins").glob("*.png"))) == 2
    assert "24 run now" in first["spinmultinet run first.yaml"]
    follow(read("labels.md"), tmp_path)
    shown = capsys.readouterr().out
    assert "FM: 12 labels" in shown
    assert "'AFM-II': 0" in shown
    learned = follow(read("active-learning.md"), tmp_path)
    assert "6 run now, 24 taken from the store" in learned["spinmultinet run first.yaml"]
    assert len(follow(read("model.md"), tmp_path)) == 2
    assert "muB" in capsys.readouterr().out
    files, _, _ = read("dataset.md").partition(SECOND)
    assert "30 labels" in follow(files, tmp_path)["spinmultinet data export first.yaml nio.extxyz"]


def test_on_mongodb(tmp_path):
    given = os.environ.get("SPINMULTINET_TEST_MONGO_URI")
    if not given:
        pytest.skip("no MongoDB: set SPINMULTINET_TEST_MONGO_URI")
    address = f"{given.rstrip('/')}/tutorial_{os.getpid()}"
    follow("".join(f"```yaml\n{body}```\n" for body in blocks(read("first-campaign.md"), "yaml")), tmp_path)
    _, _, shared = read("dataset.md").partition(SECOND)
    done = follow(shared.replace(MONGO, address), tmp_path)
    assert "24 run now" in done["spinmultinet run shared.yaml"]
    with open_store(address) as store:
        assert store.points.count() == 24
