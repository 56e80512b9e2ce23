"""The program in VASP's place gives the spin-lattice engine's numbers to everybody who reads VASP's files.

Program and parsers of this project share their authors: so pymatgen's, ASE's and emmet's readers are asked here, and
its lines are compared with those of real runs (skipped without SPINMULTINET_TEST_DATA).
"""

import gzip
import os
import re
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import ase.io
import numpy as np
import pytest
from pymatgen.io.vasp.outputs import Oszicar, Outcar, Vasprun

from datastore.schema import SpinConfig
from tests.support.vasp_std import program
from tests.support.vasp_std.cases import CASES, Case
from tests.support.vasp_std.physics import mesh_offset
from tests.support.vasp_std.style import VARIABLE as STYLE
from workflows.engines.spin_lattice.engine import SpinLatticeEngine

warnings.filterwarnings("ignore", module="pymatgen")
KILOBAR = 1602.1766208
"""kB in one eV/Angstrom^3."""


def run(folder: Path, style: str = "6") -> int:
    """The program within this process; the tests of how it is started are in test_vasp_program_faults.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(STYLE, style)
        return program.main()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[tuple[str, str], Path]:
    """A finished folder of every case in the style of VASP 6, and of two in that of VASP 5."""
    asked = [(name, "6") for name in CASES] + [("collinear", "5"), ("relaxation", "5")]
    found = {}
    for name, style in asked:
        found[name, style] = CASES[name].write(tmp_path_factory.mktemp("run"))
        assert run(found[name, style], style) == 0
    return found


ALL = [(name, "6") for name in CASES] + [("collinear", "5"), ("relaxation", "5")]
each_run = pytest.mark.parametrize("key", ALL, ids="-".join)


def expected(case: Case, folder: Path):
    """The engine's label at the geometry where the run ended, and the constant of the k mesh."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        offset = mesh_offset(program.read_inputs())
    last = ase.io.read(folder / "vasprun.xml")
    n = len(case.species)
    moments = np.array(case.moments or [0.0] * n)
    moments = moments.reshape(n, 3) if len(moments) == 3 * n else moments
    config = SpinConfig(
        species=case.species,
        lattice=last.cell.array if case.tags.get("NSW") else case.lattice,
        positions=last.positions if case.tags.get("NSW") else case.positions,
        magmoms_in=moments,
        ordering="any",
        moment_role="guess" if case.moments else "constraint",
    )
    return SpinLatticeEngine().compute(config, None), offset


@each_run
def test_pymatgen_reads_the_engines_numbers(runs, key):
    case, folder = CASES[key[0]], runs[key]
    label, offset = expected(case, folder)
    vasprun = Vasprun(folder / "vasprun.xml", parse_potcar_file=False)
    outcar, oszicar = Outcar(folder / "OUTCAR"), Oszicar(folder / "OSZICAR")
    relaxed = "NSW" in case.tags
    close = 2e-7 if relaxed else 1e-8  # where a relaxation ends is read from its file, with eight digits
    energy = label.free_energy + offset
    assert vasprun.converged
    assert vasprun.ionic_steps[-1]["e_fr_energy"] == pytest.approx(energy, abs=close)
    assert outcar.final_fr_energy == pytest.approx(energy, abs=close)
    assert oszicar.ionic_steps[-1]["F"] == pytest.approx(energy, abs=1e-4)
    assert vasprun.final_energy == pytest.approx(outcar.final_energy, abs=1e-7)
    np.testing.assert_allclose(vasprun.ionic_steps[-1]["forces"], label.forces, atol=100 * close if relaxed else close)
    np.testing.assert_allclose(np.array(vasprun.ionic_steps[-1]["stress"]) / KILOBAR, -label.stress, atol=close)
    assert list(map(str, vasprun.final_structure.species)) == case.species


@each_run
def test_entropy_separates_three_energies(runs, key):
    """Forces belong to the free energy; E0 is half way to the energy without entropy (Gaussian smearing)."""
    outcar = Outcar(runs[key] / "OUTCAR")
    gap = outcar.final_energy_wo_entrp - outcar.final_fr_energy
    assert gap == pytest.approx(0.0 if CASES[key[0]].tags.get("ISMEAR") == "-5" else 0.002, abs=1e-8)
    assert outcar.final_energy == pytest.approx((outcar.final_energy_wo_entrp + outcar.final_fr_energy) / 2, abs=2e-8)


def test_the_last_ionic_energy_of_version_5_is_no_energy(runs):
    """As in real files: e_0_energy of the ionic step is minus the entropy term, and E0 is called e_wo_entrp."""
    for style, zero in (("5", False), ("6", True)):
        folder = runs["collinear", style]
        step = ElementTree.parse(folder / "vasprun.xml").findall("calculation/energy/i")
        values = {i.get("name"): float(i.text) for i in step}
        energy = Outcar(folder / "OUTCAR").final_energy
        assert (abs(values["e_0_energy"] - energy) < 1e-7) is zero
        assert (abs(values["e_wo_entrp"] - energy) < 1e-7) is not zero


@each_run
def test_moments_and_charges(runs, key):
    case, folder = CASES[key[0]], runs[key]
    label, _ = expected(case, folder)
    outcar = Outcar(folder / "OUTCAR")
    if case.tags.get("LORBIT") == "0":
        assert len(outcar.magnetization) == 0
        return
    assert all(0 < site["tot"] < 20 for site in outcar.charge)
    if not case.moments:
        assert len(outcar.magnetization) == 0
        return
    table = np.array([getattr(m["tot"], "moment", m["tot"]) for m in outcar.magnetization])
    np.testing.assert_allclose(table, np.asarray(label.magmoms_out), atol=6e-4)
    # Of two channels with a gap the cell's moment is whole; of vectors pymatgen reads the first component.
    total = np.atleast_1d(np.sum(label.magmoms_out, axis=0))[0]
    assert outcar.total_mag == pytest.approx(total, abs=1.0 if len(case.moments) == len(case.species) else 1e-4)


@each_run
def test_one_magnetization_table_more_than_ionic_steps(runs, key):
    text = (runs[key] / "OUTCAR").read_text()
    steps = text.count("FREE ENERGIE OF THE ION-ELECTRON SYSTEM")
    tables = text.count(" magnetization (x)\n")
    case = CASES[key[0]]
    assert tables == (steps + 1 if case.moments and case.tags.get("LORBIT") != "0" else 0)
    assert steps == (1 if "NSW" not in case.tags else len(Oszicar(runs[key] / "OSZICAR").ionic_steps))
    assert text.count("magnetization (z)") == (tables if len(case.moments) == 3 * len(case.species) else 0)


@each_run
def test_ase_reads_the_same(runs, key):
    case, folder = CASES[key[0]], runs[key]
    label, offset = expected(case, folder)
    relaxed = "NSW" in case.tags
    for name, digits in (("OUTCAR", 2e-6), ("vasprun.xml", 1e-7)):
        atoms = ase.io.read(folder / name)
        assert atoms.get_chemical_symbols() == case.species
        assert atoms.calc.results["free_energy"] == pytest.approx(label.free_energy + offset, abs=2e-5)
        np.testing.assert_allclose(atoms.get_forces(), label.forces, atol=2e-5 if relaxed else digits)
        np.testing.assert_allclose(atoms.get_stress(voigt=False), label.stress, atol=1e-6 if relaxed else 1e-7)
    final = ase.io.read(folder / "CONTCAR", format="vasp")
    np.testing.assert_allclose(final.positions, ase.io.read(folder / "vasprun.xml").positions, atol=1e-6)


@pytest.mark.parametrize(
    "key", [("collinear", "6"), ("repeated blocks", "6"), ("relaxation", "5"), ("tetrahedra", "6")], ids="-".join
)
def test_emmet_reads_the_same(runs, key):
    from emmet.core.tasks import TaskDoc

    case, folder = CASES[key[0]], runs[key]
    document = TaskDoc.from_directory(folder, store_additional_json=False)
    outcar = Outcar(folder / "OUTCAR")
    assert document.state.value == "successful"
    assert document.output.energy == pytest.approx(outcar.final_energy, abs=1e-7)
    assert document.input.magnetic_moments == case.moments
    assert document.structure.site_properties["magmom"] == [m["tot"] for m in outcar.magnetization]
    assert {spec.titel.split()[1] for spec in document.input.potcar_spec} == {name for name, _ in case.blocks}
    assert document.calcs_reversed[0].vasp_version.startswith({"6": "6.4.1", "5": "5.4.4.18"}[key[1]])


@each_run
def test_bands_belong_to_the_electrons(runs, key):
    """The gap is between the eigenvalues, and the occupations add up to NELECT and the moment."""
    vasprun = Vasprun(runs[key] / "vasprun.xml")
    gap, cbm, vbm, _ = vasprun.eigenvalue_band_properties
    assert gap == pytest.approx(cbm - vbm)
    assert vbm < vasprun.efermi < cbm
    occupied = sum(
        float(np.einsum("k,kb->", vasprun.actual_kpoints_weights, bands[:, :, 1]))
        for bands in vasprun.eigenvalues.values()
    )
    each = 2 if vasprun.parameters["ISPIN"] == 1 and not vasprun.parameters["LNONCOLLINEAR"] else 1
    assert each * occupied == pytest.approx(vasprun.parameters["NELECT"])


def test_a_relaxation_goes_down_and_ends_at_the_limit(runs):
    vasprun = Vasprun(runs["relaxation", "6"] / "vasprun.xml")
    energies = [step["e_fr_energy"] for step in vasprun.ionic_steps]
    assert len(energies) > 2
    assert energies[-1] == min(energies) < energies[0] - 0.01
    assert np.linalg.norm(vasprun.ionic_steps[-1]["forces"], axis=1).max() < 0.02
    assert np.linalg.norm(vasprun.ionic_steps[0]["forces"], axis=1).max() > 0.02
    assert vasprun.final_structure.volume != pytest.approx(vasprun.initial_structure.volume, rel=1e-3)
    assert "reached required accuracy" in (runs["relaxation", "6"] / "OUTCAR").read_text()


# -- real files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Path:
    place = os.environ.get("SPINMULTINET_TEST_DATA")
    if not place or not (Path(place) / "vasp").is_dir():
        pytest.skip("SPINMULTINET_TEST_DATA names no folder with real VASP runs")
    return Path(place) / "vasp"


def read(path: Path) -> str:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", errors="replace") as file:
        return file.read()


NUMBER = re.compile(r"(?<![A-Za-z_])[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?|\*{3,}")
OWN_TEXT = ("vasp.", "INCAR", "POTCAR:", "VRHFIN", "TITEL", "PAW_PBE", "POSCAR", "KPOINTS:", "k-points in")
"""Lines with titles and comments of the run itself."""


def skeleton(line: str) -> str:
    """The line with # for each row of numbers and one blank for many."""
    words = " ".join(NUMBER.sub("#", re.sub(r"-(?=\d)", " -", line)).split())
    return re.sub(r"(# ?)+", "# ", words).strip()


def outcar_lines(path: Path) -> list[str]:
    """Without the copy of the INCAR, which is the user's text."""
    text = re.sub(r"(\n INCAR:\n)(?: {3}\w+ = .*\n)*", r"\1", read(path))
    return [line for line in text.splitlines() if not line.strip().startswith(OWN_TEXT)]


NO_REAL_FILE_HAS = {
    "LNONCOLLINEAR = T non collinear calculations",
    "LSORBIT = T spin-orbit coupling",
    "magnetization (y)",
    "magnetization (z)",
}
"""None of the real runs is non-collinear; these differ from theirs by one letter."""


@pytest.fixture(scope="module")
def real_lines(real) -> set[str]:
    known = {skeleton(line) for path in real.glob("*/OUTCAR*") for line in outcar_lines(path)}
    assert len(known) > 500
    return known


@each_run
def test_every_line_of_the_outcar_has_its_like_in_a_real_one(runs, key, real_lines):
    ours = {skeleton(line) for line in outcar_lines(runs[key] / "OUTCAR")}
    assert len(ours) > 150
    assert ours - real_lines - NO_REAL_FILE_HAS == set()


MARKS = (
    "NKPTS = # k-points in BZ NKDIM = # number of bands NBANDS= #",
    "ISPIN = # spin polarized calculation?",
    "total charge",
    "FORCE on cell =-STRESS in cart. coord. units (eV):",
    "in kB #",
    "VOLUME and BASIS-vectors are now :",
    "POSITION TOTAL-FORCE (eV/Angst)",
    "total drift: #",
    "free energy TOTEN = # eV",
    "energy without entropy= # energy(sigma->#) = #",
    "General timing and accounting informations for this job:",
    "Elapsed time (sec): #",
)


def test_sections_of_a_static_run_come_in_the_real_order(runs, real):
    def order(path: Path) -> list[str]:
        last = {}
        for number, line in enumerate(outcar_lines(path)):
            last[re.sub(r"^k-points ", "", skeleton(line))] = number
        return sorted((mark for mark in MARKS if mark in last), key=last.__getitem__)

    found = order(real / "nio_mp_u62" / "OUTCAR.gz")
    assert len(found) > 8
    assert order(runs["collinear", "6"] / "OUTCAR") == found


COLUMNS = (
    *("in kB", "number of electron ", "total drift", "entropy T*S", "eigenvalues    EBANDS", "free energy    TOTEN"),
    *("energy without entropy =", "free  energy   TOTEN", "energy  without entropy=", "volume of cell", "NELECT"),
    *("tot     ", "augmentation part", "LDAUU =", "LDAUL =", "Elapsed time", "NKPTS"),
)
BELOW = {"TOTAL-FORCE": 2, "# of ion": 2, "direct lattice vectors": 2, "band No.": 2}
"""Title of a table -> line below it that holds numbers."""


def test_numbers_end_in_the_columns_of_a_real_file(runs, real):
    def ends(lines: list[str], title: str, below: int) -> tuple[int, ...]:
        at = max(i for i, line in enumerate(lines) if title in line) + below
        return tuple(match.end() for match in re.finditer(r"\S+", lines[at]))

    theirs, ours = (
        read(path).splitlines() for path in (real / "nio_mp_u62" / "OUTCAR.gz", runs["collinear", "6"] / "OUTCAR")
    )
    for title, below in [*((title, 0) for title in COLUMNS), *BELOW.items()]:
        assert ends(ours, title, below) == ends(theirs, title, below), title


@each_run
def test_oszicar_lines_have_their_like_in_a_real_one(runs, key, real):
    texts = [read(path) for path in (*real.glob("*/OSZICAR"), *real.glob("*/vasp_output"))]
    known = {skeleton(line) for text in texts for line in text.splitlines()}
    ours = {skeleton(line) for line in read(runs[key] / "OSZICAR").splitlines()}
    assert ours <= known


def xml_paths(path: Path) -> set[str]:
    """Every element below its parents, with the name and type of each."""
    found, stack = set(), []
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        for event, element in ElementTree.iterparse(file, events=("start", "end")):
            if event == "end":
                stack.pop()
                continue
            stack.append(":".join((element.tag, element.get("name") or "", element.get("type") or "")))
            found.add("/".join(stack))
    return found


@pytest.fixture(scope="module")
def real_elements(real) -> set[str]:
    complete = [path for path in real.glob("*/vasprun.xml*") if "unfinished" not in str(path)]
    return set().union(*map(xml_paths, complete))


@each_run
def test_every_element_of_vasprun_is_one_of_a_real_file(runs, key, real_elements):
    """But for INCAR tags that no real run sets: there every tag may stand."""
    ours = {path for path in xml_paths(runs[key] / "vasprun.xml") if "/incar::/" not in path}
    assert len(ours) > 100
    assert ours - real_elements == set()
