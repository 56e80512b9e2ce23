import gzip
import re
import shutil

import numpy as np
import pytest
from emmet.core.tasks import TaskDoc

from tests.support.vasp_runs import VECTORS
from workflows.engines.vasp.output_files import OutputError
from workflows.engines.vasp.vasprun import band_gap, incar_of, mesh_of, moments_in, read_vasprun, started

FILE = "vasprun.xml"


def changed(source, folder, pattern: str, new: str):
    text, n = re.subn(pattern, new, (source / FILE).read_text(), count=1)
    assert n == 1
    (folder / FILE).write_text(text)
    return folder / FILE


def reason(path) -> str:
    with pytest.raises(OutputError) as caught:
        read_vasprun(path)
    return caught.value.reason


def test_the_tags_of_all_versions_have_one_form(finished, tmp_path):
    """As VASP 5.3.5 writes them: LORBIT a logical that is false, LDAUTYPE a list; VASP 5.4.4 adds KPOINT_BSE."""
    old = '<i type="logical" name="LORBIT"> F  </i><v type="int" name="LDAUTYPE"> 2</v>'
    old += '<v type="int" name="KPOINT_BSE"> -1 0 0 0</v><i type="string" name="GGA"> PS</i>'
    path = changed(finished("static"), tmp_path, r"</incar>", f"{old}</incar>")
    text = re.sub(r'<i type="int" name="(LORBIT|LDAUTYPE)">[^<]*</i>', "", path.read_text(), count=2)
    path.write_text(text)
    incar = incar_of(read_vasprun(path), 11)
    assert (incar["LORBIT"], incar["LDAUTYPE"], incar["GGA"]) == (11, 2, "PS")
    assert "KPOINT_BSE" not in incar
    plain = incar_of(read_vasprun(finished("static") / FILE), 11)
    assert {**plain, "GGA": "PS"} == incar


def test_ldauu_of_the_parameters_is_not_used(finished):
    """Trap 8: it may hold one element only; the INCAR's has one number per block."""
    vasprun = read_vasprun(finished("static") / FILE)
    assert incar_of(vasprun, 11)["LDAUU"] == [3.9, 6.2, 3.9, 0.0]
    assert len(vasprun.hubbards) == 3  # Mn has two blocks


def test_moments_as_stated(finished):
    path = finished("vectors") / FILE
    np.testing.assert_array_equal(moments_in(read_vasprun(path), path), VECTORS)
    path = finished("no_magmom") / FILE
    vasprun = read_vasprun(path)
    assert vasprun.parameters["MAGMOM"] == [1.0] * 8  # VASP's default, which nobody stated
    assert moments_in(vasprun, path) is None


def test_a_list_of_moments_of_another_length(finished, tmp_path):
    path = changed(finished("static"), tmp_path, r'(name="MAGMOM">[^<]*)<', r"\1 0.6 <")
    assert len(moments_in(read_vasprun(path), path)) == 8  # VASP reads the first eight
    path = changed(finished("static"), tmp_path, r'name="MAGMOM">[^<]*<', 'name="MAGMOM"> 1.0 2.0 <')
    with pytest.raises(OutputError, match="MAGMOM has 2 numbers and the run needs 8"):
        moments_in(read_vasprun(path), path)


def test_start_of_the_run(finished):
    assert re.fullmatch(r"\d{4}\.\d\d\.\d\d \d\d:\d\d:\d\d", started(finished("static") / FILE))


def test_mesh(finished, tmp_path):
    assert mesh_of(read_vasprun(finished("static") / FILE)) == ([2, 2, 2], "gamma")
    path = changed(finished("static"), tmp_path, r'param="Gamma"', 'param="Monkhorst-Pack"')
    assert mesh_of(read_vasprun(path)) == ([2, 2, 2], "monkhorst")
    path = changed(finished("static"), tmp_path, r'(?<=name="usershift">)[^<]*', " 0.5 0.0 -0.25 ")
    assert mesh_of(read_vasprun(path)) == ([2, 2, 2], "gamma, shifted by 0.5 0 0.75")
    path = changed(finished("static"), tmp_path, r"(?s)<generation.*?</generation>", "")
    assert mesh_of(read_vasprun(path)) == (None, "")


class Eigenvalues:
    """What band_gap asks of a vasprun."""

    def __init__(self, *bands):
        self.eigenvalues = {0: np.stack([np.array(bands).T, np.ones_like(np.array(bands).T)], axis=-1)}

    def calculate_efermi(self) -> float:
        return self.efermi


def test_gap_of_an_insulator_and_a_metal():
    insulator, metal = Eigenvalues([-2.0, -1.0], [0.5, 1.0]), Eigenvalues([-2.0, -1.0], [-0.5, 1.0])
    assert band_gap(insulator, 0.0) == pytest.approx(1.5)
    assert band_gap(metal, 0.0) == 0.0


@pytest.mark.parametrize("fermi", [None, -5.0, 5.0])
def test_no_gap_without_bands_on_both_sides(fermi):
    assert band_gap(Eigenvalues([-2.0, -1.0], [0.5, 1.0]), fermi) is None
    assert band_gap(Eigenvalues([-2.0, np.nan], [0.5, 1.0]), 0.0) is None


def test_no_gap_of_damaged_eigenvalues():
    damaged = Eigenvalues([-2.0, -1.0], [0.5, 1.0])
    damaged.eigenvalues[1] = damaged.eigenvalues[0][:1]
    assert band_gap(damaged, 0.0) is None
    damaged.eigenvalues = None
    assert band_gap(damaged, 0.0) is None


def test_gap_is_that_of_taskdoc(finished):
    calculation = TaskDoc.from_directory(finished("static")).calcs_reversed[0]
    vasprun = read_vasprun(finished("static") / FILE)
    assert band_gap(vasprun, calculation.output.outcar["efermi"]) == pytest.approx(calculation.output.bandgap)


def test_a_file_without_its_end(finished, tmp_path):
    """Trap 7: read leniently, it reports convergence."""
    text = (finished("relaxed") / FILE).read_text()
    (tmp_path / FILE).write_text(text[: text.rindex("</calculation>") + len("</calculation>")])
    assert reason(tmp_path / FILE) == "truncated"
    (tmp_path / FILE).write_text(re.sub(r"(?s)<calculation>.*</calculation>", "", text))
    assert reason(tmp_path / FILE) == "unreadable"
    (tmp_path / FILE).write_text(re.sub(r"(?s)<scstep>.*?</scstep>", "", text))
    assert reason(tmp_path / FILE) in ("truncated", "unreadable")


def test_what_is_no_vasprun(tmp_path):
    (tmp_path / FILE).write_text("<espresso></espresso>")
    assert reason(tmp_path / FILE) == "foreign"
    (tmp_path / FILE).write_text("\n \n")
    assert reason(tmp_path / FILE) == "truncated"


def test_a_compressed_file_with_a_plain_name(finished, tmp_path):
    (tmp_path / FILE).write_bytes(gzip.compress((finished("static") / FILE).read_bytes()))
    assert read_vasprun(tmp_path / FILE).final_energy == read_vasprun(finished("static") / FILE).final_energy
    shutil.copy(finished("static") / FILE, tmp_path / f"{FILE}.gz")
    assert read_vasprun(tmp_path / f"{FILE}.gz").vasp_version
