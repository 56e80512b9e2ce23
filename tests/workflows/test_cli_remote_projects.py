import json
import re
from pathlib import Path

import pytest
import yaml

jobflow_remote = pytest.importorskip("jobflow_remote")

from tests.support.cli import ROOT  # noqa: E402
from workflows import cli  # noqa: E402
from workflows.remote.routing import load_remote  # noqa: E402

SSH = ["--host", "me@login.example.org:2222", "--python", "/opt/bin/python", "--scratch", "/scratch/me"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(jobflow_remote.SETTINGS, "projects_folder", str(tmp_path / "projects"))
    monkeypatch.setenv("SPINMULTINET_STORE_URI", "mongodb://me:secret@db/oxides")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words) -> int:
    return cli.run(["remote", "init", *map(str, words)])


def key(place) -> str:
    path = place / "key"
    path.write_text("private")
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("workstation", []),
        ("slurm", ["--partition", "normal", "--account", "p1"]),
        ("ssh", SSH),
        ("two-clusters", [*SSH, "--gpu-host", "gpu.example.org", "--gpu-scratch", "/scratch/me"]),
    ],
)
def test_each_layout_is_written_and_says_what_is_next(layout, options, place, capsys):
    assert init(layout, "--name", "mine", *options) == 0
    out = capsys.readouterr().out
    assert "spinmultinet run CAMPAIGN --remote mine --worker-map mine_workers.yaml" in out
    assert "jf -p mine admin reset" in out
    assert "secret" not in out
    content = yaml.safe_load((place / "projects" / "mine.yaml").read_text())
    assert load_remote(place / "mine_workers.yaml").names() <= set(content["workers"])


def test_keys_stay_where_they_are(place, capsys):
    assert init("ssh", *SSH, "--key", key(place), "--jump", "gate.example.org", "--json") == 0
    path = json.loads(capsys.readouterr().out)["project"]
    worker = yaml.safe_load(Path(path).read_text())["workers"]["cluster_cpu"]
    assert (worker["host"], worker["port"], worker["user"]) == ("login.example.org", 2222, "me")
    assert worker["key_filename"] == worker["gateway"]["key_filename"] == str(place / "key")
    assert "private" not in Path(path).read_text()


def test_keys_that_others_may_read_are_refused(place, capsys):
    path = key(place)
    (place / "key").chmod(0o644)
    assert init("ssh", *SSH, "--key", path) == 2
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cloud"], "cloud: choose one of workstation, slurm, ssh, two-clusters"),
        (["ssh"], "ssh: state --host, --scratch, --python as well"),
        (["two-clusters", *SSH], "two-clusters: state --gpu-host, --gpu-scratch as well"),
        (["slurm", "--host", "x"], "slurm has no place for --host"),
        (["ssh", *SSH[:-1], "scratch"], "scratch: give the cluster's folder as an absolute path"),
        (["ssh", "--host", "x:y", *SSH[2:]], "'x:y' is no host; write [USER@]HOST[:PORT]"),
        (["slurm", "--store", "env:NO_SUCH"], "the environment has no variable NO_SUCH"),
        (["slurm", "--store", "mongodb://me:secret@db/x"], "everybody can read a password on a command line"),
        (["slurm", "--store", "local:runs"], "need a MongoDB"),
    ],
)
def test_bad_input_is_one_line(words, message, capsys, place):
    assert init(*words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "secret" not in error
    assert not (place / "projects").exists()


def test_nothing_is_written_over(place, capsys):
    assert init("slurm") == 0
    assert init("slurm") == 2
    assert "--force" in capsys.readouterr().err
    assert init("slurm", "--force") == 0


def test_the_uri_is_asked_for_and_not_shown(monkeypatch, place):
    from typer.testing import CliRunner

    monkeypatch.delenv("SPINMULTINET_STORE_URI")
    done = CliRunner().invoke(cli.app, ["remote", "init", "slurm"], input="mongodb://me:secret@db/asked\n")
    assert done.exit_code == 0, done.output
    assert "secret" not in done.output
    content = yaml.safe_load((place / "projects" / "slurm.yaml").read_text())
    assert content["jobstore"]["docs_store"]["database"] == "asked"


def test_doctor_looks_at_a_project(place, capsys, monkeypatch):
    monkeypatch.setattr("workflows.remote.checks.TIMEOUT_MS", 100)
    monkeypatch.setenv("SPINMULTINET_STORE_URI", "mongodb://me:secret@127.0.0.1:1/oxides")
    assert init("workstation", "--name", "mine", "--pre-run", f"export PYTHONPATH={ROOT}", "--work-dir", place) == 0
    (place / "projects" / "mine.yaml").chmod(0o644)
    capsys.readouterr()
    assert cli.run(["doctor", "--engine", "spin-lattice", "--remote", "mine"]) == 3
    out = capsys.readouterr().out
    assert "chmod 600" in out
    assert "- queue: mongodb://me:***@127.0.0.1:1/oxides does not answer" in out
    assert "+ worker labels: fine" in out
    assert re.search(r"\+ worker labels: Python 3\.[\d.]+, torch [\w.+]+: fine", out)
    assert "`jf gui` listens on all interfaces (0.0.0.0)" in out
    assert cli.run(["doctor", "--remote", "other"]) == 2
