"""POTCARs: where they are, what identifies them, what lacks. All of them invented."""

import gzip

import pymatgen.core
import pytest
from pymatgen.io.vasp import Potcar

from tests.support.vasp_std.potcars import potcar
from workflows.engines.vasp import potcars
from workflows.engines.vasp.readback import read_potcar

NAMES = {"Mn": "Mn_pv", "Ni": "Ni_pv", "O": "O"}


def test_header_and_hash(vasp_on_path):
    file = potcars.read("Ni_pv", "PBE")
    assert (file.element, file.symbol, file.functional) == ("Ni", "Ni_pv", "PBE")
    assert file.titel == "PAW_PBE Ni_pv 01Jan2000"
    assert (file.zval, file.rwigs, file.enmax) == (16.0, 1.3, 300.0)
    assert len(file.sha256) == potcars.DIGITS


@pytest.mark.filterwarnings("ignore")
def test_trap_13_a_part_of_a_runs_potcar_has_the_hash_of_its_file(vasp_on_path, tmp_path):
    """pymatgen joins the files; blanks at their ends change, the potentials do not."""
    Potcar(list(NAMES.values()), functional="PBE").write_file(tmp_path / "POTCAR")
    parts = read_potcar(tmp_path)
    assert {part.element: part.sha256 for part in parts} == potcars.hashes(NAMES, "PBE")


@pytest.mark.filterwarnings("ignore")
def test_bytes_that_are_no_text_are_left_out_as_pymatgen_does(vasp_on_path, tmp_path):
    """Some distributed files have a stray byte in a comment."""
    path = potcars.find("O", "PBE")
    path.write_bytes(path.read_bytes().replace(b"invented", b"inv\xe9nted"))
    Potcar(["O"], functional="PBE").write_file(tmp_path / "POTCAR")
    (part,) = read_potcar(tmp_path)
    assert part.sha256 == potcars.read("O", "PBE").sha256


def test_editions_and_single_digits_differ(vasp_on_path):
    editions = {potcars.read("Ni_pv", edition).sha256 for edition in ("PBE", "PBE_52", "PBE_54", "PBE_64")}
    assert len(editions) == 4
    assert potcars.digest(potcar("O")) != potcars.digest(potcar("O").replace("0.1000000000E+01", "0.1000000001E+01"))


def test_a_packed_file_is_the_same(vasp_on_path):
    plain = potcars.read("O", "PBE")
    path = potcars.find("O", "PBE")
    with gzip.open(path.with_suffix(".gz"), "wt") as file:
        file.write(path.read_text())
    path.unlink()
    assert potcars.read("O", "PBE") == plain


def test_the_identity_holds_the_hash_or_says_the_titel():
    assert potcars.identity("PAW_PBE Ni_pv 06Sep2000", "a" * 64) == {"symbol": "Ni_pv", "sha256": "a" * 16}
    assert potcars.identity("PAW_PBE Ni_pv 06Sep2000", None) == {"titel": "PAW_PBE Ni_pv 06Sep2000"}


def test_nothing_lacks(vasp_on_path):
    assert potcars.problems(NAMES, "PBE", potcars.hashes(NAMES, "PBE")) == []


def test_every_lack_has_its_remedy(vasp_on_path, monkeypatch):
    folder = vasp_on_path.potcars / "POT_GGA_PAW_PBE"
    (folder / "Ni_pv" / "POTCAR").unlink()
    (folder / "O" / "POTCAR").write_text(potcar("Ni"))
    (folder / "Mn_pv" / "POTCAR").write_text(potcar("Mn_pv").replace("13.000", "12.000"))
    other, missing, wrong = potcars.problems(NAMES, "PBE", {"Mn": "0" * 16})
    assert "copy it there, name another one under potcars" in missing
    assert "is one of Ni" in wrong
    assert "has hash" in other
    assert "install the file that the other labels were made with" in other
    assert "PBE_52_W_HASH POTCARs at" in potcars.problems(NAMES, "PBE_52_W_HASH", {})[0]
    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR")
    assert "PMG_VASP_PSP_DIR" in potcars.problems(NAMES, "PBE", {})[0]


def test_a_file_that_changes_is_read_again(vasp_on_path):
    before = potcars.read("O", "PBE").sha256
    potcars.find("O", "PBE").write_text(potcar("O_s"))
    assert potcars.read("O", "PBE").sha256 != before


def test_a_broken_file_is_no_hash(vasp_on_path):
    potcars.find("O", "PBE").write_text("nothing")
    assert set(potcars.hashes(NAMES, "PBE")) == {"Mn", "Ni"}
    with pytest.raises(ValueError, match="O/POTCAR: is no POTCAR that can be read"):
        potcars.read("O", "PBE")
