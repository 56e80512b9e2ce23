"""What the doctor finds, and when it says no."""

import json

import atomate2
import pymatgen.core
import pytest

from datastore import open_store
from workflows import cli, doctor
from workflows.engines import ENGINES


def test_a_working_machine(capsys):
    assert cli.run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["engines"]["spin-lattice"] == []
    assert set(found["engines"]) == set(ENGINES)
    assert found["packages"]["torch"]
    assert found["cores"] >= 1


def test_no_engine_means_exit_code_3(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_engines", lambda _: ({"gpaw": ["GPAW cannot be imported: make gpaw"]}, {}))
    assert cli.run(["doctor"]) == 3
    out = capsys.readouterr().out
    assert "- gpaw: GPAW cannot be imported: make gpaw" in out
    assert "not ready" in out


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    found = doctor.inspect()
    assert not found["ready"]
    assert "- no-such-package is not installed: pip install no-such-package" in doctor.lines(found)


def test_an_engine_that_cannot_be_loaded_is_reported(monkeypatch):
    monkeypatch.setitem(ENGINES, "broken", "workflows.no_such_module:Engine")
    assert "cannot be loaded" in doctor.inspect()["engines"]["broken"][0]


def test_store_that_can_be_reached(tmp_path):
    uri = f"local:{tmp_path}"
    open_store(uri).close()
    found = doctor.inspect(uri)
    assert found["store"] == {"uri": uri, "problem": None, "points": 0, "failures": 0}
    assert any("can be reached" in line for line in doctor.lines(found))


def test_a_store_is_looked_at_without_the_right_to_write(tmp_path, monkeypatch):
    uri = f"local:{tmp_path}"
    open_store(uri).close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    monkeypatch.setattr("datastore.sqlite_connection.connect", None)
    assert doctor.inspect(uri)["store"]["problem"] is None
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path in before} == before


@pytest.mark.parametrize("uri", ["local:nowhere", "mongodb://user:secret@127.0.0.1:1/x"])
def test_store_that_cannot(uri):
    found = doctor.inspect(uri)
    assert found["store"]["problem"]
    assert not found["ready"]
    assert "secret" not in str(found)


def test_vasp_needs_its_program_and_every_potcar(monkeypatch, tmp_path):
    """Each with its own remedy, in the words of atomate2's and pymatgen's settings."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    found = doctor.inspect()
    command, folder = found["engines"]["vasp"]
    assert "VASP_CMD" in command
    assert "PMG_VASP_PSP_DIR" in folder
    said = doctor.lines(found)
    assert f"- vasp: {command}" in said
    assert f"    and {folder}" in said


def test_vasp_is_ready_where_both_are_there(vasp_on_path):
    assert doctor.inspect()["engines"]["vasp"] == []
    said = doctor.lines(doctor.inspect())
    assert "+ vasp: ready" in said
    assert "    collinear moments: vasp_std" in said
    assert "    vectors: vasp_ncl" in said
    assert f"    POTCARs: Mn_pv, Co, Ni_pv, O, PBE in {vasp_on_path.potcars / 'POT_GGA_PAW_PBE'}" in said


def test_the_program_for_vectors_is_looked_for_even_where_it_is_not_needed(vasp_on_path):
    (vasp_on_path.binaries / "vasp_ncl").unlink()
    found = doctor.inspect()
    assert found["engines"]["vasp"] == []
    assert any("vectors: the command 'vasp_ncl' of VASP is not found" in line for line in doctor.lines(found))


def test_settings_that_pymatgen_has_wrong_are_told_as_they_are(vasp_on_path, monkeypatch):
    monkeypatch.setitem(pymatgen.core.SETTINGS, "PMG_DEFAULT_FUNCTIONAL", "LDA")
    (said,) = doctor.inspect()["engines"]["vasp"]
    assert "'LDA' is no edition of PBE POTCARs; state potcar_functional or PMG_DEFAULT_FUNCTIONAL" in said
    assert "install the package" not in said


def test_one_engine_is_judged_by_its_own_settings(vasp_on_path, tmp_path, capsys):
    """Who has the POTCARs of Ni and O is ready for NiO."""
    (vasp_on_path.potcars / "POT_GGA_PAW_PBE" / "Mn_pv" / "POTCAR").unlink()
    file = tmp_path / "nio.yaml"
    file.write_text("type: vasp\npotcars: {Ni: Ni_pv, O: O}\n")
    assert cli.run(["doctor", "--engine", str(file)]) == 0
    assert f"+ {file}: ready" in capsys.readouterr().out
    assert cli.run(["doctor", "--engine", "vasp"]) == 3
    out = capsys.readouterr().out
    assert "no POTCAR Mn_pv for Mn" in out
    assert "gpaw:" not in out
    assert cli.run(["doctor", "--engine", str(tmp_path / "none.yaml")]) == 3
    assert "none.yaml: cannot be read" in capsys.readouterr().out


def test_a_command_with_an_open_quote_is_told_as_it_is(vasp_on_path, monkeypatch):
    monkeypatch.setattr(atomate2.SETTINGS, "VASP_CMD", "srun 'vasp_std")
    (said,) = doctor.inspect()["engines"]["vasp"]
    assert said.startswith('"srun \'vasp_std" is no command of VASP (No closing quotation); correct it in')


def test_each_potcar_that_lacks_is_named(vasp_on_path):
    (vasp_on_path.potcars / "POT_GGA_PAW_PBE" / "Ni_pv" / "POTCAR").unlink()
    (vasp_on_path.potcars / "POT_GGA_PAW_PBE" / "Co" / "POTCAR").write_text("no potential")
    missing = doctor.inspect()["engines"]["vasp"]
    assert len(missing) == 2
    assert any("Ni_pv for Ni" in text and "leave Ni out of potcars" in text for text in missing)
    assert any("Co/POTCAR: is no POTCAR" in text for text in missing)
