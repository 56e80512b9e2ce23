"""The test program as a program: how it starts, what it refuses, what decides its energy, and how it fails."""

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from custodian import Custodian
from custodian.custodian import CustodianError
from custodian.vasp.handlers import FrozenJobErrorHandler, UnconvergedErrorHandler, VaspErrorHandler
from custodian.vasp.jobs import VaspJob
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator
from pymatgen.io.vasp.inputs import Incar, Poscar, Potcar
from pymatgen.io.vasp.outputs import Outcar, Vasprun

from tests.support.vasp_std.cases import CASES
from tests.support.vasp_std.faults import MESSAGES, Fault, plan, starts
from tests.support.vasp_std.reading import energy, moments

CASE = CASES["collinear"]


# -- started as VASP is -------------------------------------------------------------------------------------------


def test_it_is_found_on_the_path_with_its_potcars(vasp_on_path, tmp_path):
    folder = CASE.write(tmp_path / "run")
    (folder / "POTCAR").unlink()
    Potcar([name for name, _ in CASE.blocks], functional="PBE").write_file(str(folder / "POTCAR"))
    for command in ("vasp_std", "vasp_ncl"):
        done = subprocess.run(f"{command} > vasp.out", shell=True, cwd=folder, check=False)
        assert done.returncode == 0
        assert "F= " in (folder / "vasp.out").read_text()
        assert Vasprun(folder / "vasprun.xml", parse_potcar_file=False).converged
    assert starts(vasp_on_path.faults) == 2


def test_vectors_need_vasp_ncl(vasp_on_path, tmp_path):
    folder = CASES["vectors"].write(tmp_path / "run")
    refused = subprocess.run(["vasp_std"], cwd=folder, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "non collinear calculations require that VASP is compiled" in refused.stdout
    assert not (folder / "OUTCAR").exists()
    assert subprocess.run(["vasp_ncl"], cwd=folder, capture_output=True, check=False).returncode == 0


def test_potcars_of_three_editions_differ_and_say_what_they_are(vasp_on_path):
    """Element and valence electrons are those of the real ones; the rest is invented, so pymatgen knows none."""
    titles = set()
    for edition in ("PBE", "PBE_54", "PBE_64"):
        with pytest.warns(UserWarning, match="not known to pymatgen"):
            potcars = Potcar(["Mn_pv", "Co", "Ni_pv", "O"], functional=edition)
        assert [p.nelectrons for p in potcars] == [13, 9, 16, 6]
        assert [p.element for p in potcars] == ["Mn", "Co", "Ni", "O"]
        titles |= {p.TITEL for p in potcars}
    assert len(titles) == 12


# -- faults -------------------------------------------------------------------------------------------------------


def planned(tmp_path, *faults: Fault) -> None:
    plan(tmp_path / "faults", list(faults))


@pytest.mark.parametrize("name", MESSAGES)
def test_custodian_knows_every_message(run_vasp, tmp_path, capsys, name):
    planned(tmp_path, Fault(name))
    with pytest.raises(SystemExit):
        run_vasp(CASE)
    handler = VaspErrorHandler("vasp.out")
    Path("vasp.out").write_text(capsys.readouterr().out)
    assert handler.check(str(Path.cwd()))
    assert name in handler.errors
    run_vasp()  # the second start is fine
    assert Vasprun("vasprun.xml").converged
    assert starts(tmp_path / "faults") == 2


def test_captured_output_of_real_failures_is_printed(run_vasp, tmp_path, capsys):
    captured = tmp_path / "vasp.some"
    captured.write_text("what a real run wrote\n")
    planned(tmp_path, Fault("message", argument=str(captured)), Fault("warning", when=2, argument="brmix"))
    with pytest.raises(SystemExit, match="1"):
        run_vasp(CASE)
    assert "what a real run wrote" in capsys.readouterr().out
    run_vasp()
    assert "BRMIX: very serious problems" in capsys.readouterr().out


def test_custodian_finds_the_same_in_the_programs_output_as_in_real_captures(run_vasp, tmp_path, capsys):
    place = os.environ.get("SPINMULTINET_TEST_DATA")
    captures = sorted(Path(place, "vasp", "custodian_stdout_errors").glob("vasp.*[!z]")) if place else []
    if not captures:
        pytest.skip("SPINMULTINET_TEST_DATA names no folder with vasp/custodian_stdout_errors")
    planned(tmp_path, *(Fault("message", when=n, argument=str(path)) for n, path in enumerate(captures, 1)))
    found, wanted = [], []
    for path in captures:
        with pytest.raises(SystemExit):
            run_vasp(CASE)
        Path("vasp.out").write_text(capsys.readouterr().out)
        for output, errors in ((str(Path.cwd() / "vasp.out"), found), (str(path), wanted)):
            handler = VaspErrorHandler(output)
            handler.check(str(Path.cwd()))
            errors.append((path.name, sorted(handler.errors)))
    assert found == wanted
    assert sum(bool(errors) for _, errors in found) > 25


def custodian(folder: Path, *handlers, max_errors: int = 5) -> list[dict]:
    with contextlib.chdir(folder):
        job = VaspJob(["vasp_std"], auto_npar=False, auto_gamma=False, backup=False)
        checks = [VaspFilesValidator(), VasprunXMLValidator()]
        return Custodian([*handlers], [job], checks, max_errors=max_errors, polling_time_step=0.5, monitor_freq=1).run()


def test_custodian_runs_and_corrects_it(vasp_on_path, tmp_path):
    """The first start fails, the correction is in the INCAR, the second start is fine."""
    plan(vasp_on_path.faults, [Fault("edddav")])
    folder = CASE.write(tmp_path / "run")
    (record,) = custodian(folder, VaspErrorHandler())
    assert [c["errors"] for c in record["corrections"]] == [["edddav"]]
    assert starts(vasp_on_path.faults) == 2
    assert Vasprun(folder / "vasprun.xml").converged
    assert Incar.from_file(folder / "INCAR") != Incar(CASE.incar())


def test_custodian_ends_a_run_that_hangs(vasp_on_path, tmp_path):
    plan(vasp_on_path.faults, [Fault("hang")])
    folder = replace(CASE, tags={"ALGO": "Fast"}).write(tmp_path / "run")
    (record,) = custodian(folder, FrozenJobErrorHandler(timeout=3))
    assert [c["errors"] for c in record["corrections"]] == [["Frozen job"]]
    assert starts(vasp_on_path.faults) == 2
    assert Vasprun(folder / "vasprun.xml").converged


@pytest.mark.parametrize("kind", ["crash", "silent", "truncated_vasprun"])
def test_custodian_refuses_what_is_no_result(vasp_on_path, tmp_path, kind):
    plan(vasp_on_path.faults, [Fault(kind, when="always")])
    with pytest.raises((CustodianError, RuntimeError)):
        custodian(CASE.write(tmp_path / "run"), VaspErrorHandler(), max_errors=2)


def test_a_fault_chooses_cell_ordering_and_start(run_vasp, tmp_path):
    ferro = replace(CASE, moments=[2.0, 2.0, 0.0, 0.0])
    planned(
        tmp_path, Fault("exit", when="always", formula="Ni2O2", signs="++00"), Fault("exit", when=2, formula="Mn2O2")
    )
    run_vasp(CASE)
    for _ in range(2):
        with pytest.raises(SystemExit):
            run_vasp(ferro)
    manganese = replace(CASE, blocks=[("Mn_pv", 2), ("O", 2)], moments=[4.0, -4.0, 0.0, 0.0])
    run_vasp(manganese)
    with pytest.raises(SystemExit):
        run_vasp(manganese)
    run_vasp(manganese)


def test_each_structure_fails_once_where_so_asked(run_vasp, tmp_path):
    planned(tmp_path, Fault("exit", each=True))
    other = replace(CASE, fractional=CASE.fractional + 0.01)
    for case in (CASE, other):
        with pytest.raises(SystemExit):
            run_vasp(case)
        run_vasp(case)


def test_an_unknown_fault_is_an_error():
    with pytest.raises(ValueError, match="no such fault: brmx"):
        Fault("brmx")


def test_electrons_that_do_not_converge(run_vasp, tmp_path):
    planned(tmp_path, Fault("unconverged"))
    folder = run_vasp(CASE)
    assert UnconvergedErrorHandler().check(str(folder))
    run_vasp()
    assert Vasprun(folder / "vasprun.xml").converged_electronic


@pytest.mark.parametrize(
    ("kind", "cut"),
    [
        ("truncated_outcar", {"OUTCAR"}),
        ("truncated_vasprun", {"vasprun.xml"}),
        ("truncated", {"OUTCAR", "vasprun.xml"}),
    ],
)
def test_truncated_files(run_vasp, tmp_path, kind, cut):
    planned(tmp_path, Fault(kind))
    folder = run_vasp(CASE)
    ends = {"OUTCAR": "Voluntary context switches:            0\n", "vasprun.xml": "</modeling>\n"}
    assert {name for name, end in ends.items() if not (folder / name).read_text().endswith(end)} == cut
    assert all(len((folder / name).read_text()) > 1000 for name in ends)


def test_a_flipped_moment_is_a_true_other_ordering(run_vasp, tmp_path):
    planned(tmp_path, Fault("flipped", argument=1))
    folder = run_vasp(CASE)
    flipped = moments(folder)
    assert flipped[0] * flipped[1] > 0
    assert energy(folder) == pytest.approx(energy(run_vasp(CASE, MAGMOM="2 2 0 0")))


def test_another_state_lies_higher_with_forces_of_its_own(run_vasp, tmp_path):
    ground = run_vasp(CASE)
    before = energy(ground), moments(ground), Vasprun(ground / "vasprun.xml").ionic_steps[-1]["forces"]
    planned(tmp_path, Fault("other_state"))
    folder = run_vasp(CASE)
    assert energy(folder) > before[0] + 0.05
    assert moments(folder)[0] == pytest.approx(0.4 * before[1][0], abs=1e-3)
    assert np.abs(np.array(Vasprun(folder / "vasprun.xml").ionic_steps[-1]["forces"]) - before[2]).max() > 1e-3


def test_foreign_results_and_sites_in_another_order(run_vasp, tmp_path):
    planned(tmp_path, Fault("foreign"), Fault("wrong_order", when=2))
    asked = Poscar.from_file(run_vasp(CASE) / "POSCAR").structure
    found = Vasprun("vasprun.xml").final_structure
    assert found.lattice.a == pytest.approx(1.02 * asked.lattice.a)
    run_vasp(CASE)
    found = Vasprun("vasprun.xml").final_structure
    np.testing.assert_allclose(found.frac_coords, asked.frac_coords[[1, 0, 3, 2]], atol=1e-7)
    assert list(np.sign(moments(Path.cwd())[:2])) == [-1, 1]


def test_overflow_and_nan(run_vasp, tmp_path):
    planned(tmp_path, Fault("overflow"), Fault("nan", when=2))
    folder = run_vasp(CASE)
    assert "*****" in (folder / "OUTCAR").read_text()
    assert "*****" in (folder / "vasprun.xml").read_text()
    run_vasp()
    assert all((folder / name).read_text().count("NaN") > 5 for name in ("OUTCAR", "vasprun.xml", "OSZICAR"))


def test_silence_leaves_the_files_of_an_earlier_run(run_vasp, tmp_path):
    folder = run_vasp(CASE)
    old = (folder / "OUTCAR").read_text()
    planned(tmp_path, Fault("silent"))
    with pytest.raises(SystemExit, match="0"):
        run_vasp(replace(CASE, moments=[2.0, 2.0, 0.0, 0.0]), keep=True)
    assert (folder / "OUTCAR").read_text() == old


@pytest.mark.parametrize(
    ("kind", "status"), [("crash", -signal.SIGSEGV), ("killed", -signal.SIGKILL), ("disk_full", 38), ("exit", 1)]
)
def test_ends_of_a_process(vasp_on_path, tmp_path, kind, status):
    plan(vasp_on_path.faults, [Fault(kind)])
    folder = CASE.write(tmp_path / "run")
    done = subprocess.run(["vasp_std"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == status
    if kind in ("killed", "disk_full"):
        assert (folder / "OUTCAR").read_text().count("Iteration") == 2
        assert "General timing" not in (folder / "OUTCAR").read_text()
    assert ("No space left on device" in done.stderr) is (kind == "disk_full")


def test_a_hanging_run_can_be_ended(vasp_on_path, tmp_path):
    plan(vasp_on_path.faults, [Fault("hang")])
    process = subprocess.Popen(["vasp_std"], cwd=CASE.write(tmp_path / "run"), stdout=subprocess.DEVNULL)
    time.sleep(3)
    assert process.poll() is None
    process.terminate()
    assert process.wait(5) == -signal.SIGTERM


@pytest.mark.parametrize("tag", ["LSTOP", "LABORT"])
def test_a_slow_run_ends_in_order_when_asked_by_a_stopcar(run_vasp, tmp_path, tag):
    """LSTOP after the ionic step, LABORT after the electronic one."""
    folder = CASES["relaxation"].write(tmp_path / "run")
    (folder / "STOPCAR").write_text(f"{tag} = .TRUE.\n")
    run_vasp()
    vasprun = Vasprun(folder / "vasprun.xml")
    assert len(vasprun.ionic_steps) == 1
    assert len(vasprun.ionic_steps[0]["electronic_steps"]) == (1 if tag == "LABORT" else 9)
    assert "General timing" in (folder / "OUTCAR").read_text()
    kind = {"LSTOP": "soft", "LABORT": "hard"}[tag]
    assert f"{kind} stop encountered!  aborting job ..." in (folder / "OUTCAR").read_text()
    assert Outcar(folder / "OUTCAR").is_stopped is (tag == "LSTOP")  # pymatgen knows only that one
    assert vasprun.converged_ionic  # says pymatgen, which counts steps only


def test_slow_means_slow(run_vasp, tmp_path):
    planned(tmp_path, Fault("slow", argument=0.1))
    began = time.perf_counter()
    run_vasp(CASE)
    assert time.perf_counter() - began > 0.8


def test_the_plan_is_a_readable_file(tmp_path):
    plan(tmp_path, [Fault("flipped", argument=0)])
    (found,) = json.loads((tmp_path / "vasp_std.faults.json").read_text())
    assert Fault(**found) == Fault("flipped", argument=0)
