"""Task documents of emmet give the labels that their folders give; damaged ones a reason."""

import copy
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from datastore.mapping import RefusedError
from datastore.quality import judge
from workflows.engines.interface import CHANGED
from workflows.vasp_import.convert import Raw, label
from workflows.vasp_import.discover import find_runs
from workflows.vasp_import.documents import read_document
from workflows.vasp_import.folders import read_folder

SHARED = Path(os.environ.get("SPINMULTINET_TEST_DATA", "nowhere")) / "vasp"
SAME = ("forces", "magmoms_in", "magmoms_out", "lattice", "positions", "stress")


def task_document(folder):
    from emmet.core.tasks import TaskDoc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return json.loads(TaskDoc.from_directory(folder).model_dump_json())


def of_folder(folder):
    (run,) = find_runs(folder)
    return judge(label(read_folder(run, str(folder.parent))))


def of_document(document):
    (raw,) = read_document(document, "tasks 1")
    if isinstance(raw, RefusedError):
        raise raw
    return judge(label(raw))


def assert_same(document, folder):
    """The same label, but for the hash of the POTCARs, for which emmet has another one."""
    for name in SAME:
        np.testing.assert_allclose(getattr(document, name), getattr(folder, name), atol=1e-6)
    for name in ("species", "energy", "free_energy", "ordering", "kpoints", "verdict", "timings"):
        assert getattr(document, name) == getattr(folder, name)
    assert document.engine_version.lower() == folder.engine_version.lower()
    if document.magmoms_out.ndim == 1:
        assert document.total_moment == pytest.approx(folder.total_moment, abs=1e-3)
    else:
        assert document.total_moment == pytest.approx(np.linalg.norm(document.magmoms_out.sum(axis=0)))
    theories = [dict(point.level_of_theory) for point in (document, folder)]
    potcars = [theory.pop("potcars") for theory in theories]
    assert theories[0] == theories[1]
    assert potcars[0].keys() == potcars[1].keys()


@pytest.fixture(scope="module")
def static(request):
    """The document of a static run, and the label of its folder."""
    finished = request.getfixturevalue("finished")
    return task_document(finished("static")), of_folder(finished("static"))


@pytest.fixture
def document(static):
    return copy.deepcopy(static[0])


@pytest.mark.parametrize("name", ["static", "version_5", "relaxed"])
def test_a_document_gives_the_label_of_its_folder(finished, name):
    folder = finished(name)
    point = of_document(task_document(folder))
    assert_same(point, of_folder(folder))
    assert point.source["checked"] == "a task document: not against OUTCAR"
    assert point.source["file"] == "tasks 1"


@pytest.mark.skipif(not SHARED.is_dir(), reason="SPINMULTINET_TEST_DATA names no folder with vasp/")
@pytest.mark.parametrize("name", ["fe4_magnetic_run", "mgmn2o4_fm_static", "nio_mp_u62", "feo_afm_custodian"])
def test_documents_of_real_folders_give_their_labels(name):
    document, folder = task_document(SHARED / name), of_folder(SHARED / name)
    if name == "feo_afm_custodian":  # ICHARG = 1 without a CHGCAR, which OUTCAR alone says
        assert "charge density" in of_document(document).source["moments_in"]
        document["calcs_reversed"][0]["input"]["parameters"]["ICHARG"] = 2
    point = of_document(document)
    assert_same(point, folder)
    assert point.point_id == folder.point_id  # no POTCAR, no hash: one level


def test_emmets_hash_of_a_potcar_is_part_of_the_level(document):
    specs = document["calcs_reversed"][0]["input"]["potcar_spec"]
    before = of_document(document)
    assert before.level_of_theory["potcars"]["Ni"].keys() == {"titel"}
    for spec in specs:
        spec["hash"] = f"hash of {spec['titel']}"
    point = of_document(document)
    assert point.level_of_theory["potcars"]["Ni"]["md5"] == "hash of PAW_PBE Ni_pv 01Jan2000"
    assert point.level_id != before.level_id
    specs[-1]["titel"] = specs[0]["titel"].replace("Mn_pv", "Mn_sv")
    with pytest.raises(RefusedError, match="two POTCARs for one element"):
        of_document(document)


def test_a_job_of_jobflow_holds_the_document_as_its_output(document, static):
    job = {"uuid": "u", "index": 1, "output": document}
    assert of_document(job).energy == static[1].energy


def test_every_calculation_of_a_document_is_one_label(document):
    first = copy.deepcopy(document["calcs_reversed"][0])
    first["task_name"], first["output"]["ionic_steps"][-1]["num_electronic_steps"] = "relax1", 999
    document["calcs_reversed"].append(first)
    failed, raw = read_document(document, "tasks 1")
    assert (failed.reason, isinstance(raw, Raw)) == ("not converged", True)
    assert raw.source["file"] == "tasks 1 (standard)"


def test_the_direction_of_a_vector_moment_is_not_lost(finished):
    document = task_document(finished("vectors"))
    with pytest.raises(RefusedError, match="direction lost"):  # as emmet writes JSON
        of_document(document)
    folder = of_folder(finished("vectors"))
    calculation = document["calcs_reversed"][0]
    for site, vector in zip(calculation["output"]["structure"]["sites"], folder.magmoms_out, strict=True):
        site["properties"]["magmom"] = {"@class": "Magmom", "moment": vector.tolist(), "saxis": [0, 0, 1]}  # jobflow
    assert_same(of_document(document), folder)
    calculation["output"]["structure"]["sites"][0]["properties"]["magmom"]["saxis"] = [1, 0, 0]
    with pytest.raises(RefusedError, match="turned moments"):
        of_document(document)


@pytest.mark.parametrize("place", ["incar", "parameters"])
def test_vectors_in_the_frame_of_saxis_are_refused(finished, place):
    """emmet says of them that SAXIS is 0 0 1, whatever it was."""
    folder = finished("turned_axis")
    document, moments = task_document(folder), of_folder(folder).magmoms_out
    calculation = document["calcs_reversed"][0]
    for site, vector in zip(calculation["output"]["structure"]["sites"], moments, strict=True):
        site["properties"]["magmom"] = {"@class": "Magmom", "moment": vector.tolist(), "saxis": [0, 0, 1]}
    del calculation["input"][{"incar": "parameters", "parameters": "incar"}[place]]["SAXIS"]
    with pytest.raises(RefusedError, match="turned moments"):
        of_document(document)
    calculation["input"][place]["SAXIS"] = [0, 0, 2]
    assert of_document(document).magmoms_out.shape == (8, 3)


def test_of_several_slim_calculations_the_newest_has_forces(document):
    older = copy.deepcopy(document["calcs_reversed"][0])
    older["task_name"] = "relax1"
    document["calcs_reversed"].append(older)
    for calculation in document["calcs_reversed"]:
        calculation["output"]["ionic_steps"] = None
    refused, raw = read_document(document, "tasks 1")
    assert (refused.reason, isinstance(raw, Raw)) == ("incomplete document", True)
    assert raw.source["file"] == "tasks 1 (standard)"


def test_a_slim_relaxation_is_at_the_level_of_the_whole_one(finished):
    document = task_document(finished("relaxed"))
    whole = of_document(document)
    assert whole.level_of_theory["basis"] == "plane waves of the first cell of a relaxation"
    document["calcs_reversed"][0]["output"]["ionic_steps"] = None
    slim = of_document(document)
    assert (slim.level_id, slim.source["step"]) == (whole.level_id, "last of several")
    del document["calcs_reversed"][0]["input"]["parameters"]
    assert of_document(document).level_id == whole.level_id


def test_a_shift_of_the_mesh_is_another_level(document, static):
    kpoints = document["calcs_reversed"][0]["input"]["kpoints"]
    kpoints["usershift"] = [0.0, 1.0, 0.0]  # whole divisions: the same points
    assert of_document(document).level_id == of_document(static[0]).level_id
    kpoints["usershift"] = [0.5, 0.5, 0.5]
    assert of_document(document).level_of_theory["kpts"]["centre"] == "gamma, shifted by 0.5 0.5 0.5"


def test_a_blank_comment_of_kpoints_is_still_a_file(document):
    document["calcs_reversed"][0]["input"]["incar"]["KSPACING"] = 0.2
    document["orig_inputs"] = {"kpoints": {"comment": " ", "generation_style": "Gamma"}}
    assert "mesh" in of_document(document).level_of_theory["kpts"]
    document["orig_inputs"] = {"kpoints": None}
    assert of_document(document).level_of_theory["kpts"]["kspacing"] == 0.2


@pytest.mark.parametrize("where", [("input",), ("output",)])
def test_structures_in_several_orders_are_refused(document, where):
    document["calcs_reversed"][0][where[0]]["structure"]["sites"].reverse()
    with pytest.raises(RefusedError, match="different orders"):
        of_document(document)


def test_a_slim_document_has_moments_on_its_sites_and_steps_elsewhere(document, static):
    output = document["calcs_reversed"][0]["output"]
    output["outcar"], output["ionic_steps"] = None, None
    point = of_document(document)
    np.testing.assert_allclose(point.magmoms_out, static[1].magmoms_out, atol=1e-3)
    assert point.source["energies"] == "the document has one energy"
    np.testing.assert_allclose(point.forces, static[1].forces)


def test_a_correction_that_changed_the_level(document):
    incar = document["calcs_reversed"][0]["input"]["incar"]
    document["orig_inputs"] = {"incar": {**incar, "SIGMA": 0.2}}
    action = {"dict": "INCAR", "action": {"_set": {"SIGMA": 0.05}}}
    entry = {"handler": {"@class": "VaspErrorHandler"}, "errors": ["dentet"], "actions": [action]}
    document["custodian"] = [{"corrections": [entry], "job": {}}]
    point = of_document(document)
    assert point.level_of_theory[CHANGED] == {"SIGMA": 0.05}
    assert point.level_of_theory["incar"]["SIGMA"] == 0.2
    assert len(point.corrections) == 1


def edit(document, path, value):
    *parts, last = path
    for part in parts:
        document = document[part]
    if value is None:
        del document[last]
    else:
        document[last] = value


CALC = ("calcs_reversed", 0)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("calcs_reversed",), [], "no task document"),
        ((*CALC, "input"), None, "incomplete document"),
        ((*CALC, "output", "energy"), None, "incomplete document"),
        ((*CALC, "output", "energy"), 1.0, "inconsistent"),
        ((*CALC, "output", "ionic_steps", -1, "num_electronic_steps"), 60, "not converged"),
        ((*CALC, "output", "ionic_steps", -1, "forces"), [[0, 0]], "invalid"),
        ((*CALC, "output", "outcar", "magnetization"), [{"tot": 1.0}], "no moments"),
        ((*CALC, "input", "parameters", "ISPIN"), 1, "no moments"),
        ((*CALC, "input", "parameters", "ICHARG"), 11, "not self-consistent"),
        ((*CALC, "input", "incar", "ML_LMLFF"), True, "foreign"),
        ((*CALC, "input", "incar", "I_CONSTRAINED_M"), 2, "penalty not known"),
        ((*CALC, "input", "incar", "MAGMOM"), [1.0, 2.0], "wrong shape"),
        ((*CALC, "input", "incar", "LDAUU"), [3.9], "no level of theory"),
        ((*CALC, "input", "potcar_spec"), [], "inconsistent"),
        (
            (*CALC, "input", "structure", "sites", 0, "species"),
            [{"element": "Mn", "occu": 0.5}],
            "partly occupied sites",
        ),
    ],
)
def test_what_a_document_lacks_is_a_reason(document, path, value, reason):
    edit(document, path, value)
    with pytest.raises(RefusedError) as refused:
        of_document(document)
    assert refused.value.reason == reason


@pytest.mark.parametrize("tag", ["OCCEXT", "OCCDIR12"])
def test_held_occupations_are_refused(document, tag):
    """vasprun.xml does not repeat the tag of a patched VASP; the INCAR does, where a document has it."""
    document["orig_inputs"] = {"incar": {tag: 1}}
    with pytest.raises(RefusedError) as caught:
        of_document(document)
    assert caught.value.reason == "occupations held"


def test_no_class_that_a_document_names_is_built(document):
    document["calcs_reversed"][0]["output"]["structure"]["@module"] = "os"
    document["calcs_reversed"][0]["output"]["structure"]["@class"] = "system"
    of_document(document)
