"""What stays of the folder of a run."""

import gzip
import json

from tests.support.vasp_std.potcars import potcar
from workflows.engines.vasp.folder import POTCARS, REMOVED, tidy
from workflows.engines.vasp.potcars import digest


def test_text_is_packed_and_what_is_large_or_licensed_goes(tmp_path):
    for name in (*REMOVED, "OUTCAR", "vasprun.xml", "INCAR", "custodian.json", "site_order.json", "notes.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "POTCAR").write_text(potcar("Ni_pv") + potcar("O"))
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["OUTCAR.gz", "vasprun.xml.gz", "INCAR.gz", "custodian.json.gz", "site_order.json", "notes.txt", POTCARS]
    )
    assert gzip.decompress((tmp_path / "OUTCAR.gz").read_bytes()) == b"OUTCAR"
    assert json.loads((tmp_path / POTCARS).read_text()) == [
        {"element": "Ni", "titel": "PAW_PBE Ni_pv 01Jan2000", "sha256": digest(potcar("Ni_pv"))},
        {"element": "O", "titel": "PAW_PBE O 01Jan2000", "sha256": digest(potcar("O"))},
    ]


def test_a_second_run_replaces_what_the_first_left(tmp_path):
    (tmp_path / "OUTCAR.gz").write_bytes(gzip.compress(b"old"))
    (tmp_path / "OUTCAR").write_text("new")
    tidy(tmp_path)
    assert gzip.decompress((tmp_path / "OUTCAR.gz").read_bytes()) == b"new"


def test_an_empty_folder_stays_empty(tmp_path):
    tidy(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_does_not_hide_how_the_run_ended(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    (tmp_path / "OUTCAR").write_text("kept")
    (tmp_path / "WAVECAR").write_text("large")
    monkeypatch.setattr("workflows.engines.vasp.folder.compress_file", full)
    tidy(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["OUTCAR"]
