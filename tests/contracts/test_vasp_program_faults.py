"""The test program as a program: how it starts, what it refuses, what decides its energy, and how it fails."""

import json
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from custodian.vasp.handlers import UnconvergedErrorHandler, VaspErrorHandler
from pymatgen.io.vasp.inputs import Kpoints, Poscar, Potcar
from pymatgen.io.vasp.outputs import Oszicar, Outcar, Vasprun

from tests.support.vasp_std import program
from tests.support.vasp_std.cases import CASES, Case
from tests.support.vasp_std.faults import MESSAGES, Fault, plan, starts
from tests.support.vasp_std.faults import VARIABLE as FAULTS
from tests.support.vasp_std.physics import PAPER_U
from tests.support.vasp_std.potcars import potcar
from tests.support.vasp_std.style import VARIABLE as STYLE

CASE = CASES["collinear"]
VECTORS = CASES["vectors"]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the program within this process and returns its folder.

    ``keep``: files of the run before stay, WAVECAR too. Without a case also the inputs stay.
    """
    monkeypatch.setenv(FAULTS, str(tmp_path / "faults"))
    (tmp_path / "faults").mkdir()

    def go(case: Case | None = None, status: int = 0, keep: bool = False, **tags: str) -> Path:
        folder = tmp_path / "run"
        if case is not None:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            replace(case, tags={**case.tags, **tags}).write(folder)
        monkeypatch.chdir(folder)
        assert program.main() == status
        return folder

    return go


def energy(folder: Path) -> float:
    return Oszicar(folder / "OSZICAR").ionic_steps[-1]["F"]


def moments(folder: Path) -> np.ndarray:
    table = [site["tot"] for site in Outcar(folder / "OUTCAR").magnetization]
    return np.array([getattr(m, "moment", m) for m in table])


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


# -- inputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["MAGMOM", "LDAUU", "LDAUL", "M_CONSTR"])
def test_too_few_numbers_stop_the_program_and_too_many_do_not(run, capsys, tag):
    mode = {"I_CONSTRAINED_M": "2", "LAMBDA": "1"}
    folder = run(CASE, status=1, **mode, **{tag: "2"})
    assert f"Error reading item {tag} from file INCAR." in capsys.readouterr().out
    assert not (folder / "vasprun.xml").exists()
    run(CASE, **mode, **{tag: "2 " + "0 " * 20})


def test_potcars_must_be_as_many_as_species(run, capsys):
    folder = run(CASE)
    with (folder / "POTCAR").open("a") as file:
        file.write((folder / "POTCAR").read_text())
    run(status=1)
    assert "number of potentials on File POTCAR incompatible with number of species" in capsys.readouterr().out


def test_potcars_in_another_order_win_over_the_poscar(run, capsys):
    """VASP only says so, and calculates another crystal."""
    right = energy(run(CASE))
    folder = run(CASE)
    (folder / "WAVECAR").unlink()
    (folder / "POTCAR").write_text("".join(potcar(name) for name, _ in reversed(CASE.blocks)))
    run()
    assert "POTCAR overwrites the type information in POSCAR" in capsys.readouterr().out
    assert abs(energy(folder) - right) > 0.1
    assert ase.io.read(folder / "vasprun.xml").get_chemical_symbols() == ["O", "O", "Ni", "Ni"]


@pytest.mark.parametrize("name", ["INCAR", "POSCAR", "POTCAR"])
def test_a_missing_file_stops_the_program(run, capsys, name):
    folder = run(CASE)
    (folder / name).unlink()
    run(status=1)
    assert name in capsys.readouterr().out


# -- what decides the numbers -------------------------------------------------------------------------------------


def test_u_belongs_to_species_blocks(run):
    """Shifted by one block it gives another energy and another moment."""
    right = run(CASE)
    found = energy(right), moments(right)
    shifted = run(CASE, LDAUU=f"0 {PAPER_U['Ni']}")
    assert abs(energy(shifted) - found[0]) > 0.1
    assert np.abs(moments(shifted)[:2] - found[1][:2]).min() > 0.02


def test_magmom_goes_by_site(run):
    """Four metals, two of them swapped: another ordering, another energy."""
    cell = np.diag([4.2, 4.2, 8.5])
    metals = [[0, 0, 0], [0.5, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0.5]]
    oxygens = [[0.5, 0, 0], [0, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    case = Case(
        [("Ni_pv", 4), ("O", 4)], [2, 2, -2, -2, 0, 0, 0, 0], lattice=cell, fractional=np.array(metals + oxygens)
    )
    layers = energy(run(case))
    folder = run(replace(case, moments=[2, -2, 2, -2, 0, 0, 0, 0]))
    assert abs(energy(folder) - layers) > 0.005
    assert list(np.sign(moments(folder)[:4])) == [1, -1, 1, -1]


def test_the_k_mesh_and_its_centring_show_in_the_energy_alone(run):
    dense = run(replace(CASE, kpoints="k\n0\nGamma\n6 6 4\n"))
    reference, forces = energy(dense), Vasprun(dense / "vasprun.xml").ionic_steps[-1]["forces"]
    for kpoints in ("k\n0\nGamma\n4 4 2\n", "k\n0\nMonkhorst\n6 6 4\n"):
        folder = run(replace(CASE, kpoints=kpoints))
        assert 0.001 < energy(folder) - reference < 0.5
        np.testing.assert_array_equal(Vasprun(folder / "vasprun.xml").ionic_steps[-1]["forces"], forces)


def test_time_reversal_and_weights_of_the_mesh(run):
    vasprun = Vasprun(run(replace(CASE, kpoints="k\n0\nGamma\n3 3 3\n")) / "vasprun.xml")
    assert len(vasprun.actual_kpoints) == 14
    assert sum(vasprun.actual_kpoints_weights) == pytest.approx(1, abs=1e-7)
    listed = Kpoints.from_file("IBZKPT")
    np.testing.assert_allclose(listed.kpts, vasprun.actual_kpoints, atol=1e-7)
    assert sum(listed.kpts_weights) == 27


def test_a_wavefunction_that_is_read_outweighs_magmom(run):
    """Trap 9: with ISTART=1 a wrong spin state persists, whatever MAGMOM says."""
    before = moments(run(CASE))
    again = moments(run(CASE, keep=True, ISTART="1", MAGMOM="2 2 0 0"))
    np.testing.assert_array_equal(again, before)
    fresh = moments(run(CASE, keep=True, ISTART="0", MAGMOM="2 2 0 0"))
    assert fresh[0] * fresh[1] > 0


def test_a_constraint_holds_directions_and_says_what_it_costs(run):
    held = " ".join(map(str, VECTORS.moments))
    free = run(VECTORS)
    without = moments(free)
    folder = run(VECTORS, I_CONSTRAINED_M="1", LAMBDA="10", M_CONSTR=held)
    text = (folder / "OSZICAR").read_text()
    penalty = float(text.split("E_p =")[-1].split()[0])
    wanted = np.reshape(VECTORS.moments, (4, 3))[:2]

    def cosines(found):
        return np.sum(found[:2] * wanted, axis=1) / np.linalg.norm(found[:2], axis=1) / np.linalg.norm(wanted, axis=1)

    assert cosines(moments(folder)).min() > 0.9999
    assert cosines(without).min() < 0.99
    assert 0 < penalty < 1e-3
    field = np.array([line.split()[1:] for line in text.split("lambda*MW_perp")[-1].splitlines()[1:5]], dtype=float)
    assert np.sum(field**2) / 10 == pytest.approx(penalty, rel=1e-3)
    stronger = run(VECTORS, I_CONSTRAINED_M="2", LAMBDA="10", M_CONSTR=held)
    np.testing.assert_allclose(np.linalg.norm(moments(stronger)[:2], axis=1), np.linalg.norm(wanted, axis=1), atol=0.05)


@pytest.mark.parametrize("element", ["Si", "Ni"])
def test_one_atom(run, element):
    cell = np.array([[0, 2.0, 2.0], [2.0, 0, 2.0], [2.0, 2.0, 0]])
    folder = run(Case([(element, 1)], [1.0], {"LORBIT": "10"}, lattice=cell, fractional=np.zeros((1, 3))))
    assert abs(moments(folder)[0]) > 1 if element == "Ni" else abs(moments(folder)[0]) < 1e-3
    assert len(ase.io.read(folder / "OUTCAR")) == 1


@pytest.mark.parametrize(("style", "line"), [("6", "aborting loop EDIFF was not reached"), ("5", "EDIFF is reached")])
def test_nelm_ends_a_loop_that_is_not_converged(run, monkeypatch, capsys, style, line):
    """VASP 5 writes the same line as for a converged one."""
    monkeypatch.setenv(STYLE, style)
    folder = run(CASE, NELM="4")
    assert not Vasprun(folder / "vasprun.xml").converged_electronic
    assert line in (folder / "OUTCAR").read_text()
    assert "self-consistency was not achieved" in capsys.readouterr().out
    assert abs(energy(folder) - energy(run(CASE))) > 1e-3


# -- faults -------------------------------------------------------------------------------------------------------


def planned(tmp_path, *faults: Fault) -> None:
    plan(tmp_path / "faults", list(faults))


@pytest.mark.parametrize("name", MESSAGES)
def test_custodian_knows_every_message(run, tmp_path, capsys, name):
    planned(tmp_path, Fault(name))
    with pytest.raises(SystemExit):
        run(CASE)
    handler = VaspErrorHandler("vasp.out")
    Path("vasp.out").write_text(capsys.readouterr().out)
    assert handler.check(str(Path.cwd()))
    assert name in handler.errors
    run()  # the second start is fine
    assert Vasprun("vasprun.xml").converged
    assert starts(tmp_path / "faults") == 2


def test_captured_output_of_real_failures_is_printed(run, tmp_path, capsys):
    captured = tmp_path / "vasp.some"
    captured.write_text("what a real run wrote\n")
    planned(tmp_path, Fault("message", argument=str(captured)), Fault("warning", when=2, argument="brmix"))
    with pytest.raises(SystemExit, match="1"):
        run(CASE)
    assert "what a real run wrote" in capsys.readouterr().out
    run()
    assert "BRMIX: very serious problems" in capsys.readouterr().out


def test_a_fault_chooses_cell_ordering_and_start(run, tmp_path):
    ferro = replace(CASE, moments=[2.0, 2.0, 0.0, 0.0])
    planned(
        tmp_path, Fault("exit", when="always", formula="Ni2O2", signs="++00"), Fault("exit", when=2, formula="Mn2O2")
    )
    run(CASE)
    for _ in range(2):
        with pytest.raises(SystemExit):
            run(ferro)
    manganese = replace(CASE, blocks=[("Mn_pv", 2), ("O", 2)], moments=[4.0, -4.0, 0.0, 0.0])
    run(manganese)
    with pytest.raises(SystemExit):
        run(manganese)
    run(manganese)


def test_each_structure_fails_once_where_so_asked(run, tmp_path):
    planned(tmp_path, Fault("exit", each=True))
    other = replace(CASE, fractional=CASE.fractional + 0.01)
    for case in (CASE, other):
        with pytest.raises(SystemExit):
            run(case)
        run(case)


def test_an_unknown_fault_is_an_error():
    with pytest.raises(ValueError, match="no such fault: brmx"):
        Fault("brmx")


def test_electrons_that_do_not_converge(run, tmp_path):
    planned(tmp_path, Fault("unconverged"))
    folder = run(CASE)
    assert UnconvergedErrorHandler().check(str(folder))
    run()
    assert Vasprun(folder / "vasprun.xml").converged_electronic


@pytest.mark.parametrize(
    ("kind", "cut"),
    [
        ("truncated_outcar", {"OUTCAR"}),
        ("truncated_vasprun", {"vasprun.xml"}),
        ("truncated", {"OUTCAR", "vasprun.xml"}),
    ],
)
def test_truncated_files(run, tmp_path, kind, cut):
    planned(tmp_path, Fault(kind))
    folder = run(CASE)
    ends = {"OUTCAR": "Voluntary context switches:            0\n", "vasprun.xml": "</modeling>\n"}
    assert {name for name, end in ends.items() if not (folder / name).read_text().endswith(end)} == cut
    assert all(len((folder / name).read_text()) > 1000 for name in ends)


def test_a_flipped_moment_is_a_true_other_ordering(run, tmp_path):
    planned(tmp_path, Fault("flipped", argument=1))
    folder = run(CASE)
    flipped = moments(folder)
    assert flipped[0] * flipped[1] > 0
    assert energy(folder) == pytest.approx(energy(run(CASE, MAGMOM="2 2 0 0")))


def test_another_state_lies_higher_with_forces_of_its_own(run, tmp_path):
    ground = run(CASE)
    before = energy(ground), moments(ground), Vasprun(ground / "vasprun.xml").ionic_steps[-1]["forces"]
    planned(tmp_path, Fault("other_state"))
    folder = run(CASE)
    assert energy(folder) > before[0] + 0.05
    assert moments(folder)[0] == pytest.approx(0.4 * before[1][0], abs=1e-3)
    assert np.abs(np.array(Vasprun(folder / "vasprun.xml").ionic_steps[-1]["forces"]) - before[2]).max() > 1e-3


def test_foreign_results_and_sites_in_another_order(run, tmp_path):
    planned(tmp_path, Fault("foreign"), Fault("wrong_order", when=2))
    asked = Poscar.from_file(run(CASE) / "POSCAR").structure
    found = Vasprun("vasprun.xml").final_structure
    assert found.lattice.a == pytest.approx(1.02 * asked.lattice.a)
    run(CASE)
    found = Vasprun("vasprun.xml").final_structure
    np.testing.assert_allclose(found.frac_coords, asked.frac_coords[[1, 0, 3, 2]], atol=1e-7)
    assert list(np.sign(moments(Path.cwd())[:2])) == [-1, 1]


def test_overflow_and_nan(run, tmp_path):
    planned(tmp_path, Fault("overflow"), Fault("nan", when=2))
    folder = run(CASE)
    assert "*****" in (folder / "OUTCAR").read_text()
    assert "*****" in (folder / "vasprun.xml").read_text()
    run()
    assert all((folder / name).read_text().count("NaN") > 5 for name in ("OUTCAR", "vasprun.xml", "OSZICAR"))


def test_silence_leaves_the_files_of_an_earlier_run(run, tmp_path):
    folder = run(CASE)
    old = (folder / "OUTCAR").read_text()
    planned(tmp_path, Fault("silent"))
    with pytest.raises(SystemExit, match="0"):
        run(replace(CASE, moments=[2.0, 2.0, 0.0, 0.0]), keep=True)
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
def test_a_slow_run_ends_in_order_when_asked_by_a_stopcar(run, tmp_path, tag):
    """LSTOP after the ionic step, LABORT after the electronic one."""
    folder = CASES["relaxation"].write(tmp_path / "run")
    (folder / "STOPCAR").write_text(f"{tag} = .TRUE.\n")
    run()
    vasprun = Vasprun(folder / "vasprun.xml")
    assert len(vasprun.ionic_steps) == 1
    assert len(vasprun.ionic_steps[0]["electronic_steps"]) == (1 if tag == "LABORT" else 9)
    assert "General timing" in (folder / "OUTCAR").read_text()
    kind = {"LSTOP": "soft", "LABORT": "hard"}[tag]
    assert f"{kind} stop encountered!  aborting job ..." in (folder / "OUTCAR").read_text()
    assert Outcar(folder / "OUTCAR").is_stopped is (tag == "LSTOP")  # pymatgen knows only that one
    assert vasprun.converged_ionic  # says pymatgen, which counts steps only


def test_slow_means_slow(run, tmp_path):
    planned(tmp_path, Fault("slow", argument=0.1))
    began = time.perf_counter()
    run(CASE)
    assert time.perf_counter() - began > 0.8


def test_the_plan_is_a_readable_file(tmp_path):
    plan(tmp_path, [Fault("flipped", argument=0)])
    (found,) = json.loads((tmp_path / "vasp_std.faults.json").read_text())
    assert Fault(**found) == Fault("flipped", argument=0)
