"""The engine on the test program, which custodian runs as it would run VASP."""

import gzip
import json
import time
from pathlib import Path

import numpy as np
import pytest

from datastore.schema import SpinConfig
from tests.support import vasp_mutations
from workflows.engines import get_engine
from workflows.engines.interface import LabelError, TryLaterError
from workflows.engines.vasp import potcars
from workflows.engines.vasp.engine import VaspEngine, _along_z
from workflows.engines.vasp.levels import covers
from workflows.jobs.label import crash_document, label_job
from workflows.structures import apply_ordering, rocksalt
from workflows.vasp_import.convert import label
from workflows.vasp_import.discover import find_runs
from workflows.vasp_import.folders import read_folder

QUICK = {"type": "vasp", "kpts": {"all8": [2, 1, 1], "rhombohedral4": [2, 2, 1]}, "run": {"poll_seconds": 0.05}}


def engine(**options) -> VaspEngine:
    return get_engine({**QUICK, **options})


def nickel_oxide(**fields) -> SpinConfig:
    structure = apply_ordering(rocksalt("Ni", lattice_constant=4.2, cell="rhombohedral4"), "AFM-II")
    return SpinConfig(**{**SpinConfig.from_structure(structure, "AFM-II").model_dump(), **fields})


def vectors(config: SpinConfig, direction=(0.6, 0.0, 0.8)) -> np.ndarray:
    return np.outer(config.magmoms_in, direction)


def only_folder(place: Path) -> Path:
    (folder,) = place.glob("vasp_????????")
    return folder


def test_a_label_and_the_files_that_stay(vasp_on_path, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "INCAR").write_text("mine")
    monkeypatch.chdir(tmp_path / "here")
    point = engine().label(nickel_oxide(), tmp_path / "work")
    assert point.verdict == "accepted", point.verdict_reasons
    assert point.engine_version.startswith("6.")  # VASP says it in OUTCAR
    assert point.level_id == engine().level_id()
    assert point.kpoints == [2, 2, 1]
    assert len(point.charges) == 4
    assert point.band_gap > 1
    assert point.energy != point.free_energy
    assert point.timings["iterations"] > 2
    assert [path.name for path in Path.cwd().iterdir()] == ["INCAR"], "nothing is written where the caller stands"
    assert Path("INCAR").read_text() == "mine"
    names = {path.name for path in only_folder(tmp_path / "work").iterdir()}
    assert {"OUTCAR.gz", "vasprun.xml.gz", "INCAR.gz", "custodian.json.gz", "site_order.json", "potcars.json"} <= names
    assert not names & {"POTCAR", "POTCAR.gz", "WAVECAR", "CHGCAR"}


def test_licensed_files_of_a_killed_run_go(vasp_on_path, tmp_path):
    """Its own process can no longer see to that; whoever records the failure does."""
    work = tmp_path / "vasp_01234567"
    (work / "held").mkdir(parents=True)
    for path in (work / "POTCAR", work / "POTCAR.orig", work / "held" / "POTCAR", work / "INCAR"):
        path.write_text("POTCAR")
    lost = label_job(engine(), nickel_oxide())
    assert crash_document(lost, "signal 9", 1.0, tmp_path)["output"]["error_type"] == "crashed"
    assert not list(tmp_path.rglob("POTCAR*"))
    assert (work / "INCAR.gz").exists()
    (work / "POTCAR").write_text("POTCAR")
    engine(keep="all").tidy(tmp_path)
    assert (work / "POTCAR").exists()


def test_everything_can_be_kept(vasp_on_path, tmp_path):
    engine(keep="all").label(nickel_oxide(), tmp_path)
    assert {"POTCAR", "OUTCAR"} <= {path.name for path in only_folder(tmp_path).iterdir()}


def test_results_come_back_in_the_callers_order(vasp_on_path):
    """Mn Ni Mn O O Ni O O, as it is not written."""
    config = vasp_mutations.configuration()
    point = engine().label(config)
    assert np.sign(point.magmoms_out[[0, 1, 2, 5]]).tolist() == [1, -1, -1, 1]
    manganese = np.abs(point.magmoms_out) > 4
    assert [symbol == "Mn" for symbol in config.species] == manganese.tolist()
    oxygen = np.array(point.charges) < 7  # valence electrons: 6 of O, 13 of Mn_pv, 16 of Ni_pv
    assert [symbol == "O" for symbol in config.species] == oxygen.tolist()


def test_what_a_killed_try_left_is_never_read(vasp_on_path, tmp_path):
    """An OUTCAR of another configuration lies in the folder, and a WAVECAR with its spin state."""
    config = nickel_oxide()
    engine(keep="all").label(
        nickel_oxide(positions=config.positions + np.outer([1, 0, 0, 0], (0.05, 0, 0))), tmp_path / "a"
    )
    right = engine(keep="all").label(config, tmp_path / "b")
    folder = only_folder(tmp_path / "b")
    for name in ("OUTCAR", "vasprun.xml", "OSZICAR", "CONTCAR"):
        (folder / name).write_bytes((only_folder(tmp_path / "a") / name).read_bytes())
    (folder / "WAVECAR").write_text("state")
    (folder / "INCAR.gz").write_bytes(gzip.compress(b"old"))
    again = engine().label(config, tmp_path / "b")
    assert again.energy == pytest.approx(right.energy, abs=1e-9)
    assert b"MAGMOM" in gzip.decompress((folder / "INCAR.gz").read_bytes())


def test_a_program_that_fails_leaves_a_failure_with_its_history(vasp_on_path, tmp_path):
    (vasp_on_path.binaries / "vasp_std").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(LabelError) as caught:
        engine().label(nickel_oxide(), tmp_path)
    assert caught.value.kind == "crashed"
    record = engine().failure(nickel_oxide(), caught.value)
    assert "\n" not in record.error
    assert not (only_folder(tmp_path) / "POTCAR").exists(), "nothing licensed stays, however it ended"


def test_inputs_that_are_wrong_never_start_the_program(vasp_on_path, tmp_path, monkeypatch):
    """Somebody's own generator drops MAGMOM: no core hour is spent."""
    from workflows.engines.vasp.inputs import SpinStaticSetGenerator

    right = SpinStaticSetGenerator.incar_of
    monkeypatch.setattr(
        SpinStaticSetGenerator,
        "incar_of",
        lambda self, *args: {k: v for k, v in right(self, *args).items() if k != "MAGMOM"},
    )
    with pytest.raises(LabelError, match="MAGMOM: expected 4 numbers, found nothing") as caught:
        engine().label(nickel_oxide(), tmp_path)
    assert caught.value.kind == "refused"
    assert not list(tmp_path.glob("*/vasp.out*"))


def test_a_potcar_that_changed_since_the_campaign_began_is_no_failure_of_the_configuration(vasp_on_path):
    begun = engine()
    path = vasp_on_path.potcars / "POT_GGA_PAW_PBE" / "Ni_pv" / "POTCAR"
    path.write_text(path.read_text().replace("0.2000000000E+01", "0.3000000000E+01"))
    with pytest.raises(TryLaterError, match=r"has hash .* the engine says"):
        begun.label(nickel_oxide())


def test_potcars_that_this_machine_lacks_are_no_failure_of_the_configuration(vasp_on_path, monkeypatch):
    begun = engine()
    monkeypatch.setitem(potcars.SETTINGS, "PMG_VASP_PSP_DIR", None)
    with pytest.raises(TryLaterError, match="the folder of POTCARs is not set"):
        begun.label(nickel_oxide())


def test_vectors_relax_with_the_non_collinear_program(vasp_on_path):
    config = nickel_oxide()
    point = engine(spins="noncollinear").label(nickel_oxide(magmoms_in=vectors(config)))
    assert point.verdict == "accepted", point.verdict_reasons
    assert point.magmoms_out.shape == (4, 3)
    flat = engine(spins="noncollinear").label(config)
    assert flat.magmoms_out.shape == (4,)
    assert flat.energy == pytest.approx(point.energy, abs=1e-5)
    assert flat.level_id == point.level_id


def test_spin_orbit_coupling_is_another_level_and_runs(vasp_on_path):
    config = nickel_oxide()
    point = engine(spins="spin-orbit").label(nickel_oxide(magmoms_in=vectors(config)))
    assert point.level_of_theory["incar"]["LSORBIT"] is True
    assert point.level_id not in {engine().level_id(), engine(spins="noncollinear").level_id()}


@pytest.mark.parametrize("spins", ["collinear", "noncollinear", "spin-orbit"])
def test_ferromagnets_are_no_less_trusted_where_moments_could_turn(vasp_on_path, spins):
    """Two channels hold whole numbers of electrons; with spin-orbit coupling there are no channels."""
    start = nickel_oxide()
    up = nickel_oxide(magmoms_in=np.abs(start.magmoms_in), ordering="FM")
    point = engine(spins=spins).label(up)
    assert point.verdict == "accepted", point.verdict_reasons
    assert point.band_gap > 0.1
    whole = abs(point.total_moment - round(point.total_moment)) < 1e-3
    assert whole == (spins != "spin-orbit")


def test_held_moments_stay_and_the_label_says_what_it_took(vasp_on_path):
    free = engine().label(nickel_oxide())
    asked = np.outer(free.magmoms_out * [1, 1, 0, 0], (0.6, 0.0, 0.8))
    tilted = asked + np.outer([1, 0, 0, 0], (0, 0.2, 0))
    held = nickel_oxide(magmoms_in=tilted, moment_role="constraint")
    point = engine(spins="noncollinear", constraint={"penalty": 50}).label(held)
    assert point.verdict == "accepted", point.verdict_reasons
    assert point.magmoms_out[:2] == pytest.approx(tilted[:2], abs=0.05)
    assert point.level_id == engine(spins="noncollinear").level_id(), "the penalty is no level, but in the history"
    assert 0 < point.history[-1]["penalty_energy"] < 0.004
    strict = engine(spins="noncollinear", constraint={"penalty": 50, "largest": 1e-9})
    with pytest.raises(LabelError, match=r"raise constraint\.penalty") as caught:
        strict.label(held)
    assert caught.value.kind == "not-converged"


def test_moments_are_held_only_where_the_settings_say_how(vasp_on_path):
    with pytest.raises(
        LabelError, match=r"cannot hold moments as 'constraint'.*state spins: noncollinear and constraint"
    ):
        engine().label(nickel_oxide(moment_role="constraint"))
    assert engine().moment_roles == ("guess",)
    assert engine(spins="noncollinear", constraint={}).moment_roles == ("guess", "constraint")


def test_moments_that_leave_the_axis_they_were_asked_on():
    assert _along_z(np.array([[0.1, 0, 2.0], [0, 0.05, -2.0]])).tolist() == [2.0, -2.0]
    with pytest.raises(LabelError, match=r"site 1 by 1\.50 muB") as caught:
        _along_z(np.array([[0, 0, 2.0], [1.5, 0, -1.0]]))
    assert caught.value.kind == "branch-lost"


def test_the_engine_travels_with_its_hashes(vasp_on_path):
    here = engine()
    spec = json.loads(json.dumps(here.model_dump(mode="json")))
    assert get_engine(spec) == here
    assert spec["potcar_hashes"] == here.potcar_hashes


def test_what_lacks_is_said_with_its_remedy(vasp_on_path):
    assert engine().missing() == []
    (vasp_on_path.binaries / "vasp_ncl").unlink()
    assert engine().missing() == []
    assert "ATOMATE2_VASP_NCL_CMD" in engine(spins="noncollinear").missing()[0]
    (stated,) = engine(run={"vasp_cmd": "vasp_gpu"}).missing()
    assert "'vasp_gpu' of VASP is not found" in stated
    assert stated.endswith("or correct run.vasp_cmd"), "atomate2's setting would change nothing"
    launched = engine(run={"vasp_cmd": "env vasp_gpu"}).missing()[0]
    assert "(vasp_gpu)" in launched, "the launcher is there, the program is not"


def test_tags_of_the_machine_that_decide_numbers_are_found_early(vasp_on_path, monkeypatch):
    import atomate2

    monkeypatch.setattr(atomate2.SETTINGS, "VASP_INCAR_UPDATES", {"NCORE": 4, "ENCUT": 400})
    (problem,) = engine().missing()
    assert "VASP_INCAR_UPDATES in ~/.atomate2.yaml sets ENCUT," in problem
    monkeypatch.setattr(atomate2.SETTINGS, "VASP_INCAR_UPDATES", {"ALGO": "None"})
    (problem,) = engine().missing()
    assert "VASP_INCAR_UPDATES in ~/.atomate2.yaml: ALGO is None; single points are made with" in problem


def test_our_own_folders_are_imported_at_the_level_they_were_made(vasp_on_path, tmp_path):
    """The rule of the mesh is in KPOINTS, the hashes of the POTCARs are in potcars.json."""
    point = engine().label(nickel_oxide(), tmp_path)
    (run,) = find_runs(only_folder(tmp_path))
    imported = label(read_folder(run, str(tmp_path)))
    assert covers(point.level_of_theory, imported.level_of_theory)
    assert set(imported.level_of_theory["potcars"]) == {"Ni", "O"}
    assert np.sort(imported.magmoms_out) == pytest.approx(np.sort(point.magmoms_out))
    assert (imported.free_energy, imported.kpoints) == (point.free_energy, point.kpoints)


@pytest.mark.parametrize("role", ["guess", "constraint"])
def test_vectors_are_imported_at_the_level_they_were_made(vasp_on_path, tmp_path, role):
    """Held or not: an engine that can hold moments says no other level for those it does not hold."""
    along = engine().label(nickel_oxide()).magmoms_out * [1, 1, 0, 0]
    config = nickel_oxide(magmoms_in=np.outer(along, (0.6, 0.0, 0.8)), moment_role=role)
    able = engine(spins="noncollinear", constraint={"penalty": 50, "radii": {"Ni": 1.1}})
    point = able.label(config, tmp_path)
    (run,) = find_runs(only_folder(tmp_path))
    imported = label(read_folder(run, str(tmp_path)))
    assert covers(point.level_of_theory, imported.level_of_theory)
    assert imported.moment_role == role
    assert point.level_id == engine(spins="noncollinear").level_id()


def test_cores_are_processes_times_threads(vasp_on_path):
    assert engine(processes=8, run={"threads": 2}).cores() == 16


def test_a_plan_takes_more_for_more(vasp_on_path):
    small, large = nickel_oxide(), vasp_mutations.configuration()
    assert 0 < engine().seconds_estimate(small) < engine().seconds_estimate(large)
    assert engine().seconds_estimate(small) < engine(spins="noncollinear").seconds_estimate(small)
    # Core seconds: that more cores take them at the same time is not the estimate's business.
    assert engine(processes=16, run={"threads": 2}).seconds_estimate(small) == engine().seconds_estimate(small)


def test_a_relaxation_ends_where_the_forces_do(vasp_on_path, tmp_path):
    start = nickel_oxide()
    started = time.monotonic()
    found = engine().relax(start, "all", 0.01, 50, tmp_path)
    assert time.monotonic() - started < 60
    assert found.species == start.species
    assert found.magmoms_in.tolist() == start.magmoms_in.tolist()
    assert found.parent_lattice.tolist() == start.lattice.tolist(), "the k mesh stays that of the start"
    assert abs(np.linalg.det(found.lattice) / np.linalg.det(start.lattice) - 1) > 1e-3
    point = engine().label(found)
    assert np.abs(point.forces).max() < 0.01
    assert np.abs(point.stress).max() < 0.01
