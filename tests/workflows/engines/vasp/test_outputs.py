import gzip
import re
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from emmet.core.tasks import TaskDoc
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pymatgen.core import Structure
from pymatgen.io.vasp.outputs import Outcar

from tests.support.vasp_runs import MAGMOMS, VECTORS, mixed, rocksalt, vasp_run
from workflows.engines.vasp.outputs import KB_PER_EV_A3, OutputError, VaspResult, read_run
from workflows.engines.vasp.vasprun import read_vasprun

BOTH = ("vasprun.xml", "OUTCAR")
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def copy(source: Path, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    for name in BOTH:
        shutil.copy(source / name, target / name)
    return target


def edited(source: Path, target: Path, name: str, *changes: tuple[str, str]) -> Path:
    """A copy where in one file the last occurrence of each ``old`` is ``new``."""
    copy(source, target)
    text = (target / name).read_text()
    for old, new in changes:
        assert old in text
        before, _, after = text.rpartition(old)
        text = before + new + after
    (target / name).write_text(text)
    return target


def reason(folder: Path, **kwargs) -> str:
    with pytest.raises(OutputError) as caught:
        read_run(folder, **kwargs)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return caught.value.reason


def last_magnetization(folder: Path) -> float | list[float]:
    line = re.findall(r"number of electron.*magnetization(.*)", (folder / "OUTCAR").read_text())[-1]
    values = [float(value) for value in line.split()]
    return values if len(values) > 1 else values[0]


def assert_same(one: VaspResult, other: VaspResult) -> None:
    for field in fields(VaspResult):
        if field.name != "files":
            np.testing.assert_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def assert_whole_or_refused(cut: Path, whole: Path) -> None:
    try:
        found: VaspResult | str = read_run(cut)
    except OutputError as error:
        found = error.reason
    if isinstance(found, str):
        assert found in ("truncated", "foreign", "unreadable")
    else:
        assert_same(found, read_run(whole))


def assert_as_taskdoc(folder: Path) -> None:
    result = read_run(folder)
    calculation = TaskDoc.from_directory(folder).calcs_reversed[0]
    step, outcar = calculation.output.ionic_steps[-1], calculation.output.outcar
    assert result.energy == pytest.approx(calculation.output.energy, abs=1e-8)
    assert result.free_energy == step.e_fr_energy
    np.testing.assert_allclose(result.forces, step.forces)
    np.testing.assert_allclose(result.stress * -KB_PER_EV_A3, np.array(step.stress), atol=1e-3)
    np.testing.assert_allclose(result.lattice, step.structure.lattice.matrix)
    np.testing.assert_allclose(result.positions, step.structure.cart_coords)
    np.testing.assert_allclose(result.magmoms_out, [row["tot"] for row in outcar["magnetization"]])
    np.testing.assert_allclose(result.charges, [row["tot"] for row in outcar["charge"]])
    assert result.total_moment == outcar["total_magnetization"]
    assert list(result.n_electronic) == calculation.output.num_electronic_steps
    assert result.band_gap == pytest.approx(calculation.output.bandgap, abs=1e-3)
    assert result.timings["wall"] == calculation.output.run_stats.elapsed_time


class TestNumbers:
    def test_a_static_run(self, finished):
        result = read_run(finished("static"))
        assert result.species == ("Mn", "Ni", "Mn", "Mn", *"OOOO")
        assert result.kpoints == [2, 2, 2]
        assert result.centring == "gamma"
        assert result.version.startswith("6.")
        assert result.potcars[1].split()[1] == "Ni_pv"
        assert result.converged
        assert result.ionic_converged is None
        np.testing.assert_allclose(result.positions, mixed().cart_coords, atol=2e-8)
        assert result.nelect == 3 * 13 + 16 + 4 * 6
        assert result.charges.shape == (8,)
        assert set(result.timings) == {"wall", "cpu", "cores"}

    @pytest.mark.parametrize("name", ["static", "version_5", "relaxed", "stopped_at_nsw", "no_magmom"])
    def test_they_are_those_of_taskdoc(self, finished, name):
        assert_as_taskdoc(finished(name))

    def test_taskdoc_loses_the_direction_of_vector_moments(self, finished):
        """Trap 6; pymatgen's Outcar has them, the document has a number per site."""
        rows = TaskDoc.from_directory(finished("vectors")).calcs_reversed[0].output.outcar["magnetization"]
        assert all(isinstance(row["tot"], float) for row in rows)
        vectors = [row["tot"].moment for row in Outcar(finished("vectors") / "OUTCAR").magnetization]
        np.testing.assert_allclose(read_run(finished("vectors")).magmoms_out, vectors)

    def test_free_energy_and_e0_are_kept_apart(self, finished):
        """Trap 7."""
        result = read_run(finished("static"))
        assert result.free_energy != result.energy
        text = (finished("static") / "OUTCAR").read_text()
        assert re.findall(r"free  energy   TOTEN  = +(\S+) eV", text) == [f"{result.free_energy:.8f}"]
        assert re.findall(r"energy\(sigma->0\) = +(\S+)", text)[-1] == f"{result.energy:.8f}"

    def test_vasp_5_writes_no_e0_in_its_ionic_steps(self, finished):
        """Trap 7: e_0_energy of the ionic step is the entropy there."""
        raw = read_vasprun(finished("version_5") / "vasprun.xml").ionic_steps[-1]
        assert abs(raw["e_0_energy"]) < 0.1
        assert read_run(finished("version_5")).energy == pytest.approx(read_run(finished("static")).energy, abs=1e-7)

    def test_forces_are_derivatives_of_the_free_energy(self, tmp_path):
        """Trap 7, as physics: central differences of TOTEN along one coordinate; the entropy changes E0 by another."""
        site, axis, step = 1, 2, 0.01
        energies = []
        for sign in (1, -1):
            structure = rocksalt(["Ni"] * 4)
            structure.translate_sites([site], [sign * step * (k == axis) for k in range(3)], frac_coords=False)
            folder = vasp_run(
                tmp_path / str(sign), structure, [2.0, -2.0, 2.0, -2.0, 0, 0, 0, 0], LDAU=None, EDIFF=1e-9
            )
            energies.append(read_run(folder).free_energy)
        start = vasp_run(
            tmp_path / "0", rocksalt(["Ni"] * 4), [2.0, -2.0, 2.0, -2.0, 0, 0, 0, 0], LDAU=None, EDIFF=1e-9
        )
        expected = -(energies[0] - energies[1]) / (2 * step)
        assert read_run(start).forces[site, axis] == pytest.approx(expected, rel=2e-3, abs=2e-4)

    def test_stress_is_dE_over_volume_in_the_sign_of_ase(self, tmp_path):  # noqa: N802
        """Trap 7: VASP prints kB with the other sign. Trace of the stress = dF/dln(V) * 3 / V / 3."""
        energies, volumes = [], []
        for scale in (0.999, 1.001, 1.0):
            structure = rocksalt(["Ni"] * 4)
            structure.scale_lattice(structure.volume * scale**3)
            folder = vasp_run(
                tmp_path / str(scale), structure, [2.0, -2.0, 2.0, -2.0, 0, 0, 0, 0], LDAU=None, EDIFF=1e-9
            )
            result = read_run(folder)
            energies.append(result.free_energy)
            volumes.append(np.linalg.det(result.lattice))
        slope = (energies[1] - energies[0]) / (volumes[1] - volumes[0])
        assert np.trace(result.stress) / 3 == pytest.approx(slope, rel=2e-2)

    def test_hubbard_u_is_per_species_block(self, finished):
        """Traps 2 and 8: Mn has two blocks; pymatgen's hubbards has one value per element."""
        result = read_run(finished("static"))
        assert result.blocks == ("Mn", "Ni", "Mn", "O")
        assert result.ions_per_block == (1, 1, 2, 4)
        assert result.hubbard_u == (3.9, 6.2, 3.9, 0.0)

    def test_a_relaxation_gives_its_last_step(self, finished):
        result = read_run(finished("relaxed"))
        assert result.n_ionic == len(result.n_electronic) > 1
        assert result.ionic_converged is True
        assert np.abs(result.forces).max() < 0.06 < np.abs(read_run(finished("static")).forces).max()
        last = read_vasprun(finished("relaxed") / "vasprun.xml").ionic_steps[-1]["structure"]
        np.testing.assert_allclose(result.lattice, last.lattice.matrix)
        np.testing.assert_allclose(result.positions, last.cart_coords)

    def test_a_relaxation_that_stopped_at_nsw_is_a_label_of_its_last_step(self, finished):
        result = read_run(finished("stopped_at_nsw"))
        assert (result.n_ionic, result.ionic_converged, result.converged) == (2, False, True)

    def test_the_order_of_the_caller(self, finished):
        """Trap 1: the order of the POSCAR is not that of the caller."""
        plain = read_run(finished("static"))
        order = [3, 0, 7, 2, 1, 5, 4, 6]
        result = read_run(finished("static"), order)
        for site, caller in enumerate(order):
            assert result.species[caller] == plain.species[site]
            for name in ("positions", "forces", "magmoms_in", "magmoms_out", "charges"):
                np.testing.assert_array_equal(getattr(result, name)[caller], getattr(plain, name)[site], err_msg=name)

    def test_an_order_of_another_cell(self, finished):
        assert reason(finished("static"), order=[0, 1, 2]) == "foreign"
        assert reason(finished("static"), order=[0] * 8) == "foreign"


class TestMoments:
    def test_signs_are_kept(self, finished):
        """Trap 15."""
        result = read_run(finished("static"))
        assert np.sign(result.magmoms_out[:4]).tolist() == np.sign(MAGMOMS[:4]).tolist()
        np.testing.assert_array_equal(result.magmoms_in, MAGMOMS)
        assert result.total_moment == last_magnetization(finished("static"))

    def test_the_last_table_counts_of_one_more_than_ionic_steps(self, finished, tmp_path):
        """Trap 6."""
        text = (finished("relaxed") / "OUTCAR").read_text()
        result = read_run(finished("relaxed"))
        assert text.count(" magnetization (x)") == result.n_ionic + 1
        first = text.split(" magnetization (x)")[1].splitlines()[4].split()
        assert float(first[-1]) != result.magmoms_out[0]

    def test_vectors(self, finished):
        """Trap 6: float() of a vector moment loses its direction."""
        result = read_run(finished("vectors"))
        assert result.magmoms_out.shape == (8, 3)
        assert result.total_moment.shape == (3,)
        np.testing.assert_array_equal(result.magmoms_in, VECTORS)
        assert result.total_moment.tolist() == last_magnetization(finished("vectors"))

    def test_vectors_are_cartesian_whatever_saxis(self, finished):
        """VASP wiki, SAXIS: with 1 0 0 the third component printed is along x and the first along -z."""
        printed, turned = read_run(finished("vectors")), read_run(finished("turned_axis"))
        frame = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
        for name in ("magmoms_in", "magmoms_out", "total_moment"):
            np.testing.assert_allclose(getattr(turned, name), getattr(printed, name) @ frame.T, atol=1e-6)

    def test_moments_not_stated_are_none(self, finished):
        assert read_run(finished("no_magmom")).magmoms_in is None

    @pytest.mark.parametrize("version", [5, 6])
    def test_a_cell_of_one_atom(self, tmp_path, version):
        cell = Structure(2.6 * np.eye(3), ["Fe"], [[0, 0, 0]])
        result = read_run(vasp_run(tmp_path, cell, [-2.2], version, LDAU=None))
        assert result.magmoms_out.shape == (1,)
        assert result.magmoms_out[0] < -1
        assert result.total_moment < -1
        assert result.hubbard_u == (0.0,)

    def test_no_lorbit(self, finished):
        assert reason(finished("no_lorbit")) == "no moments"
        assert read_run(finished("no_lorbit"), moments=False).magmoms_out is None

    def test_not_spin_polarised(self, finished):
        assert reason(finished("not_polarised")) == "no moments"
        result = read_run(finished("not_polarised"), moments=False)
        assert result.magmoms_out is result.total_moment is None


class TestRefused:
    @pytest.mark.parametrize("name", ["nelm_reached", "nelm_reached_5"])
    def test_electronically_unconverged(self, finished, name):
        """VASP 5 says that EDIFF is reached even where NELM was."""
        assert reason(finished(name)) == "not converged"

    def test_stopped_by_labort(self, finished, tmp_path):
        """Fewer than NELM steps, which pymatgen takes for convergence."""
        old = "aborting loop because EDIFF is reached"
        folder = edited(finished("static"), tmp_path, "OUTCAR", (old, "aborting loop because hard stop was set"))
        assert reason(folder) == "not converged"

    @quick
    @given(name=st.sampled_from(BOTH), run=st.sampled_from(["static", "vectors", "relaxed"]), share=st.floats(0, 1))
    @example(name="OUTCAR", run="static", share=0.0)
    @example(name="vasprun.xml", run="static", share=0.0)
    def test_cut_at_any_byte_gives_the_same_numbers_or_a_refusal(self, finished, tmp_path_factory, name, run, share):
        """Trap 7: a truncated vasprun.xml can report converged=True."""
        self._check_cut(finished(run), tmp_path_factory.mktemp("cut"), name, share, packed=False)

    @quick
    @given(name=st.sampled_from(BOTH), share=st.floats(0, 1))
    def test_cut_of_a_compressed_file(self, finished, tmp_path_factory, name, share):
        self._check_cut(finished("static"), tmp_path_factory.mktemp("cut"), name, share, packed=True)

    @quick
    @given(
        name=st.sampled_from(BOTH),
        run=st.sampled_from(["static", "vectors", "relaxed"]),
        at=st.floats(0, 1),
        size=st.integers(1, 3000),
    )
    def test_a_hole_anywhere_changes_no_energy_force_or_moment(self, finished, tmp_path_factory, name, run, at, size):
        folder = copy(finished(run), tmp_path_factory.mktemp("hole"))
        content = (folder / name).read_bytes()
        start = int(at * len(content))
        (folder / name).write_bytes(content[:start] + content[start + size :])
        try:
            found = read_run(folder)
        except OutputError:
            return
        for field in ("energy", "free_energy", "forces", "lattice", "positions", "magmoms_out", "hubbard_u", "species"):
            np.testing.assert_equal(getattr(found, field), getattr(read_run(finished(run)), field), err_msg=field)

    @staticmethod
    def _check_cut(source: Path, folder: Path, name: str, share: float, packed: bool) -> None:
        copy(source, folder)
        content = (folder / name).read_bytes()
        if packed:
            (folder / name).unlink()
            name, content = f"{name}.gz", gzip.compress(content)
        (folder / name).write_bytes(content[: int(share * len(content))])
        assert_whole_or_refused(folder, source)

    @pytest.mark.parametrize(
        "content", ["", "<html><body>404</body></html>", "     Program PWSCF v.7.2 starts\n!  total\n"]
    )
    @pytest.mark.parametrize("name", BOTH)
    def test_files_of_something_else(self, finished, tmp_path, name, content):
        copy(finished("static"), tmp_path)
        (tmp_path / name).write_text(content)
        assert reason(tmp_path) == ("foreign" if content else "truncated")

    @pytest.mark.parametrize("name", BOTH)
    def test_missing_files(self, finished, tmp_path, name):
        copy(finished("static"), tmp_path)
        (tmp_path / name).unlink()
        assert reason(tmp_path) == "missing file"
        (tmp_path / name).mkdir()
        assert reason(tmp_path) == "missing file"

    def test_no_folder(self, tmp_path):
        assert reason(tmp_path / "nowhere") == "missing file"
        assert reason(tmp_path) == "missing file"

    @pytest.mark.parametrize("name", BOTH)
    @pytest.mark.parametrize("other", ["version_5", "vectors", "relaxed", "no_magmom", "not_polarised"])
    def test_a_file_of_another_run(self, finished, tmp_path, name, other):
        copy(finished("static"), tmp_path)
        shutil.copy(finished(other) / name, tmp_path / name)
        assert reason(tmp_path) in ("foreign", "inconsistent")

    def test_a_file_of_the_reversed_ordering(self, tmp_path, finished):
        """All moments reversed: same energy and forces. Only the start of the run tells the files apart."""
        copy(finished("static"), tmp_path)
        text = (tmp_path / "OUTCAR").read_text()
        started = text.index("date ")
        (tmp_path / "OUTCAR").write_text(text[:started] + "date 2001.01.01" + text[started + 15 :])
        assert reason(tmp_path) == "foreign"

    def test_an_unconverged_density(self, finished, tmp_path):
        copy(finished("static"), tmp_path)
        text = (tmp_path / "vasprun.xml").read_text()
        text, n = re.subn(r'(name="ICHARG">\s*)\d+', r"\g<1>11", text)
        assert n
        (tmp_path / "vasprun.xml").write_text(text)
        assert reason(tmp_path) == "not self-consistent"

    def test_a_machine_learned_force_field(self, finished, tmp_path):
        tag = ' <incar>\n  <i type="logical" name="ML_LMLFF"> T  </i>'
        folder = edited(finished("static"), tmp_path, "vasprun.xml", (" <incar>", tag))
        assert reason(folder) == "foreign"

    def test_plus_u_in_one_file_only(self, finished, tmp_path):
        tag = '<i type="logical" name="LDAU">'
        copy(finished("static"), tmp_path)
        text = (tmp_path / "vasprun.xml").read_text()
        text, n = re.subn(f"{tag}[^<]*</i>", "", text, count=1)
        assert n
        (tmp_path / "vasprun.xml").write_text(text)
        assert reason(tmp_path) == "inconsistent"

    @pytest.mark.parametrize("what", [r'<i name="e_fr_energy">[^<]*</i>', r'(?s)<varray name="forces".*?</varray>'])
    def test_a_step_without_its_numbers(self, finished, tmp_path, what):
        copy(finished("static"), tmp_path)
        text = (tmp_path / "vasprun.xml").read_text()
        match = list(re.finditer(what, text))[-1]
        (tmp_path / "vasprun.xml").write_text(text[: match.start()] + text[match.end() :])
        assert reason(tmp_path) == "truncated"

    def test_restarted_run_appended_to_the_outcar_of_a_killed_one(self, finished, tmp_path):
        copy(finished("static"), tmp_path)
        text = (tmp_path / "OUTCAR").read_text()
        (tmp_path / "OUTCAR").write_text(text[: len(text) // 2] + "\n" + text)
        assert_same(read_run(tmp_path), read_run(finished("static")))
