"""What a run may find of the run before it."""

import os
from pathlib import Path

import numpy as np
import pytest
from custodian.custodian import ErrorHandler
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.io.vasp.inputs import Incar

from tests.support.vasp_captures import NO_DATA, write_inputs
from workflows.engines.vasp.restart import (
    COPIES,
    NOTES,
    RESULTS,
    STATES,
    FreshJob,
    LostMomentsHandler,
    clean,
    flipped_sites,
    last_moments,
)

HEAD = "# of ion       s       p       d       tot\n------------------------------------------\n"


def table(moments, axis="x"):
    rows = [f"{i:5d}        0.010   0.000  {m - 0.01:7.3f} {m:7.3f}" for i, m in enumerate(moments, 1)]
    return f"\n magnetization ({axis})\n \n{HEAD}" + "\n".join(rows) + "\n" + "-" * 50 + "\ntot  0.0 0.0 0.0 0.0\n"


def folder_with(path, magmom, moments, header=""):
    folder = write_inputs(path)
    (folder / "INCAR").write_text(f"MAGMOM = {magmom}\n{header}")
    (folder / "OUTCAR").write_text("".join(table(column, axis) for axis, column in zip("xyz", moments, strict=False)))
    return folder


class Asks(ErrorHandler):
    """Asks for a restart as often as it is told to."""


@given(st.lists(st.floats(-5, 5).filter(lambda m: abs(m) > 0.31), min_size=3, max_size=9), st.data())
def test_flips_modulo_one_reversal(tmp_path_factory, asked, data):
    flips = data.draw(st.sets(st.integers(0, len(asked) - 1), max_size=(len(asked) - 1) // 2))
    found = [-m if site in flips else m for site, m in enumerate(asked)]
    magmom = " ".join(map(str, asked))
    for sign in (1, -1):
        folder = folder_with(tmp_path_factory.mktemp("flips"), magmom, [[sign * m for m in found]])
        assert flipped_sites(folder) == sorted(flips)


def test_small_moments_have_no_sign(tmp_path):
    assert flipped_sites(folder_with(tmp_path, "2 -2 0 0", [[1.8, -1.8, -0.2, 0.2]])) == []
    assert flipped_sites(folder_with(tmp_path, "2 -2 0.1 0", [[1.8, -0.1, -0.9, 0.2]])) == []


def test_the_last_table_counts(tmp_path):
    folder = folder_with(tmp_path, "2 -2 0 0", [[1.8, 1.8, 0, 0]])
    (folder / "OUTCAR").write_text((folder / "OUTCAR").read_text() + table([1.8, -1.8, 0, 0]))
    assert flipped_sites(folder) == []


def test_vectors(tmp_path):
    magmom = "0 0 2 2 0 0"
    header = "LNONCOLLINEAR = .TRUE.\n"
    same = [[0.1, 1.8], [0.2, 0.1], [1.7, 0.1]]
    assert flipped_sites(folder_with(tmp_path / "a", magmom, same, header)) == []
    third = "0 0 2 2 0 0 0 2 0"
    flipped = [[0.1, -1.8, 0.0], [0.2, 0.1, 1.8], [1.7, 0.1, 0.0]]
    assert flipped_sites(folder_with(tmp_path / "b", third, flipped, header)) == [1]
    assert last_moments(tmp_path / "b" / "OUTCAR").shape == (3, 3)


@pytest.mark.parametrize("text", ["", "no table here\n", f"\n magnetization (x)\n \n{HEAD}", "\xff\x00"])
def test_no_table_says_nothing(tmp_path, text):
    folder = write_inputs(tmp_path)
    assert flipped_sites(folder) == []
    (folder / "OUTCAR").write_text(text)
    assert last_moments(folder / "OUTCAR") is None
    assert flipped_sites(folder) == []


def test_a_real_run_that_lost_its_order():
    root = Path(os.environ.get("SPINMULTINET_TEST_DATA", ""), "vasp", "feo_afm_custodian")
    if not os.environ.get("SPINMULTINET_TEST_DATA") or not root.is_dir():
        pytest.skip(NO_DATA)
    np.testing.assert_allclose(last_moments(root / "OUTCAR"), [3.007, 1.397, -0.189, -0.189])
    assert Incar.from_file(root / "INCAR")["MAGMOM"][:2] == [5, -5]
    assert flipped_sites(root) == [1]


def test_handler_acts_before_a_restart_only(tmp_path):
    folder = folder_with(tmp_path, "2 -2 0 0", [[1.8, 1.8, 0, 0]], "ISTART = 1\n")
    for name in ("WAVECAR", "CHGCAR"):
        (folder / name).write_text("state")
    other = Asks()
    handler = LostMomentsHandler([other])
    assert not handler.check(str(folder))  # nobody asked for a restart: a finished run is judged as a label
    other.n_applied_corrections += 1
    assert handler.check(str(folder))
    done = handler.correct(str(folder))
    assert done["errors"] == ["moments flipped at POSCAR sites 1"]
    incar = Incar.from_file(folder / "INCAR")
    assert (incar["ISTART"], incar["ICHARG"]) == (0, 2)
    assert not (folder / "WAVECAR").exists()
    assert not (folder / "CHGCAR").exists()
    assert not handler.check(str(folder))  # once for each restart


def test_handler_leaves_a_good_state_to_the_restart(tmp_path):
    folder = folder_with(tmp_path, "2 -2 0 0", [[-1.8, 1.8, 0, 0]])
    (folder / "WAVECAR").write_text("state")
    other = Asks()
    other.n_applied_corrections = 1
    assert not LostMomentsHandler([other]).check(str(folder))
    assert (folder / "WAVECAR").exists()


def test_clean_leaves_inputs_and_what_is_not_of_vasp(tmp_path):
    folder = write_inputs(tmp_path, originals=True)
    kept = {"INCAR", "KPOINTS", "POSCAR", "POTCAR", "OCCMATRIX", "notes.txt", "site_order.json"}
    for name in ("OCCMATRIX", "notes.txt", "site_order.json", *RESULTS, *STATES, *NOTES):
        (folder / name).write_text("x")
    for name in ("OUTCAR.gz", "INCAR.gz", "POTCAR.gz", *(pattern.replace("*", "3") for pattern in COPIES)):
        (folder / name).write_text("x")
    clean(folder)
    assert {path.name for path in folder.iterdir()} == kept


def test_a_run_does_not_see_the_results_of_the_one_before(tmp_path):
    folder = write_inputs(tmp_path)
    for name in (*RESULTS, "WAVECAR"):
        (folder / name).write_text("of the run before")
    job = FreshJob(["ls"], auto_gamma=False)
    assert job.exit_code is None
    job.run(str(folder)).wait()
    listed = (folder / "vasp.out").read_text().split()
    assert "WAVECAR" in listed
    assert not set(RESULTS) & set(listed)
    assert job.exit_code == 0
    assert job.as_dict()["@module"] == "custodian.vasp.jobs"
