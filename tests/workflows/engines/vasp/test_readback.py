"""Input files as VASP reads them."""

import pytest

from workflows.engines.vasp.readback import numbers, read_incar, read_kpoints, read_poscar, read_potcar, read_spec


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2*5 1*-5 0", [5, 5, -5, 0]),
        ("2*2*1.5", [1.5] * 4),
        ("+3. .5 -1E-1 2d0", [3, 0.5, -0.1, 2]),
        ('"1 2"', [1, 2]),
        ("", []),
    ],
)
def test_lists(text, values):
    assert numbers(text) == values


@pytest.mark.parametrize("text", ["-2*5", "5,5", "5 x", "2*", "*5", "5..0", "1.5*2"])
def test_what_is_no_list(text):
    with pytest.raises(ValueError, match="is no number"):
        numbers(text)


def test_incar(tmp_path):
    (tmp_path / "INCAR").write_text(
        "# ENCUT = 1\nENCUT = 520 ! eV\nISMEAR = 0; SIGMA = 0.05\nMAGMOM = 2*5 \\\n 2*-5\nENCUT = 400\nnote\n"
    )
    tags = read_incar(tmp_path)
    assert tags.repeated == ["ENCUT"]
    assert tags.texts["ENCUT"] == "520"  # VASP takes the first, pymatgen the last
    assert numbers(tags.texts["MAGMOM"]) == [5, 5, -5, -5]
    assert tags.values["SIGMA"] == 0.05
    assert (tags.values["ISMEAR"], tags.texts["ISMEAR"]) == (0, "0")


def test_poscar_keeps_its_blocks_and_its_scale(tmp_path):
    (tmp_path / "POSCAR").write_text(
        "x\n2.0\n2 0 0\n0 2 0\n0 0 2\nNi Ni O\n1 1 2\nCartesian\n0 0 0\n1 1 0\n1 0 0\n0 1 0\n"
    )
    sites = read_poscar(tmp_path)
    assert (sites.symbols, sites.counts) == (["Ni", "Ni", "O"], [1, 1, 2])
    assert sites.species == ["Ni", "Ni", "O", "O"]
    assert sites.lattice[0].tolist() == [4, 0, 0]
    assert sites.positions[1] == pytest.approx([2, 2, 0])


def test_files_that_are_not_there_or_no_such_files(tmp_path):
    for reader, name in [
        (read_incar, "INCAR"),
        (read_poscar, "POSCAR"),
        (read_kpoints, "KPOINTS"),
        (read_potcar, "POTCAR"),
        (read_spec, "POTCAR.spec"),
    ]:
        with pytest.raises(ValueError, match=f"{name} is not there"):
            reader(tmp_path)
    for reader, name, text in [
        (read_poscar, "POSCAR", "x\n1\n1 0 0\n0 1 0\n0 0 1\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"),  # VASP 4: no species
        (read_poscar, "POSCAR", "x\n1.0\n"),
        (read_kpoints, "KPOINTS", ""),
        (read_potcar, "POTCAR", "nothing\nEnd of Dataset\n"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=name) as caught:
            reader(tmp_path)
        assert "\n" not in str(caught.value)
