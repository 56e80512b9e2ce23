import re
from pathlib import Path

import numpy as np
import pytest
from pymatgen.io.vasp.outputs import Outcar as PymatgenOutcar

from workflows.engines.vasp.outcar import read_outcar
from workflows.engines.vasp.output_files import OutputError

ALL = ["static", "version_5", "vectors", "relaxed", "stopped_at_nsw", "no_magmom"]


def changed(source: Path, folder: Path, pattern: str, new: str) -> Path:
    """A copy of OUTCAR where ``new`` stands for the last match of ``pattern``."""
    text = (source / "OUTCAR").read_text()
    match = list(re.finditer(pattern, text))[-1]
    (folder / "OUTCAR").write_text(text[: match.start()] + new + text[match.end() :])
    return folder / "OUTCAR"


def reason(path: Path) -> str:
    with pytest.raises(OutputError) as caught:
        read_outcar(path)
    return caught.value.reason


@pytest.mark.parametrize("name", ALL)
def test_as_pymatgen_reads_it(finished, name):
    path = finished(name) / "OUTCAR"
    ours, theirs = read_outcar(path), PymatgenOutcar(path)
    assert ours.free_energy == theirs.final_fr_energy
    assert ours.energy == theirs.final_energy
    moments = [getattr(row["tot"], "moment", row["tot"]) for row in theirs.magnetization]
    np.testing.assert_array_equal(ours.magnetization, moments)
    np.testing.assert_array_equal(ours.charges, [row["tot"] for row in theirs.charge])
    assert ours.fermi == theirs.efermi
    assert (ours.spin_polarised or ours.noncollinear) == theirs.spin
    assert ours.timings["wall"] == theirs.run_stats["Elapsed time (sec)"]
    assert ours.timings["cores"] == theirs.run_stats["cores"]


def test_unix_and_windows_line_ends(finished, tmp_path):
    (tmp_path / "OUTCAR").write_bytes((finished("static") / "OUTCAR").read_bytes().replace(b"\n", b"\r\n"))
    np.testing.assert_array_equal(
        read_outcar(tmp_path / "OUTCAR").magnetization, read_outcar(finished("static") / "OUTCAR").magnetization
    )


def test_bytes_that_are_no_utf8(finished, tmp_path):
    """OUTCAR repeats the user's comments."""
    content = (finished("static") / "OUTCAR").read_bytes()
    (tmp_path / "OUTCAR").write_bytes(content.replace(b"POSCAR:", b"POSCAR: \xe5ngstr\xf6m", 1))
    assert read_outcar(tmp_path / "OUTCAR").version


def test_numbers_that_touch(finished, tmp_path):
    """Formats F13.9 (lattice) and F12.5 (stress) leave no blank before long numbers."""
    line = "  in kB  -1234.12345-12345.12345-12345.12345    1.00000    2.00000    3.00000"
    path = changed(finished("static"), tmp_path, r"  in kB.*", line)
    np.testing.assert_array_equal(
        read_outcar(path).stress, [[-1234.12345, 1, 3], [1, -12345.12345, 2], [3, 2, -12345.12345]]
    )
    text = path.read_text()
    row = list(re.finditer(r"direct lattice vectors.*\n(.*)\n", text))[-1]
    path.write_text(
        text[: row.start(1)] + "    123.456789012-12.345678901123.456789012" + "  0.1" * 3 + text[row.end(1) :]
    )
    np.testing.assert_array_equal(read_outcar(path).lattice[0], [123.456789012, -12.345678901, 123.456789012])


@pytest.mark.parametrize("shells", ["s       p       d", "s       p       d       f", "s       p"])
def test_tables_with_other_shells(finished, tmp_path, shells):
    n = len(shells.split())
    rows = "".join(f"{i:5d}     " + f"{0.1 * i:8.3f}" * n + f"{0.1 * i * n:8.3f}\n" for i in range(1, 9))
    table = f" magnetization (x)\n \n# of ion       {shells}       tot\n{'-' * 42}\n{rows}{'-' * 50}\ntot\n"
    path = changed(finished("static"), tmp_path, r" magnetization \(x\)[ ]*\n(?s:.*?)\ntot[^\n]*\n", table)
    np.testing.assert_allclose(read_outcar(path).magnetization, 0.1 * n * np.arange(1, 9))


def test_indices_wider_than_their_column(finished, tmp_path):
    """From 1000 ions on some versions print asterisks for the index; the numbers behind them count."""
    path = changed(finished("static"), tmp_path, r"\n    8   (?=.*\n-+\ntot)", "\n  ***   ")
    np.testing.assert_array_equal(
        read_outcar(path).magnetization, read_outcar(finished("static") / "OUTCAR").magnetization
    )


def test_asterisks_for_a_moment(finished, tmp_path):
    path = changed(finished("static"), tmp_path, r"(?<=\n    8  )   .{8}(?=.*\n-+\ntot)", "   ********")
    assert reason(path) == "overflow"


def test_a_moment_that_was_changed(finished, tmp_path):
    path = changed(finished("static"), tmp_path, r"\S+(?=\n-+\ntot)", "   4.444")
    assert reason(path) == "inconsistent"


def test_a_table_that_lost_a_row(finished, tmp_path):
    assert reason(changed(finished("static"), tmp_path, r"\n    8   .*(?=\n-+\ntot)", "")) == "unreadable"


def test_a_table_of_an_earlier_step_does_not_count(finished, tmp_path):
    """Trap 6: without a table after the last electronic step there are no moments of it."""
    text = (finished("relaxed") / "OUTCAR").read_text()
    last = text.rindex(" Iteration ")
    (tmp_path / "OUTCAR").write_text(text[:last] + text[last:].replace(" magnetization (x)", " magnetisation (x)"))
    assert read_outcar(tmp_path / "OUTCAR").magnetization is None


def test_no_stress_printed(finished, tmp_path):
    assert read_outcar(changed(finished("static"), tmp_path, r"\n  in kB.*", "")).stress is None


@pytest.mark.parametrize(
    ("line", "cores"),
    [
        (" running on    4 total cores", 4),
        (" running   16 mpi-ranks, with    4 threads/rank, on    2 nodes", 64),
        (" serial version", None),
    ],
)
def test_cores(finished, tmp_path, line, cores):
    path = changed(finished("static"), tmp_path, r"\n running .*", f"\n{line}")
    assert read_outcar(path).timings.get("cores") == cores


@pytest.mark.parametrize("version", ["5.2.2", "5.3.5", "6.4.1", "6.5.0"])
def test_versions(finished, tmp_path, version):
    path = changed(finished("static"), tmp_path, r"^ vasp\.\S+", f" vasp.{version}")
    assert read_outcar(path).version == version
    assert reason(changed(finished("static"), tmp_path, r"^ vasp\.", " espresso ")) == "foreign"


def test_force_table_of_another_size(finished, tmp_path):
    path = changed(finished("static"), tmp_path, r"(?<=\n)(?= -+\n +total drift)", "")
    assert read_outcar(path).forces.shape == (8, 3)
    path = changed(finished("static"), tmp_path, r"\n.*(?=\n -+\n +total drift)", "")
    assert reason(path) == "unreadable"


def test_ions_that_do_not_add_up(finished, tmp_path):
    assert reason(changed(finished("static"), tmp_path, r"NIONS = +\d+", "NIONS =      9")) == "inconsistent"


def test_settings_that_are_not_there(finished, tmp_path):
    assert reason(changed(finished("static"), tmp_path, r"LNONCOLLINEAR", "LWHATEVER")) == "foreign"


def test_cut_at_every_byte_of_its_end(finished, tmp_path):
    """Trap 7: every number stands before the wall time, which counts when its line is whole."""
    content = (finished("static") / "OUTCAR").read_bytes()
    whole = read_outcar(finished("static") / "OUTCAR")
    line_end = content.index(b"\n", content.index(b"Elapsed time (sec)"))
    for end in range(content.index(b"General timing") - 50, len(content)):
        (tmp_path / "OUTCAR").write_bytes(content[:end])
        if end <= line_end:
            assert reason(tmp_path / "OUTCAR") == "truncated"
        else:
            cut = read_outcar(tmp_path / "OUTCAR")
            assert (cut.timings, cut.free_energy) == (whole.timings, whole.free_energy)


@pytest.mark.parametrize("name", ["Elapsed", "User", "System"])
def test_a_time_that_is_no_number_is_left_out(finished, tmp_path, name):
    path = changed(finished("static"), tmp_path, rf"(?<={name} time \(sec\):) +\S+", "  1.2.3")
    assert set(read_outcar(path).timings) == {"wall", "cpu", "cores"} - {"wall" if name == "Elapsed" else "cpu"}
