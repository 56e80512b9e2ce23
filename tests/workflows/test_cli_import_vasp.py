"""``spinmultinet data import`` of VASP folders, in this process and, where it is stopped, in one of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from datastore import open_store
from datastore.calculations import CHUNK, known_calculations
from datastore.queries import find
from datastore.schema import SpinConfig
from tests.support.cli import environment, tiny_campaign
from tests.support.vasp_runs import rocksalt as rocksalt8
from tests.support.vasp_runs import run_named, vasp_run
from tests.workflows.vasp_import.test_documents import task_document
from workflows import cli
from workflows.campaign import load_campaign
from workflows.cli.errors import INTERRUPTED
from workflows.engines import get_engine
from workflows.structures import apply_ordering, rocksalt

NICKEL = {"LDAUU": [6.2, 0], "LDAUJ": [0, 0], "LDAUL": [2, -1]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for name in ("static", "relaxed", "no_lorbit"):
        run_named(name, root / name)
    return root


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, runs):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs, "my runs")


def run(capsys, *arguments):
    code = cli.run(["data", "import", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def stored(uri="local:store"):
    with open_store(uri, create=False) as store:
        return list(find(store))


def test_a_folder_needs_neither_mapping_nor_level(capsys):
    code, out, err = run(capsys, "my runs", "--into", "local:store", "--report", "report.json")
    assert (code, err) == (1, "")
    assert "3 runs; 2 new labels accepted; 1 not taken in" in out
    content = json.loads(Path("report.json").read_text())
    assert (content["frames"], content["in_store"], content["not_in_store"]) == (3, 2, 1)
    assert content["refused"]["no moments"]["count"] == 1
    assert "my runs/no_lorbit: OUTCAR: has no table of moments" in content["refused"]["no moments"]["examples"][0]
    shutil.rmtree("my runs/no_lorbit")
    code, out, _ = run(capsys, "my runs", "--into", "local:store", "--json", "--processes", "1")
    assert code == 0
    assert json.loads(out)["present"] == 2


def test_documents_and_folders_go_together(capsys):
    Path("tasks.json").write_text(json.dumps([task_document("my runs/static")]))
    shutil.rmtree("my runs/no_lorbit")
    code, out, err = run(capsys, "my runs", "tasks.json", "--into", "local:store", "--json")
    assert code == 0, err
    assert json.loads(out)["frames"] == 3


def test_a_declared_level_is_taken_where_a_run_agrees(capsys):
    assert run(capsys, "my runs/static", "--into", "local:own")[0] == 0
    theory = stored("local:own")[0].level_of_theory
    wider = {**theory, "hubbard_u": {**theory["hubbard_u"], "Co": 3.32}}
    for name, level, expected in (("a", wider, wider), ("b", {**wider, "ecut": 600.0}, theory)):
        Path("level.yaml").write_text(yaml.safe_dump({"level_of_theory": level}))
        code, _, err = run(capsys, "my runs/static", "--into", f"local:{name}", "--level", "level.yaml")
        assert code == 0, err
        assert stored(f"local:{name}")[0].level_of_theory == expected


def test_levels_are_shown_as_files_to_declare(capsys):
    vasp_run(Path("my runs/nickel"), rocksalt8(["Ni"] * 4), [2, -2, 2, -2, 0, 0, 0, 0], **NICKEL)
    vasp_run(
        Path("my runs/manganese"), rocksalt8(["Mn"] * 4), [4, -4, 4, -4, 0, 0, 0, 0], **{**NICKEL, "LDAUU": [3.9, 0]}
    )
    shutil.rmtree("my runs/relaxed")
    code, out, err = run(capsys, "my runs", "--show-keys")
    assert (code, err) == (0, "")
    assert not Path("store").exists()
    assert out.startswith("# for --level: 3 labels, with ")
    Path("level.yaml").write_text(out)
    run(capsys, "my runs", "--into", "local:store", "--level", "level.yaml")
    (wide,) = json.loads(run(capsys, "my runs", "--show-keys", "--json")[1])
    assert [point.level_of_theory for point in stored()] == [wide["level_of_theory"]] * 3
    assert wide["level_of_theory"]["hubbard_u"] == {"Mn": 3.9, "Ni": 6.2}


@pytest.mark.parametrize("way", ["--level", "--into"])
def test_runs_of_our_engine_are_at_its_level(capsys, vasp_on_path, tmp_path, way):
    spec = {"type": "vasp", "kpts": {"rhombohedral4": [2, 2, 2]}}
    engine = get_engine(spec)
    structure = apply_ordering(rocksalt("Ni", cell="rhombohedral4"), "AFM-II")
    engine.label(SpinConfig.from_structure(structure, "AFM-II"), tmp_path / "work")
    Path("vasp.yaml").write_text(yaml.safe_dump(spec))
    _, of_campaign = load_campaign(tiny_campaign(tmp_path, engine=spec))  # with the POTCARs of its elements only
    place = {"--level": "local:store", "--into": "tiny.yaml"}[way]
    level = ["--level", "vasp.yaml"] if way == "--level" else []
    code, _, err = run(capsys, "work", "--into", place, *level)
    assert code == 0, err
    (point,) = stored({"--level": "local:store", "--into": "local:runs/tiny/store"}[way])
    assert point.level_id == {"--level": engine, "--into": of_campaign}[way].level_id()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["my runs"], "--into"),
        (["my runs", "--into", "local:store", "--mapping", "level.yaml"], "leave out --mapping"),
        (["my runs/no_lorbit", "--show-keys"], "no run gives a label"),
        (["my runs", "a.extxyz", "--into", "local:store"], "a.extxyz is neither a folder nor task documents"),
        (["empty", "--into", "local:store"], "no VASP run there"),
        (["my runs", "--into", "local:store", "--level", "level.yaml"], "states no level of theory"),
        (["my runs/static/vasprun.xml", "--into", "local:store"], "give its folder: my runs/static"),
        (["my runs/static/OUTCAR", "--show-keys"], "give its folder: my runs/static"),
        (["mongodb://ada:secret@127.0.0.1:1/x?collection=c", "--into", "local:store"], "cannot be reached"),
        (["mongodb://ada:secret@127.0.0.1:1/x", "--into", "local:store"], "names no collection"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, part):
    Path("empty").mkdir()
    Path("level.yaml").write_text("code: VASP\n")
    Path("a.extxyz").write_text("0\n\n")
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert part in err
    assert "secret" not in err


STOPPED_IN_THE_SECOND_CHUNK = """
import os, sys
from datastore.importing import ImportWork
from workflows import cli

real, chunks = ImportWork.take, []

def take(work, points):
    chunks.append(len(points))
    if len(chunks) == 2 and sys.argv[1] == "before":
        os.kill(os.getpid(), int(sys.argv[2]))
    real(work, points)
    if len(chunks) == 2:
        os.kill(os.getpid(), int(sys.argv[2]))

ImportWork.take = take
sys.exit(cli.run(sys.argv[3:]))
"""
"""The command line, which gets a signal before or after it has stored the labels of its second chunk of runs."""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_stopped_in_the_middle_and_run_again(capsys, runs, moment, ending):
    number = 3 * CHUNK
    for i in range(number):
        shutil.copytree(runs / ("static" if i % 2 else "relaxed"), f"many/{i:03}")
    arguments = ["data", "import", "many", "--into", "local:store", "--processes", "1"]
    script = [sys.executable, "-c", STOPPED_IN_THE_SECOND_CHUNK, moment, str(int(ending))]
    process = subprocess.Popen([*script, *arguments], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=120)
    assert process.returncode == (INTERRUPTED if ending == signal.SIGINT else -ending), err
    assert ending == signal.SIGKILL or b"the same command continues" in err
    assert not _readers_of(process.pid)
    assert _read() == CHUNK  # labels of the second chunk may be there; that it was read is not noted
    labels = {point.point_id: point.energy for point in stored()}
    assert len(labels) == 2
    code, out, _ = run(capsys, "many", "--into", "local:store", "--json", "--processes", "2")
    assert code == 0
    content = json.loads(out)
    assert (content["frames"], content["present"] + content["accepted"]) == (number, number)
    assert _read() == number
    assert labels == {point.point_id: point.energy for point in stored()}


def _read():
    with open_store("local:store", create=False) as store:
        return len(known_calculations(store))


def _readers_of(parent):
    """Reader processes of a process that has ended; they may need a moment to end, too."""
    for _ in range(100):
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"workflows.vasp_import.worker" in words and str(parent).encode() in words:
                found.append(entry.parent.name)
        if not found:
            return []
        time.sleep(0.05)
    return found


def test_a_run_is_not_read_while_it_is_written(capsys):
    """A run that is still going is refused, and taken once it has finished."""
    outcar = Path("my runs/static/OUTCAR")
    whole = outcar.read_text()
    outcar.write_text(whole[: len(whole) // 2])
    shutil.rmtree("my runs/no_lorbit")
    code, out, _ = run(capsys, "my runs", "--into", "local:store")
    assert code == 1
    assert "truncated" in out
    outcar.write_text(whole)
    os.utime(outcar)
    assert run(capsys, "my runs", "--into", "local:store")[0] == 0
    assert len(stored()) == 2
