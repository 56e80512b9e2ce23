"""Imports into a store: resumed, repeated, at declared levels, with what could not be read."""

import copy
import json
import os
import shutil

import numpy as np
import orjson
import pytest

from datastore import open_store
from datastore.calculations import known_calculations
from datastore.errors import DataError
from datastore.importing import Replacement
from datastore.queries import find
from tests.support.vasp_runs import HUBBARD, MAGMOMS, mixed, vasp_run
from tests.workflows.vasp_import.test_documents import task_document
from workflows.vasp_import import runner
from workflows.vasp_import.runner import VaspImport, import_vasp
from workflows.vasp_import.worker import answer


@pytest.fixture
def store(tmp_path):
    with open_store(f"local:{tmp_path / 'store'}") as opened:
        yield opened


@pytest.fixture
def tree(finished, tmp_path):
    for number, name in enumerate(("static", "relaxed", "no_lorbit", "version_5")):
        shutil.copytree(finished(name), tmp_path / f"tree/batch {number}/{name}")
    (tmp_path / "tree/data.tar.gz").write_bytes(b"x")
    return tmp_path / "tree"


def test_a_tree_becomes_labels_and_reasons(store, tree):
    seen = []
    report = import_vasp(store, [str(tree)], VaspImport(campaign="others", watch=lambda *now: seen.append(now)))
    assert (report.frames, report.accepted, report.present, report.not_in) == (5, 2, 1, 2)
    assert {reason: found.count for reason, found in report.refused.items()} == {"no moments": 1, "packed folder": 1}
    assert report.refused["no moments"].examples[0].startswith(f"{tree}/batch 2/no_lorbit: OUTCAR")
    assert seen[:5] == [(0, 0)] * 5
    assert seen[-1] == (5, 5)
    points = list(find(store))
    assert {point.source["file"] for point in points} == {"batch 0/static", "batch 1/relaxed"}
    assert {point.campaign for point in points} == {"others"}


def test_twice_reads_nothing_again_and_changes_are_seen(store, tree, monkeypatch):
    import_vasp(store, [str(tree)], VaspImport())
    before = list(store.points.query({}))
    given = []
    real = runner.read_all

    def read_all(tasks, *rest):
        given.append([task.item.origin for task in tasks if task.message is not None])
        return real(tasks, *rest)

    monkeypatch.setattr(runner, "read_all", read_all)

    def asked():
        return import_vasp(store, [str(tree)], VaspImport()), given[-1]

    report, read = asked()
    assert (read, report.present, report.not_in) == ([], 3, 2)
    assert list(store.points.query({})) == before
    os.utime(tree / "batch 2/no_lorbit/OUTCAR", (1, 1))
    shutil.copytree(tree / "batch 0/static", tree / "batch 9")
    report, read = asked()
    assert read == [f"{tree}/batch 2/no_lorbit", f"{tree}/batch 9"]
    assert (report.accepted, report.present, report.not_in) == (0, 4, 2)


def test_reasons_that_may_pass_are_tried_again(store, tree, monkeypatch):
    answer = {"points": [], "refused": [("too slow", "reading took more than 1 s")]}
    real = runner.read_all

    def slow(tasks, *rest):
        for task in tasks:
            task.answer = answer
            yield task

    monkeypatch.setattr(runner, "read_all", slow)
    assert import_vasp(store, [str(tree)], VaspImport()).not_in == 5
    assert {known.stamp for known in known_calculations(store).values()} == {""}
    monkeypatch.setattr(runner, "read_all", real)
    assert import_vasp(store, [str(tree)], VaspImport()).not_in == 2


def test_another_version_of_the_importer_reads_again(store, tree, monkeypatch):
    import_vasp(store, [str(tree)], VaspImport())
    monkeypatch.setattr(runner, "IMPORTER", "spinmultinet vasp import 99")
    given = []
    real = runner.read_all

    def read_all(tasks, *rest):
        given.extend(task for task in tasks if task.message is not None)
        return real(tasks, *rest)

    monkeypatch.setattr(runner, "read_all", read_all)
    report = import_vasp(store, [str(tree)], VaspImport())
    assert len(given) == 4
    assert [(task.message, task.answer) for task in given] == [(None, None)] * 4  # forgotten when they are done
    assert (report.accepted, report.present) == (0, 3)


def test_runs_get_the_declared_level_that_they_agree_with(store, tree):
    import_vasp(store, [str(tree / "batch 0")], VaspImport())
    (own,) = find(store)
    theory = own.level_of_theory
    wider = {
        **theory,
        "hubbard_u": {**theory["hubbard_u"], "Co": 3.32},
        "potcars": {**theory["potcars"], "Co": {"titel": "PAW_PBE Co 02Aug2007"}},
    }
    other = {**wider, "ecut": 600.0}
    against = {**wider, "hubbard_u": {**wider["hubbard_u"], "Ni": 5.0}}
    silent = {**theory, "potcars": {"Ni": theory["potcars"]["Ni"], "O": theory["potcars"]["O"]}}
    with open_store("memory:") as fresh:
        import_vasp(fresh, [str(tree / "batch 0")], VaspImport(levels=(other, against, silent, wider)))
        (point,) = find(fresh)
        assert point.level_of_theory == wider
    with open_store("memory:") as fresh:
        import_vasp(fresh, [str(tree / "batch 0")], VaspImport(levels=(other, against, silent)))
        assert next(find(fresh)).level_id == own.level_id


def test_numbers_of_a_faulty_import_are_replaced(store, tree):
    import_vasp(store, [str(tree / "batch 0")], VaspImport())
    (point,) = find(store)
    store.put_point(point.model_copy(update={"energy": point.energy + 1}))
    replace = Replacement("Ada", "it read another step")
    assert import_vasp(store, [str(tree / "batch 0")], VaspImport()).present == 1  # not read again
    report = import_vasp(store, [str(tree / "batch 0")], VaspImport(replace=replace))
    assert report.replaced == 1
    assert next(find(store)).energy == point.energy


def test_uneven_meshes_within_a_level_are_told(store, tmp_path):
    for name, mesh in (("a", 2), ("b", 4)):
        moved = mixed().perturb(0.01)
        folder = tmp_path / "runs" / name
        vasp_run(folder, moved, MAGMOMS, **HUBBARD)
        text = (folder / "vasprun.xml").read_text()
        found = '<v type="int" name="divisions">        2        2        2 </v>'
        assert found in text
        (folder / "vasprun.xml").write_text(text.replace(found, found.replace(" 2 ", f" {mesh} ")))
    report = import_vasp(store, [str(tmp_path / "runs")], VaspImport())
    assert report.accepted == 2
    (doubt,) = (text for text in report.doubts if "k meshes" in text)
    assert "from 9 to 17 Angstrom" in doubt


def test_files_of_task_documents_are_read_like_folders(store, tmp_path, finished):
    from workflows.vasp_import.files import documents_of

    path = tmp_path / "tasks.jsonl"
    path.write_text("\n".join(json.dumps(task_document(finished(name))) for name in ("static", "not_polarised")))
    for present in (0, 1):
        report = import_vasp(store, [str(path)], VaspImport())
        assert (report.accepted, report.present, report.not_in) == (1 - present, present, 1)
    assert next(find(store)).source["file"] == next(documents_of(path))[0]


def test_a_place_without_runs_is_an_error(store, tmp_path):
    (tmp_path / "empty").mkdir()
    for place in ("empty", "nowhere"):
        with pytest.raises(DataError, match="check the path"):
            import_vasp(store, [str(tmp_path / place)], VaspImport())


def test_a_place_without_runs_costs_no_other(store, tmp_path, tree):
    (tmp_path / "empty").mkdir()
    report = import_vasp(store, [str(tmp_path / "empty"), str(tree / "batch 0")], VaspImport())
    assert (report.frames, report.accepted) == (2, 1)
    (example,) = report.refused["no run"].examples
    assert example.startswith(f"{tmp_path}/empty: no VASP run there")


@pytest.fixture(scope="module")
def sound(request):
    return task_document(request.getfixturevalue("finished")("static"))


NOT_A_NUMBER = [
    ("output", "energy"),
    ("output", "bandgap"),
    ("output", "ionic_steps", -1, "e_fr_energy"),
    ("output", "ionic_steps", -1, "forces", 0, 0),
    ("output", "outcar", "total_magnetization"),
    ("output", "outcar", "magnetization", 0, "tot"),
    ("output", "outcar", "charge", 0, "tot"),
    ("output", "run_stats", "elapsed_time"),
]


UPON = ("input", "incar", "NUPDOWN")


def spoiled(document, path, value):
    other = copy.deepcopy(document)
    *parts, last = ("calcs_reversed", 0, *path)
    place = other
    for part in parts:
        place = place[part]
    place[last] = value
    return other


def test_a_number_that_is_none_costs_its_document_only(store, tmp_path, sound):
    documents = [spoiled(sound, path, float("nan")) for path in NOT_A_NUMBER]
    documents.append(spoiled(sound, ("output", "outcar", "charge", 0, "tot"), None))
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([*documents, sound]))
    report = import_vasp(store, [str(path)], VaspImport())
    assert (report.frames, report.accepted, report.not_in) == (len(documents) + 1, 1, len(documents))


@pytest.mark.parametrize(("path", "value"), [(NOT_A_NUMBER[0], float("nan")), (UPON, float("nan")), (UPON, 10**30)])
def test_numbers_of_a_database_that_no_json_has(sound, path, value):
    """MongoDB gives NaN as it is, to the reader and not to this process."""
    answered = answer({"origin": "x", "document": spoiled(sound, path, value)})
    assert orjson.loads(orjson.dumps(answered, option=orjson.OPT_SERIALIZE_NUMPY))["points"] == []
    assert len(answered["refused"]) == 1


def test_a_label_that_does_not_survive_the_way_is_refused_alone(store, tree, monkeypatch):
    real = runner.read_all

    def damaged(tasks, *rest):
        for task in real(tasks, *rest):
            if task.item.origin.endswith("relaxed"):
                task.answer["points"][0]["energy"] = None
            yield task

    monkeypatch.setattr(runner, "read_all", damaged)
    report = import_vasp(store, [str(tree)], VaspImport())
    assert (report.frames, report.accepted, report.present) == (5, 1, 1)
    assert "energy" in report.refused["invalid"].examples[0]


def test_a_damaged_line_costs_that_line(store, tmp_path, sound):
    path = tmp_path / "tasks.jsonl"
    path.write_text("\n".join(["{", json.dumps(sound), "[" * 5000, "7"]))
    report = import_vasp(store, [str(path)], VaspImport())
    assert (report.frames, report.accepted) == (4, 1)
    assert report.refused["no task document"].count == 3
    assert "document 0: no JSON" in report.refused["no task document"].examples[0]


def test_one_reader_or_three_give_the_same_store(tree, tmp_path):
    stores = []
    for processes in (1, 3):
        with open_store(f"local:{tmp_path / str(processes)}") as opened:
            import_vasp(opened, [str(tree)], VaspImport(processes=processes))
            stores.append([{**p.to_document(), "source": p.source} for p in find(opened)])
    assert stores[0] == stores[1]
    assert np.isfinite(stores[0][0]["energy"])
