"""``spinmultinet run`` as a real process: complete, again, stopped, disk full, failures tried again."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from datastore import open_store
from datastore.locks import Held, LockLostError
from datastore.registry import champion, history
from tests.support.cli import (
    MODEL,
    ROOT,
    TRAINING,
    assert_one_line,
    command,
    environment,
    in_this_process,
    spinmultinet,
    tiny_campaign,
)
from workflows import cli
from workflows.campaign import load_campaign
from workflows.engines import LabelError
from workflows.results import champion_files, forget_failures, latest_evaluation
from workflows.run_lock import BusyError, run_lock
from workflows.structures import generate

pytestmark = pytest.mark.slow
PLAIN = {"active_learning__rounds": 0, "baseline": ""}
"""No active learning and no baseline: the shortest campaign."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished campaign with one round of active learning, and what the command said."""
    folder = tmp_path_factory.mktemp("finished")
    campaign = tiny_campaign(folder)
    return folder, spinmultinet(folder, "run", campaign.name, "--workers", 2)


def test_run_ends_with_table_counts_and_report(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert "mean absolute error" in done.stdout
    assert "calculations: 14 run now, 0 taken from the store" in done.stdout
    assert str(folder / "runs/tiny/report.html") in done.stdout
    assert (folder / "runs/tiny/report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    progress = [line for line in done.stdout.splitlines() if "labels" in line and "left in all" in line]
    assert progress  # ETA from the first line on


def test_second_run_executes_nothing(finished):
    folder, _ = finished
    before = (folder / "runs/tiny/calculations.jsonl").read_bytes()
    done = in_this_process(folder, "run", "tiny.yaml", "--workers", 1, "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert (content["calculations_run"], content["calculations_reused"], content["jobs_run"]) == (0, 14, 0)
    assert (folder / "runs/tiny/calculations.jsonl").read_bytes() == before


def test_dry_run_of_a_finished_campaign_says_why_it_ended(finished):
    folder, _ = finished
    before = sorted((path, path.stat().st_mtime_ns) for path in (folder / "runs/tiny").rglob("*.json*"))
    content = json.loads(in_this_process(folder, "run", "tiny.yaml", "--dry-run", "--json").stdout)
    assert (content["state"], content["next"], content["selection"]) == ("finished", [], [])
    assert content["decision"] == {"stop": True, "why": "no round is left of at most 1"}
    assert sorted((path, path.stat().st_mtime_ns) for path in (folder / "runs/tiny").rglob("*.json*")) == before


def test_dry_run_before_the_start_shows_the_first_labels_and_writes_nothing(tmp_path):
    tiny_campaign(tmp_path)
    content = json.loads(in_this_process(tmp_path, "run", "tiny.yaml", "--dry-run", "--json").stdout)
    assert (content["state"], content["round"], content["first"]["configurations"]) == ("not started", 0, 12)
    assert {group["ordering"] for group in content["first"]["groups"]} == {"FM", "AFM-II"}
    shown = in_this_process(tmp_path, "run", "tiny.yaml", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "first labels" in shown.stdout
    assert "next: 12 labels" in shown.stdout
    assert not (tmp_path / "runs").exists()


def test_dry_run_is_of_a_campaign_and_of_nothing_else(tmp_path):
    tiny_campaign(tmp_path)
    done = in_this_process(tmp_path, "run", "tiny.yaml", "--dry-run", "--relabel", "local:store")
    assert_one_line(done, 2, "--dry-run shows the next step of a campaign")


def test_data_commands_on_the_store(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished[0])
    assert cli.run(["data", "stats", "tiny.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 14
    assert cli.run(["data", "stats", "tiny.yaml"]) == 0
    assert "14 labels" in capsys.readouterr().out
    assert cli.run(["data", "export", "local:runs/tiny/store", "all.extxyz"]) == 0
    assert Path("all.extxyz").read_text().count("Lattice=") == 14
    capsys.readouterr()
    assert cli.run(["data", "query", "tiny.yaml", "ordering=FM", "--sort", "-energy", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["ordering"] for row in rows} == {"FM"}
    assert [row["energy"] for row in rows] == sorted((row["energy"] for row in rows), reverse=True)
    assert cli.run(["data", "query", "tiny.yaml", "odering=FM"]) == 2
    assert "did you mean 'ordering'" in capsys.readouterr().err


def test_relax_a_conventional_cell_with_the_champion(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished[0])
    cif = str(ROOT / "tests/data/nio_conventional.cif")
    assert cli.run(["relax", cif, "--ordering", "AFM-II", "--model", "runs/tiny", "--steps", "1", "--json"]) == 1
    out, err = capsys.readouterr()
    assert "not converged after 1 steps" in err
    content = json.loads(out)
    assert (content["atoms"], content["supercell_of"], len(content["magmoms"])) == (16, 8, 16)
    assert content["pseudo_cubic"][3:] == pytest.approx([90, 90, 90], abs=2)
    assert cli.run(["relax", cif, "--ordering", "AFM-II", "--supercell", "1,1,1", "--model", "tiny.yaml"]) == 2
    assert "AFM-II does not fit" in (err := capsys.readouterr().err)
    assert "(16 atoms)" in err


def test_predict_and_evaluate_with_the_champion(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished[0])
    cif = str(ROOT / "tests/data/nio_conventional.cif")
    assert cli.run(["predict", cif, "--ordering", "FM", "--model", "tiny.yaml", "--out", "p.extxyz", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert cli.run(["predict", "p.extxyz", "--model", "runs/tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["energy"] == pytest.approx(first["energy"], abs=1e-4)
    assert cli.run(["data", "export", "tiny.yaml", "labels.extxyz"]) == 0
    assert cli.run(["evaluate", "--model", "tiny.yaml", "--data", "labels.extxyz"]) == 0
    assert "mean absolute errors" in capsys.readouterr().out


def test_results_of_a_campaign(finished):
    folder, _ = finished
    with open_store(f"local:{folder / 'runs/tiny/store'}") as store:
        evaluated = latest_evaluation(store, "tiny")
        assert evaluated is not None
        in_use = champion(store, "tiny")
        assert in_use is not None
        # Whether the model of round 1 took the place of the first one is for the rules of promotion to say.
        assert {record.generation for record in store.get_models(campaign="tiny")} == {0, 1}
        assert [entry.model_id for entry in history(store, "tiny") if entry.action == "promote"][-1] == in_use.model_id
        assert (evaluated["generation"], evaluated["model_id"]) == (in_use.generation, in_use.model_id)
        assert [str(path) for path in champion_files(store, "tiny")] == [m["path"] for m in evaluated["members"]]
        assert latest_evaluation(store, "other") is None


def test_ctrl_c_ends_workers_and_the_same_command_continues(tmp_path):
    tiny_campaign(tmp_path, **PLAIN)
    short = (tmp_path / "model.yaml").read_text()
    # A training of minutes, so that the run is never over before Ctrl-C arrives.
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"model": MODEL, "training": {**TRAINING, "epochs": 20000}}))
    process = subprocess.Popen(
        # Shells start background jobs, CI's among them, with Ctrl-C ignored, and children inherit that.
        ["env", "--default-signal=INT", *command("run", "tiny.yaml", "--workers", 1)],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    done_before = _wait_for_labels(tmp_path / "runs/tiny/calculations.jsonl", 2)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert_one_line(subprocess.CompletedProcess([], process.returncode, out, err), 130, "the same command continues")
    assert not _processes_that_name(tmp_path)
    (tmp_path / "model.yaml").write_text(short)
    again = in_this_process(tmp_path, "run", "tiny.yaml", "--workers", 1, "--json")
    assert again.returncode == 0, again.stderr
    content = json.loads(again.stdout)
    assert content["calculations_run"] + content["calculations_reused"] == 12
    assert content["calculations_reused"] >= done_before
    _fail_one(tmp_path)
    retried = in_this_process(tmp_path, "run", "tiny.yaml", "--retry-failed", "--workers", 1, "--json")
    assert retried.returncode == 0, retried.stderr
    content = json.loads(retried.stdout)
    assert (content["calculations_run"], content["calculations_reused"]) == (1, 11)
    assert content["summary"]["counts"]["failed"] == 0


def _processes_that_name(folder: Path) -> list[str]:
    """Command lines of living processes with ``folder`` in them, such as a campaign's workers."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(file.read_bytes().decode(errors="replace").replace("\0", " "))
    return [line for line in lines if str(folder) in line]


def _wait_for_labels(ledger: Path, count: int) -> int:
    for _ in range(600):
        done = ledger.read_text().count('"event": "done", "type": "label"') if ledger.exists() else 0
        if done >= count:
            return done
        time.sleep(0.05)
    raise AssertionError("no label was finished within 30 s")


def _fail_one(folder: Path) -> None:
    """Turn the job of one label into a recorded failure."""
    options, engine = load_campaign(folder / "tiny.yaml")
    config = next(iter(generate(options.structures, campaign=options.name)))
    failure = engine.failure(config, LabelError("made up by a test")).to_document()
    with open_store(f"local:{folder / 'runs/tiny/store'}") as store:
        document = store.jobs.query_one({"output.point_id": failure["point_id"]})
        store.jobs.update([{**document, "output": failure}], key=["uuid", "index"])
        assert store.jobs.count({"output.error_type": "crashed"}) == 1


def test_without_failures_nothing_is_forgotten(tmp_path):
    options, engine = load_campaign(tiny_campaign(tmp_path, store=f"local:{tmp_path / 'store'}"))
    from workflows.flows import LabelFlowMaker

    flow = LabelFlowMaker(engine).make(generate(options.structures))
    with open_store(options.store) as store:
        assert forget_failures(flow, store) == 0


def test_second_process_is_refused(tmp_path):
    tiny_campaign(tmp_path, **PLAIN)
    with run_lock(tmp_path / "runs/tiny"):
        done = spinmultinet(tmp_path, "run", "tiny.yaml")
    assert_one_line(done, 1, "running already", f"process {os.getpid()}")


@pytest.mark.parametrize("what", [[], ["--relabel", "other"]], ids=["run", "relabel"])
def test_nothing_is_begun_once_the_lock_is_lost(tmp_path, monkeypatch, what):
    """As after a long stop of the process, in which another host went on with the campaign."""
    campaign = tiny_campaign(tmp_path, **PLAIN)
    if what:
        options, engine = load_campaign(campaign)
        with open_store(f"local:{tmp_path / 'other/store'}") as store:
            for config in list(generate(options.structures))[:2]:
                store.put_point(engine.label(config))

    def lost(held):
        raise LockLostError(f"the lock of {held.name} was lost")

    monkeypatch.setattr(Held, "check", lost)
    done = in_this_process(tmp_path, "run", campaign.name, "--workers", 1, *what)
    assert_one_line(done, 1, "the lock of campaign tiny was lost")
    assert not (tmp_path / "runs/tiny/calculations.jsonl").exists()


def test_lock_names_its_holder_and_is_released(tmp_path):
    with run_lock(tmp_path), pytest.raises(BusyError, match=str(os.getpid())), run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        pass


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 800 kB; skipped where this process may not mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs; test_file_size_limit covers the rest")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_disk_full_is_one_line_and_nothing_is_lost(small_disk):
    tiny_campaign(small_disk, **PLAIN)
    done = spinmultinet(small_disk, "run", "tiny.yaml", "--workers", 1)
    assert_one_line(done, 1, "no space left on the disk", "the same command")
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    with open_store(f"local:{small_disk / 'runs/tiny/store'}") as store:
        acknowledged = store.jobs.count({"metadata.kind": "label"})
        failed = store.jobs.count({"output.error_type": {"$exists": True}})
    assert 0 < acknowledged <= 12
    content = json.loads(in_this_process(small_disk, "run", "tiny.yaml", "--workers", 1, "--json").stdout)
    assert content["calculations_reused"] == acknowledged
    assert content["calculations_run"] == 12 - acknowledged
    assert failed == 0, "a full disk says nothing about a configuration"


def test_file_size_limit(tmp_path):
    tiny_campaign(tmp_path, **PLAIN)
    limited = f"ulimit -f 100; exec {' '.join(command('run', 'tiny.yaml'))}"
    done = subprocess.run(
        ["bash", "-c", limited],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert_one_line(done, 1, "disk")
