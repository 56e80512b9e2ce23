"""What the test program refuses as VASP would, what it does not mind, and what decides its numbers."""

from dataclasses import replace

import ase.io
import numpy as np
import pytest
from pymatgen.io.vasp.inputs import Kpoints
from pymatgen.io.vasp.outputs import Vasprun

from tests.support.vasp_std.cases import CASES, Case
from tests.support.vasp_std.physics import PAPER_U
from tests.support.vasp_std.potcars import potcar
from tests.support.vasp_std.reading import energy, moments
from tests.support.vasp_std.style import VARIABLE as STYLE

CASE = CASES["collinear"]
VECTORS = CASES["vectors"]


# -- inputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["MAGMOM", "LDAUU", "LDAUL", "M_CONSTR"])
def test_too_few_numbers_stop_the_program_and_too_many_do_not(run_vasp, capsys, tag):
    mode = {"I_CONSTRAINED_M": "2", "LAMBDA": "1"}
    folder = run_vasp(CASE, status=1, **mode, **{tag: "2"})
    assert f"Error reading item {tag} from file INCAR." in capsys.readouterr().out
    assert not (folder / "vasprun.xml").exists()
    run_vasp(CASE, **mode, **{tag: "2 " + "0 " * 20})


def test_version_5_stops_without_an_exit_status(run_vasp, monkeypatch, capsys):
    monkeypatch.setenv(STYLE, "5")
    run_vasp(CASE, status=0, MAGMOM="2")
    assert "Error reading item MAGMOM" in capsys.readouterr().out


def test_potcars_must_be_as_many_as_species(run_vasp, capsys):
    folder = run_vasp(CASE)
    with (folder / "POTCAR").open("a") as file:
        file.write((folder / "POTCAR").read_text())
    run_vasp(status=1)
    assert "number of potentials on File POTCAR incompatible with number of species" in capsys.readouterr().out


def test_potcars_in_another_order_win_over_the_poscar(run_vasp, capsys):
    """VASP only says so, and calculates another crystal."""
    right = energy(run_vasp(CASE))
    folder = run_vasp(CASE)
    (folder / "WAVECAR").unlink()
    (folder / "POTCAR").write_text("".join(potcar(name) for name, _ in reversed(CASE.blocks)))
    run_vasp()
    assert "POTCAR overwrites the type information in POSCAR" in capsys.readouterr().out
    assert abs(energy(folder) - right) > 0.1
    assert ase.io.read(folder / "vasprun.xml").get_chemical_symbols() == ["O", "O", "Ni", "Ni"]


@pytest.mark.parametrize("name", ["INCAR", "POSCAR", "POTCAR"])
def test_a_missing_file_stops_the_program(run_vasp, capsys, name):
    folder = run_vasp(CASE)
    (folder / name).unlink()
    run_vasp(status=1)
    assert name in capsys.readouterr().out


# -- what decides the numbers -------------------------------------------------------------------------------------


def test_u_belongs_to_species_blocks(run_vasp):
    """Shifted by one block it gives another energy and another moment."""
    right = run_vasp(CASE)
    found = energy(right), moments(right)
    shifted = run_vasp(CASE, LDAUU=f"0 {PAPER_U['Ni']}")
    assert abs(energy(shifted) - found[0]) > 0.1
    assert np.abs(moments(shifted)[:2] - found[1][:2]).min() > 0.02


def test_magmom_goes_by_site(run_vasp):
    """Four metals, two of them swapped: another ordering, another energy."""
    cell = np.diag([4.2, 4.2, 8.5])
    metals = [[0, 0, 0], [0.5, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0.5]]
    oxygens = [[0.5, 0, 0], [0, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    case = Case(
        [("Ni_pv", 4), ("O", 4)], [2, 2, -2, -2, 0, 0, 0, 0], lattice=cell, fractional=np.array(metals + oxygens)
    )
    layers = energy(run_vasp(case))
    folder = run_vasp(replace(case, moments=[2, -2, 2, -2, 0, 0, 0, 0]))
    assert abs(energy(folder) - layers) > 0.005
    assert list(np.sign(moments(folder)[:4])) == [1, -1, 1, -1]


def test_the_k_mesh_and_its_centring_show_in_the_energy_alone(run_vasp):
    dense = run_vasp(replace(CASE, kpoints="k\n0\nGamma\n6 6 4\n"))
    reference, forces = energy(dense), Vasprun(dense / "vasprun.xml").ionic_steps[-1]["forces"]
    for kpoints in ("k\n0\nGamma\n4 4 2\n", "k\n0\nMonkhorst\n6 6 4\n"):
        folder = run_vasp(replace(CASE, kpoints=kpoints))
        assert 0.001 < energy(folder) - reference < 0.5
        np.testing.assert_array_equal(Vasprun(folder / "vasprun.xml").ionic_steps[-1]["forces"], forces)


def test_time_reversal_and_weights_of_the_mesh(run_vasp):
    vasprun = Vasprun(run_vasp(replace(CASE, kpoints="k\n0\nGamma\n3 3 3\n")) / "vasprun.xml")
    assert len(vasprun.actual_kpoints) == 14
    assert sum(vasprun.actual_kpoints_weights) == pytest.approx(1, abs=1e-7)
    listed = Kpoints.from_file("IBZKPT")
    np.testing.assert_allclose(listed.kpts, vasprun.actual_kpoints, atol=1e-7)
    assert sum(listed.kpts_weights) == 27


def test_a_wavefunction_that_is_read_outweighs_magmom(run_vasp):
    """Trap 9: with ISTART=1 a wrong spin state persists, whatever MAGMOM says."""
    before = moments(run_vasp(CASE))
    again = moments(run_vasp(CASE, keep=True, ISTART="1", MAGMOM="2 2 0 0"))
    np.testing.assert_array_equal(again, before)
    fresh = moments(run_vasp(CASE, keep=True, ISTART="0", MAGMOM="2 2 0 0"))
    assert fresh[0] * fresh[1] > 0


def test_a_constraint_holds_directions_and_says_what_it_costs(run_vasp):
    held = " ".join(map(str, VECTORS.moments))
    free = run_vasp(VECTORS)
    without = moments(free)
    folder = run_vasp(VECTORS, I_CONSTRAINED_M="1", LAMBDA="10", M_CONSTR=held)
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
    stronger = run_vasp(VECTORS, I_CONSTRAINED_M="2", LAMBDA="10", M_CONSTR=held)
    np.testing.assert_allclose(np.linalg.norm(moments(stronger)[:2], axis=1), np.linalg.norm(wanted, axis=1), atol=0.05)


@pytest.mark.parametrize("element", ["Si", "Ni"])
def test_one_atom(run_vasp, element):
    cell = np.array([[0, 2.0, 2.0], [2.0, 0, 2.0], [2.0, 2.0, 0]])
    folder = run_vasp(Case([(element, 1)], [1.0], {"LORBIT": "10"}, lattice=cell, fractional=np.zeros((1, 3))))
    assert abs(moments(folder)[0]) > 1 if element == "Ni" else abs(moments(folder)[0]) < 1e-3
    assert len(ase.io.read(folder / "OUTCAR")) == 1


@pytest.mark.parametrize(("style", "line"), [("6", "aborting loop EDIFF was not reached"), ("5", "EDIFF is reached")])
def test_nelm_ends_a_loop_that_is_not_converged(run_vasp, monkeypatch, capsys, style, line):
    """VASP 5 writes the same line as for a converged one."""
    monkeypatch.setenv(STYLE, style)
    folder = run_vasp(CASE, NELM="4")
    assert not Vasprun(folder / "vasprun.xml").converged_electronic
    assert line in (folder / "OUTCAR").read_text()
    assert "self-consistency was not achieved" in capsys.readouterr().out
    assert abs(energy(folder) - energy(run_vasp(CASE))) > 1e-3
