"""Run folders of the test program, and real ones, become labels; what they do not say is not made up."""

import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from datastore.mapping import RefusedError
from datastore.quality import judge
from datastore.schema import SpinConfig
from tests.support.vasp_runs import HUBBARD, MAGMOMS, VECTORS, mixed, vasp_run
from workflows.engines import get_engine
from workflows.engines.interface import CHANGED
from workflows.engines.vasp.levels import covers, kpoints_comment
from workflows.engines.vasp.potcars import digest
from workflows.structures import apply_ordering, rocksalt
from workflows.vasp_import.convert import IMPORTER, label
from workflows.vasp_import.discover import find_runs
from workflows.vasp_import.folders import read_folder

HELD = {
    **{"LNONCOLLINEAR": True, "I_CONSTRAINED_M": 2, "M_CONSTR": np.ravel(VECTORS).tolist()},
    **{"RWIGS": [1.1, 1.2, 1.1, 0.8]},
}
SHARED = Path(os.environ.get("SPINMULTINET_TEST_DATA", "nowhere")) / "vasp"


@pytest.fixture
def copy(finished, tmp_path):
    def make(name):
        return Path(shutil.copytree(finished(name), tmp_path / name))

    return make


def read(folder, root=None):
    (run,) = find_runs(folder)
    return judge(label(read_folder(run, str(root or folder.parent))))


def test_a_static_run_says_everything_itself(finished):
    folder = finished("static")
    point = read(folder)
    assert (point.engine, point.formula, point.moment_role) == ("vasp", "Mn3NiO4", "guess")
    assert point.magmoms_in.tolist() == MAGMOMS
    assert np.array_equal(np.sign(point.magmoms_out[:4]), np.sign(MAGMOMS[:4]))
    assert point.verdict == "accepted", point.verdict_reasons
    assert point.ordering == point.ordering_found == "AFM-I"
    assert (point.deformation, point.cell, point.kpoints) == ("unknown", "custom", [2, 2, 2])
    assert len(point.pair_id) == 16
    level = point.level_of_theory
    assert level["functional"] == "PBE+U"
    assert level["hubbard_u"] == {"Mn": 3.9, "Ni": 6.2}
    assert (level["ecut"], level["kpts"]) == (520.0, {"mesh": "on each label", "centre": "gamma"})
    assert level["incar"] == {
        **{"ISMEAR": 0, "SIGMA": 0.05, "ISPIN": 2, "ISYM": 0, "LASPH": True, "LMAXMIX": 4},
    }
    assert point.source["file"] == "static"
    assert point.source["importer"] == IMPORTER
    assert point.source["step"] == "single point"
    assert len(point.source["sha256"]) == len(point.source["vasprun_sha256"]) == 64
    assert set(point.timings) == {"wall", "cores"}


def test_potcars_are_known_by_their_content_where_the_file_is_there(copy):
    folder = copy("static")
    parts = (folder / "POTCAR").read_text().split("End of Dataset\n")
    texts = [f"{part}End of Dataset\n" for part in parts if part.strip()]
    potcars = read(folder).level_of_theory["potcars"]
    assert {element: content["sha256"] for element, content in potcars.items()} == {
        "Mn": digest(texts[0]),
        "Ni": digest(texts[1]),
        "O": digest(texts[3]),
    }
    with gzip.open(folder / "POTCAR.gz", "wb") as file:
        file.write((folder / "POTCAR").read_bytes())
    (folder / "POTCAR").unlink()
    assert read(folder).level_of_theory["potcars"] == potcars
    (folder / "POTCAR.gz").unlink()
    without = read(folder).level_of_theory
    assert without["potcars"]["Ni"].keys() == {"titel"}
    assert without["functional"] == "PBE+U"


def test_a_potcar_of_another_run_is_refused(copy):
    folder = copy("static")
    parts = (folder / "POTCAR").read_text().split("End of Dataset\n")
    (folder / "POTCAR").write_text("End of Dataset\n".join([parts[1], parts[0], *parts[2:]]))
    with pytest.raises(RefusedError, match="inconsistent: POTCAR has"):
        read(folder)


def test_two_blocks_of_one_element_with_two_u_are_no_level(tmp_path):
    tags = {**HUBBARD, "LDAUU": [3.9, 6.2, 4.5, 0]}
    folder = vasp_run(tmp_path / "run", mixed(), MAGMOMS, **tags)
    with pytest.raises(RefusedError, match="no level of theory: U of Mn differs between its species blocks"):
        read(folder)


def test_our_own_runs_have_the_rule_of_their_mesh(copy):
    folder = copy("static")
    lines = (folder / "KPOINTS").read_text().splitlines()
    rule = {"kppvol": 100.0, "lattice": "parent", "centre": "gamma"}
    (folder / "KPOINTS").write_text("\n".join([kpoints_comment(rule), *lines[1:]]))
    assert read(folder).level_of_theory["kpts"] == rule


def test_kspacing_is_the_rule_where_there_is_no_kpoints_file(copy):
    folder = copy("static")
    text = (folder / "vasprun.xml").read_text()
    (folder / "vasprun.xml").write_text(text.replace("<incar>", '<incar><i name="KSPACING"> 0.3</i>'))
    assert read(folder).level_of_theory["kpts"] == {"mesh": "on each label", "centre": "gamma"}
    (folder / "KPOINTS").unlink()
    assert read(folder).level_of_theory["kpts"] == {"kspacing": 0.3, "centre": "gamma"}


def test_what_our_engine_made_is_at_the_level_of_our_engine(vasp_on_path, tmp_path):
    engine = get_engine({"type": "vasp", "kpts": {"rhombohedral4": [2, 2, 2]}})
    structure = apply_ordering(rocksalt("Ni", cell="rhombohedral4"), "AFM-II")
    made = engine.label(SpinConfig.from_structure(structure, "AFM-II"), tmp_path / "work")
    (run,) = find_runs(tmp_path / "work")
    assert not (Path(run.folder) / "POTCAR").exists()
    read = judge(label(read_folder(run, str(tmp_path))))
    assert covers(engine.level_of_theory(), read.level_of_theory)
    assert read.level_id != engine.level_id()  # it has Ni and O; the engine speaks of Mn and Co, too
    for name in ("energy", "free_energy", "total_moment", "band_gap", "kpoints", "verdict", "ordering", "engine"):
        assert getattr(read, name) == getattr(made, name), name
    for name in ("magmoms_in", "magmoms_out", "forces", "stress"):
        theirs, ours = ([sorted(np.ravel(getattr(p, name)).round(6))] for p in (read, made))
        assert theirs == ours  # the order of the sites is that of the POSCAR


def test_a_relaxation_gives_its_last_step_on_the_basis_of_its_first_cell(finished):
    point = read(finished("relaxed"))
    assert point.source["step"].startswith("last of ")
    assert point.level_of_theory["basis"] == "plane waves of the first cell of a relaxation"
    assert np.abs(point.forces).max() < 0.05
    assert "basis" not in read(finished("stopped_at_nsw")).level_of_theory  # the ions moved, and not the cell
    assert point.level_id != read(finished("static")).level_id


def test_moments_that_are_not_stated_are_those_that_vasp_takes(finished):
    point = read(finished("no_magmom"))
    assert point.source["moments_in"] == "VASP's default: the INCAR has no MAGMOM"
    assert point.magmoms_in.tolist() == [1.0] * 4 + [0.0] * 4  # oxygen ended without a moment
    assert point.source["magmom"] == [1.0] * 8


def test_the_little_that_input_sets_put_on_oxygen_is_no_collapse(tmp_path):
    stated = [*MAGMOMS[:4], 0.6, 0.6, 0.6, 0.6]
    point = read(vasp_run(tmp_path / "run", mixed(), stated, **HUBBARD))
    assert point.verdict == "accepted", point.verdict_reasons
    assert point.magmoms_in.tolist() == MAGMOMS
    assert point.source["magmom"] == stated
    asked = read(vasp_run(tmp_path / "asked", mixed(), [*MAGMOMS[:4], 1.5, 0, 0, 0], **HUBBARD))
    assert asked.verdict_reasons == ["moment collapsed: site 4"]


def test_vectors_keep_their_directions(finished):
    point = read(finished("vectors"))
    np.testing.assert_array_equal(point.magmoms_in, VECTORS)
    assert point.magmoms_out.shape == (8, 3)
    assert point.ordering == "NC"
    assert point.level_of_theory["incar"]["LSORBIT"] is True
    turned = read(finished("turned_axis"))
    assert turned.level_of_theory["incar"]["SAXIS"] == [1.0, 0.0, 0.0]


def test_held_moments_are_taken_where_the_penalty_is_small(tmp_path):
    folder = vasp_run(tmp_path / "hard", mixed(), VECTORS, **HUBBARD, **HELD, LAMBDA=300)
    point = read(folder)
    assert point.moment_role == "constraint"
    np.testing.assert_array_equal(point.magmoms_in, VECTORS)
    free = vasp_run(tmp_path / "free", mixed(), VECTORS, **HUBBARD, LNONCOLLINEAR=True)
    assert point.level_id == read(free).level_id, "held within 1 meV/atom is no other level"
    (folder / "OSZICAR").unlink()
    with pytest.raises(RefusedError, match="penalty not known"):
        read(folder)
    soft = vasp_run(tmp_path / "soft", mixed(), VECTORS, **HUBBARD, **HELD, LAMBDA=10)
    with pytest.raises(RefusedError, match="penalty too large"):
        read(soft)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("not_polarised", "no moments"), ("no_lorbit", "no moments"), ("nelm_reached", "not converged")],
)
def test_refusals_of_the_reader_keep_their_reason(finished, name, reason):
    with pytest.raises(RefusedError) as refused:
        read(finished(name))
    assert refused.value.reason == reason
    assert str(finished(name)) not in str(refused.value)  # the report names the folder


@pytest.mark.parametrize("number", ["********", "nonsense", "nan"])
def test_a_penalty_that_is_no_number_is_no_small_one(tmp_path, number):
    folder = vasp_run(tmp_path / "held", mixed(), VECTORS, **HUBBARD, **HELD, LAMBDA=300)
    text = (folder / "OSZICAR").read_text()
    last = text.rindex("E_p =")
    (folder / "OSZICAR").write_text(text[:last] + f"E_p = {number} lambda\n")
    with pytest.raises(RefusedError) as refused:
        read(folder)
    assert refused.value.reason in ("overflow", "penalty too large")


@pytest.mark.parametrize("name", ["INCAR", "INCAR.orig"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 99])
def test_a_damaged_input_beside_sound_outputs_is_named(copy, name, content):
    folder = copy("static")
    shutil.copyfile(folder / "INCAR", folder / "INCAR.orig")
    (folder / name).write_bytes(content)
    with pytest.raises(RefusedError, match=rf"unreadable: {name}: .*copy it again") as refused:
        read(folder)
    assert str(folder) not in str(refused.value)


@pytest.mark.parametrize("name", ["OUTCAR", "vasprun.xml"])
@pytest.mark.parametrize("keep", [0, 5000])
def test_of_a_cut_file_and_a_packed_twin_the_twin_is_read(copy, name, keep):
    folder = copy("static")
    before = read(folder)
    whole = (folder / name).read_bytes()
    (folder / f"{name}.gz").write_bytes(gzip.compress(whole, mtime=0))
    (folder / name).write_bytes(whole[:keep])
    point = read(folder)
    assert point.point_id == before.point_id
    assert point.energy == before.energy
    (folder / f"{name}.gz").write_bytes(gzip.compress(whole[: len(whole) // 2]))
    with pytest.raises(RefusedError, match="truncated"):
        read(folder)


def test_a_run_that_went_on_from_a_wavefunction_has_the_moments_it_found(copy):
    folder = copy("static")
    path = folder / "vasprun.xml"
    text = path.read_text()
    assert text.count('name="ISTART">     0') == 1
    path.write_text(text.replace('name="ISTART">     0', 'name="ISTART">     1'))
    point = read(folder)
    assert "continued from a wavefunction" in point.source["moments_in"]
    np.testing.assert_array_equal(point.magmoms_in[:4], point.magmoms_out[:4])
    assert point.magmoms_in[4:].tolist() == [0.0] * 4
    assert point.verdict == "accepted"


@pytest.mark.parametrize("there", [True, False])
def test_a_density_that_was_asked_for_may_not_have_been_there(copy, there):
    """OUTCAR says which; ICHARG stays 1 in vasprun.xml."""
    folder = copy("static")
    text = (folder / "vasprun.xml").read_text()
    assert text.count('name="ICHARG">     2') == 1
    (folder / "vasprun.xml").write_text(text.replace('name="ICHARG">     2', 'name="ICHARG">     1'))
    said = "charge density of overlapping atoms calculated"
    assert (folder / "OUTCAR").read_text().count(said) == 1
    if there:
        (folder / "OUTCAR").write_text((folder / "OUTCAR").read_text().replace(said, "from file"))
    point = read(folder)
    assert ("continued from a charge density" in point.source.get("moments_in", "")) is there
    assert (point.magmoms_in.tolist() == MAGMOMS) is not there


def test_a_correction_that_changed_the_level_is_stated_as_by_the_engine(copy):
    folder = copy("static")
    incar = (folder / "INCAR").read_text()
    (folder / "INCAR.orig").write_text(incar.replace("SIGMA = 0.05", "SIGMA = 0.1"))
    shutil.copy(folder / "KPOINTS", folder / "KPOINTS.orig")
    action = {"dict": "INCAR", "action": {"_set": {"SIGMA": 0.05}}}
    entry = {"handler": {"@class": "VaspErrorHandler"}, "errors": ["dentet"], "actions": [action]}
    (folder / "custodian.json").write_text(json.dumps([{"job": {}, "corrections": [entry]}]))
    point = read(folder)
    assert point.level_of_theory[CHANGED] == {"SIGMA": 0.05}
    assert point.level_of_theory["incar"]["SIGMA"] == 0.1
    assert len(point.corrections) == len(point.history) == 1


def test_of_several_runs_in_a_folder_each_is_read_alone(finished, tmp_path):
    for suffix, name in (("relax1", "stopped_at_nsw"), ("relax2", "static")):
        for path in finished(name).iterdir():
            if path.name in ("OUTCAR", "INCAR", "KPOINTS"):
                shutil.copy(path, tmp_path / f"{path.name}.{suffix}")
            elif path.name == "vasprun.xml":
                (tmp_path / f"vasprun.xml.{suffix}.gz").write_bytes(gzip.compress(path.read_bytes()))
    points = [label(read_folder(run, str(tmp_path.parent))) for run in find_runs(tmp_path)]
    steps = [point.source["step"] for point in points]
    assert steps == ["last of 2", "single point"]
    assert points[1].energy == read(finished("static")).energy
    assert points[0].source["file"] == f"{tmp_path.name} (relax1)"


@pytest.mark.skipif(not SHARED.is_dir(), reason="SPINMULTINET_TEST_DATA names no folder with vasp/")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("aiida_exit_converged", "no moments"),
        ("aiida_exit_elec-unconverged", "not converged"),
        ("aiida_exit_unfinished", "truncated"),
        ("fe2o3_magmom_ldau", "missing file"),
        ("fe4_magnetic_run", "accepted"),
        ("feo_afm_custodian", "rejected"),
        ("mgmn2o4_fm_relax", "accepted"),
        ("mgmn2o4_fm_static", "accepted"),
        ("nio_mp_u62", "accepted"),
        ("si_magmom_carry_000", "accepted"),
        ("si_magmom_carry_001", "accepted"),
    ],
)
def test_real_folders_of_others(name, expected):
    if expected not in ("accepted", "rejected"):
        with pytest.raises(RefusedError) as refused:
            read(SHARED / name)
        assert refused.value.reason == expected
        return
    point = read(SHARED / name)
    assert point.verdict == expected
    (run,) = json.loads((SHARED / name / "truth.json").read_text())["vasprun"].values()
    assert point.energy == pytest.approx(run["final_energy_pymatgen"], abs=1e-7)
    assert point.free_energy == pytest.approx(run["last_e_fr_energy"], abs=1e-7)
    u_values = {e: u for e, u in run["hubbards"].items() if u}
    assert point.level_of_theory["hubbard_u"] == u_values
    assert point.level_of_theory["ecut"] == run["ENCUT"]
    stated = run["MAGMOM_in_expanded"]
    if stated is not None and "magmom" not in point.source:
        assert point.magmoms_in.tolist() == stated
