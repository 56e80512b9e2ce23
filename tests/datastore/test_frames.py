import csv
import json

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from datastore.errors import DataError
from datastore.frames import read_frames, shape_of


def atoms(energy=-25.4):
    made = Atoms("NiO", positions=[[0, 0, 0], [2.1, 0, 0]], cell=np.eye(3) * 4, pbc=True, magmoms=[2.0, 0.0])
    forces = np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
    made.calc = SinglePointCalculator(made, energy=energy, forces=forces, stress=np.arange(6) / 100, magmoms=[1.8, 0.1])
    return made


def write(path, frames):
    ase.io.write(path, frames, format="extxyz")
    return path


def test_extended_xyz(tmp_path):
    first, second = read_frames(write(tmp_path / "a.xyz", [atoms(), atoms(-26.0)]))
    assert (first.number, second.number) == (0, 1)
    assert second.fraction == 1.0
    assert first.values["species"] == ["Ni", "O"]
    assert second.values["energy"] == -26.0
    np.testing.assert_allclose(first.values["forces"][1], [-0.1, -0.2, -0.3])
    np.testing.assert_allclose(first.values["initial_magmoms"], [2.0, 0.0])
    assert np.all(first.values["pbc"])


def test_an_antisymmetric_stress_is_not_lost(tmp_path):
    """ASE's reader keeps six of nine numbers."""
    path = write(tmp_path / "a.extxyz", [atoms()])
    text = path.read_text()
    start = text.index('stress="') + 8
    end = text.index('"', start)
    path.write_text(text[:start] + "1 2 3 4 5 6 7 8 9" + text[end:])
    (frame,) = read_frames(path)
    assert sorted(np.ravel(frame.values["stress"])) == list(range(1, 10))
    assert not np.allclose(frame.values["stress"], np.transpose(frame.values["stress"]))
    assert list(frame.atoms.info) == []


def test_a_damaged_frame_does_not_cost_the_others(tmp_path):
    path = write(tmp_path / "a.extxyz", [atoms(), atoms(-26.0), atoms(-27.0)])
    lines = path.read_text().splitlines(keepends=True)
    lines[6] = "Ni 0.0 zero 0.0\n"
    path.write_text("".join(lines))
    frames = list(read_frames(path))
    assert [bool(frame.problem) for frame in frames] == [False, True, False]
    assert frames[2].values["energy"] == -27.0


def test_a_file_that_is_cut_off(tmp_path):
    path = write(tmp_path / "a.extxyz", [atoms(), atoms()])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    first, last = read_frames(path)
    assert not first.problem
    assert "cut off" in last.problem


def test_text_where_a_number_of_atoms_should_be(tmp_path):
    path = write(tmp_path / "a.extxyz", [atoms()])
    path.write_text("\n" + path.read_text() + "\nwhat is this\n2\n")
    first, last = read_frames(path)
    assert not first.problem
    assert "'what is this' should be a number of atoms" in last.problem


@pytest.mark.parametrize("suffix", ["db", "json"])
def test_ase_databases(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with connect(str(path)) as database:
        for energy in (-25.4, -26.0):
            database.write(atoms(energy), ordering="FM", data={"magnetic_forces": [0.1, 0.2]})
    first, second = read_frames(path)
    assert (first.fraction, second.fraction) == (0.5, 1.0)
    assert second.values["energy"] == -26.0
    assert first.values["ordering"] == "FM"
    assert list(first.values["magnetic_forces"]) == [0.1, 0.2]
    np.testing.assert_allclose(first.values["magmoms"], [1.8, 0.1])
    np.testing.assert_allclose(first.values["initial_magmoms"], [2.0, 0.0])


TABLE = [
    {"species": ["Ni", "O"], "energy": -25.4, "forces": [[0.1, 0, 0], [-0.1, 0, 0]], "ordering": "FM"},
    {"species": ["Ni", "O"], "energy": -26.123456789012345, "forces": [[1e-17, 0, 0], [0, 0, 0]], "ordering": "AFM-I"},
]


def test_csv_cells_hold_json(tmp_path):
    path = tmp_path / "a.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, TABLE[0])
        writer.writeheader()
        writer.writerows({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in TABLE)
    assert [frame.values for frame in read_frames(path)] == TABLE


def test_csv_rows_of_another_length_are_no_frames(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("energy,ordering\n-1,FM\n-2\n-3,FM,x\n-4,\n")
    frames = list(read_frames(path))
    assert [bool(frame.problem) for frame in frames] == [False, True, True, False]
    assert frames[3].values == {"energy": -4}  # an empty cell is no value


def test_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([*map(json.dumps, TABLE), "", "{broken", "[1]"]))
    frames = list(read_frames(path))
    assert [frame.values for frame in frames[:2]] == TABLE
    assert "no JSON" in frames[2].problem
    assert "one JSON object" in frames[3].problem


def test_json_nested_too_deeply_costs_one_line(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join([json.dumps(TABLE[0]), "[" * 100_000, json.dumps(TABLE[1])]))
    frames = list(read_frames(tmp_path / "a.jsonl"))
    assert [frame.values for frame in frames] == [TABLE[0], {}, TABLE[1]]
    assert "no JSON" in frames[1].problem
    (tmp_path / "a.csv").write_text(f"energy,ordering\n-1,{'[' * 100_000}\n-2,FM\n")
    assert [frame.values["energy"] for frame in read_frames(tmp_path / "a.csv")] == [-1, -2]


@pytest.mark.parametrize("count", ["9" * 20, "9" * 6000])
def test_no_file_has_that_many_atoms(tmp_path, count):
    path = write(tmp_path / "a.extxyz", [atoms()])
    path.write_text(f"{path.read_text()}{count}\nx\n")
    first, last = read_frames(path)
    assert not first.problem
    assert "should be a number of atoms" in last.problem


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "xyz"])
def test_a_byte_order_mark_is_no_content(tmp_path, suffix):
    content = {"jsonl": '{"energy": -1}', "csv": "energy\n-1\n", "xyz": write(tmp_path / "x", [atoms(-1)]).read_text()}
    (tmp_path / f"a.{suffix}").write_bytes(b"\xef\xbb\xbf" + content[suffix].encode())
    (frame,) = read_frames(tmp_path / f"a.{suffix}")
    assert frame.values["energy"] == -1


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.pkl", b"", "no known format"),
        ("a.h5", b"", "write JSON lines"),
        ("a.extxyz", b"", "no frames"),
        ("a.csv", b"energy\n", "no frames"),
        ("a.db", b"this is no database at all, only text", "ASE database"),
        ("a.json", b"{", "ASE database"),
        ("missing.csv", None, "no such file"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path, name, content, part):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=part):
        list(read_frames(tmp_path / name))


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "a.extxyz"
    path.write_bytes(b"\xff\xfe\x00garbage")
    (frame,) = read_frames(path)
    assert "number of atoms" in frame.problem


def test_shapes_are_told_in_words():
    assert shape_of("FM") == "text"
    assert shape_of(1.0) == "number"
    assert shape_of(True) == "true or false"
    assert shape_of([[1, 2, 3]]) == "numbers (1, 3)"
    assert shape_of(["Ni"]) == "list"
