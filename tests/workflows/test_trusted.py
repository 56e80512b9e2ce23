"""Hostile documents: nothing of them is imported or run, and the error names the document."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from jobflow import Flow, OutputReference
from monty.json import MontyEncoder
from pymatgen.core import Lattice, Structure

from tests.datastore.support import make_point
from tests.support.toy_jobs import count_up
from workflows.job_graph import jobs_in
from workflows.job_store import open_job_store
from workflows.jobs.label import label
from workflows.submit import RunError, run_local
from workflows.trusted import VARIABLE, UntrustedError, check, decode

ROOT = Path(__file__).resolve().parents[2]


def add(value):
    """A job that adds one, and logs nothing."""
    return count_up("/dev/null", value)


HOSTILE = [
    {"@module": "os", "@callable": "system", "@bound": None},
    {"@module": "posix", "@callable": "system"},
    {"@module": "builtins", "@callable": "eval"},
    {"@module": "subprocess", "@class": "Popen", "args": "true"},
    {"@module": "workflows.submit", "@callable": "os.system"},
    {"@module": "workflows.submit", "@callable": "os"},
    {"@module": "workflows.submit", "@class": "subprocess"},
    {"@module": "workflows.submit", "@callable": "run_local"},
    {"@module": "workflows.worker", "@callable": "main"},
    {"@module": "workflows.job_graph", "@callable": "json.loads"},
    {"@module": "workflows_of_others.jobs", "@class": "Job"},
    {"@module": "datastore.none", "@class": "None"},
    {"@module": "pandas", "@class": "DataFrame", "data": "{}"},
    {"@module": "workflows.jobs.label", "@callable": "label.original.__globals__"},
    {"@module": "workflows.jobs.label", "@callable": "label", "@bound": {"@module": "os", "@class": "DirEntry"}},
    {"@module": ["os"], "@class": "system"},
]


@pytest.mark.parametrize(
    "part", HOSTILE, ids=lambda part: f"{part['@module']}.{part.get('@callable', part.get('@class'))}"
)
@pytest.mark.parametrize("wrap", [lambda part: part, lambda part: {"a": [{"b": part}]}, lambda part: [1, [part]]])
def test_what_is_not_on_the_list_is_refused(part, wrap):
    with pytest.raises(UntrustedError, match=r"^document 7 names .*; nothing of it was run\. Find out who wrote it"):
        check(wrap(part), "document 7")


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Name of a module that writes a file where it is imported, and that file."""
    (tmp_path / "trap_module.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\ndef job(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    yield "trap_module", tmp_path / "sprung"
    sys.modules.pop("trap_module", None)


def test_a_module_with_a_side_effect_is_not_imported(trap):
    module, sprung = trap
    for kind in ("@class", "@callable"):
        with pytest.raises(UntrustedError, match="trap_module"):
            decode(json.dumps({"a": {"@module": module, kind: "job"}}), "flow of job 1")
    assert not sprung.exists()
    assert module not in sys.modules


def hostile_job(command):
    """A stored job that would run a command of the shell."""
    document = json.loads(json.dumps(add(1), cls=MontyEncoder))
    document["function"] = {"@module": "os", "@callable": "system", "@bound": None}
    return {**document, "function_args": [command], "metadata": {"kind": "label"}}


def test_a_flow_in_the_store_does_not_run_a_command(tmp_path):
    """What another user of the database wrote as the flow that a job of ours added."""
    first = add(1)
    first.update_metadata({"dynamic": True})
    uri, ours = f"local:{tmp_path / 'store'}", tmp_path / "ours"
    evil = {**hostile_job(f"touch {tmp_path / 'sprung'}"), "uuid": "evil"}
    store = open_job_store(uri)
    done = {"uuid": first.uuid, "index": 1}
    store.update([{**done, "output": 3}], key=["uuid", "index"])
    store.spin_store.flows.update([{**done, "flows": [json.dumps(evil)]}], key=["uuid", "index"])
    store.close()
    with pytest.raises(RunError, match=r"job evil names os\.system, which is not of this program"):
        run_local(Flow([first]), uri, ours, workers=1)
    assert not (tmp_path / "sprung").exists()


def test_an_output_in_the_store_is_not_decoded(tmp_path, trap):
    module, sprung = trap
    uri = f"local:{tmp_path / 'store'}"
    first, store = add(1), open_job_store(uri)
    evil = {"a": {"@module": module, "@class": "job"}}
    store.update([{"uuid": first.uuid, "index": 1, "output": evil}], key=["uuid", "index"])
    store.close()
    second = add(OutputReference(first.uuid))
    with pytest.raises(RunError, match=f"output of job .* names {module}"):
        run_local(Flow([second]), uri, tmp_path / "ours", workers=1)
    assert not sprung.exists()


def test_what_this_program_stores_passes(monkeypatch):
    structure = Structure(Lattice.cubic(4.2), ["Ni"], [[0, 0, 0]], site_properties={"magmom": [1.8]})
    for content in (make_point(), make_point().config(), structure, np.arange(3.0), Path("a"), add(1)):
        back = decode(json.dumps({"a": content}, cls=MontyEncoder), "test")["a"]
        assert type(back) is type(content)
    labels = json.dumps(Flow([label(None, make_point().config())]), cls=MontyEncoder)
    assert [job.name for job in jobs_in(labels)] == ["label"]
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(UntrustedError, match=VARIABLE):
        decode(json.dumps(add(1), cls=MontyEncoder), "test")


def test_documents_are_decoded_nowhere_else():
    """monty's decoders import what a document names; they are used by workflows.trusted alone."""
    word = re.compile(r"\b(MontyDecoder|process_decoded|loadfn|Job\.from_dict|Flow\.from_dict|allow_pickle=True)\b")
    # Classes of monty decode what is in them; each place that reads one checks the document first.
    of_classes = re.compile(r"(?<!``)\b[A-Z]\w*\.from_dict\(")
    checked = {ROOT / "workflows" / "structures" / "files.py": ["Structure.from_dict("]}
    word_of_yaml = re.compile(r"yaml\.(load|full_load|unsafe_load)\(|Loader=yaml\.(?!Safe)")
    for package in ("datastore", "spinmultinet", "workflows"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            assert not word_of_yaml.search(text), path
            assert path == ROOT / "workflows" / "trusted.py" or not word.search(text), path
            assert of_classes.findall(text) == checked.get(path, []), path


def test_arrays_are_read_without_pickle():
    for package in ("datastore", "spinmultinet", "workflows"):
        for path in (ROOT / package).rglob("*.py"):
            for call in path.read_text().split("np.load(")[1:]:
                assert "allow_pickle=False" in call.split("\n")[0], path
