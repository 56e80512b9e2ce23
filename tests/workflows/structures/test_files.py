"""Structure files: every format, moments with their signs, supercells, and clear refusals."""

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Species, Structure
from pymatgen.io.cif import CifWriter

from workflows.structures import StructureError, StructureOptions, fitting_orderings, generate, rocksalt
from workflows.structures.files import FileStructure, file_parent, read_parents, supercell_matrix

MCIF = """
data_mno
_cell_length_a 4.445
_cell_length_b 4.445
_cell_length_c 4.445
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_magn.number_BNS 1.1
_space_group_magn.name_BNS "P1"
loop_
_space_group_symop_magn_operation.id
_space_group_symop_magn_operation.xyz
1 x,y,z,+1
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Mn1 Mn 0 0 0 1
Mn2 Mn 0.5 0.5 0 1
Mn3 Mn 0.5 0 0.5 1
Mn4 Mn 0 0.5 0.5 1
O1 O 0.5 0.5 0.5 1
O2 O 0 0 0.5 1
O3 O 0 0.5 0 1
O4 O 0.5 0 0 1
loop_
_atom_site_moment.label
_atom_site_moment.crystalaxis_x
_atom_site_moment.crystalaxis_y
_atom_site_moment.crystalaxis_z
Mn1 {0}
Mn2 {0}
Mn3 {1}
Mn4 {1}
"""


def bare(structure, moments=None):
    """As somebody else would bring it: no grid, no provenance."""
    return Structure(
        structure.lattice,
        [site.specie.symbol for site in structure],
        structure.frac_coords,
        site_properties={"magmom": moments} if moments else None,
    )


@pytest.fixture
def nio():
    return bare(rocksalt("Ni", cell="rhombohedral4"))


def one(path, **options):
    (structure,) = read_parents(path, **options)
    return structure


@pytest.mark.parametrize("name", ["nio.cif", "POSCAR", "CONTCAR_relaxed", "nio.vasp", "nio.json", "nio.xyz"])
def test_every_format_is_recognised_as_rocksalt(nio, tmp_path, name):
    path = tmp_path / name
    if name.endswith("xyz"):
        nio.to_ase_atoms().write(path, format="extxyz")
    else:
        nio.to(filename=str(path), fmt={".cif": "cif", ".json": "json"}.get(path.suffix, "poscar"))
    found = one(path)
    assert found.composition == nio.composition
    assert found.volume == pytest.approx(nio.volume, rel=1e-5)
    assert "grid_index" in found.site_properties
    assert found.properties["cell"] == "custom"
    assert found.properties["parent"].startswith("NiO-custom-")


def test_materials_project_documents(nio, tmp_path):
    magnetic = bare(nio, [1.7, -1.7, 0.0, 0.0])
    path = tmp_path / "mp.json"
    path.write_text(json.dumps({"material_id": "mp-19009", "structure": magnetic.as_dict(), "band_gap": 2.3}))
    assert one(path).site_properties["magmom"] == [1.7, -1.7, 0, 0]
    other = bare(rocksalt("Mn", cell="tetragonal4"))
    path.write_text(json.dumps([{"structure": magnetic.as_dict()}, other.as_dict()]))
    assert [s.composition.reduced_formula for s in read_parents(path)] == ["NiO", "MnO"]
    assert one(path, index=1).composition.reduced_formula == "MnO"
    assert one(path, index=1).properties["file"].endswith("mp.json (1)")
    with pytest.raises(StructureError, match="holds 2 structures; index 2 is too large"):
        read_parents(path, index=2)


def test_collinear_moments_of_an_mcif_are_signed_numbers(tmp_path):
    path = tmp_path / "mno.mcif"
    path.write_text(MCIF.format("2.0 2.0 0", "-2.0 -2.0 0"))
    moments = one(path).site_properties["magmom"]
    assert moments == pytest.approx([8**0.5, 8**0.5, -(8**0.5), -(8**0.5), 0, 0, 0, 0])


def test_vector_moments_of_an_mcif_stay_vectors(tmp_path):
    path = tmp_path / "mno.mcif"
    path.write_text(MCIF.format("2.0 0 0", "0 -2.0 0"))
    moments = np.array(one(path).site_properties["magmom"])
    assert moments == pytest.approx(np.array([[2, 0, 0]] * 2 + [[0, -2, 0]] * 2 + [[0, 0, 0]] * 4))


def test_moments_written_by_pymatgen_come_back(nio, tmp_path):
    path = tmp_path / "nio.mcif"
    CifWriter(bare(nio, [1.7, -1.7, 0.0, 0.0]), write_magmoms=True).write_file(str(path))
    assert np.abs(one(path).site_properties["magmom"]) == pytest.approx([1.7, 1.7, 0, 0])
    assert sum(one(path).site_properties["magmom"]) == pytest.approx(0)


def test_spins_of_species_are_moments_and_oxidation_states_go(nio, tmp_path):
    species = [Species("Ni", 2, spin=2), Species("Ni", 2, spin=-2), Species("O", -2), Species("O", -2)]
    path = tmp_path / "nio.json"
    path.write_text(Structure(nio.lattice, species, nio.frac_coords).to_json())
    found = one(path)
    assert found.site_properties["magmom"] == [2, -2, 0, 0]
    assert [site.species_string for site in found] == ["Ni", "Ni", "O", "O"]


def test_supercells_repeat_atoms_and_moments(nio, tmp_path):
    path = tmp_path / "nio.json"
    path.write_text(bare(nio, [1.7, -1.7, 0.0, 0.0]).to_json())
    found = one(path, supercell=[1, 2, 1])
    assert len(found) == 8
    assert sorted(found.site_properties["magmom"]) == [-1.7, -1.7, 0, 0, 0, 0, 1.7, 1.7]
    assert found.properties["supercell"] == [[1, 0, 0], [0, 2, 0], [0, 0, 1]]
    assert supercell_matrix([[1, 1, 0], [0, 1, 0], [0, 0, 2]]).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 2]]
    for wrong in ([1, 1], [0, 1, 1], [[1, 0, 0], [1, 0, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]):
        with pytest.raises(StructureError, match="cannot be used"):
            supercell_matrix(wrong)


def test_other_crystals_and_anions_are_welcome(tmp_path):
    path = tmp_path / "MnF2.cif"
    Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.87, 3.31), ["Mn", "F"], [[0, 0, 0], [0.305, 0.305, 0]]
    ).to(filename=str(path))
    found = one(path)
    assert "grid_index" not in found.site_properties
    options = {
        "parents": [{"file": str(path), "supercell": [1, 1, 2]}],
        "orderings": [{"kind": "enumerate"}, {"kind": "spiral", "q": [0, 0, 0.5]}],
        "magmoms": {"Mn": 4.5},
        "deformations": [{"kind": "none"}],
    }
    configs = list(generate(StructureOptions.model_validate(options)))
    assert configs[0].ordering == "FM"
    assert all(not config.magmoms_in[4:].any() for config in configs)
    assert configs[-1].magmoms_in.shape == (12, 3)
    # Along c the spiral turns by half a turn from one cell of the file to the next: up, down as an antiferromagnet.
    cosine = configs[-1].magmoms_in[:4] @ configs[-1].magmoms_in[:4].T / 4.5**2
    assert np.abs(cosine).max() == pytest.approx(1)
    assert cosine.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.cif", "data_x\n_cell_length_a 4\n", "cannot be read as a structure"),
        ("a.json", "{", "cannot be read as a structure .*give a CIF, mcif"),
        ("a.json", '{"material_id": "mp-1"}', "ask the Materials Project for the field 'structure'"),
        ("a.json", "[]", "holds no structure"),
        ("POSCAR", "nothing\n", "cannot be read as a structure"),
        ("a.xyz", "1\n\nNi 0 0 0\n", "not periodic"),
        ("a.xyz", "", "holds no structure|cannot be read"),
    ],
)
def test_unreadable_files_say_so_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(StructureError, match=message) as error:
        read_parents(path)
    assert str(path) in str(error.value)


def test_a_poscar_without_elements_is_refused(nio, tmp_path):
    path = tmp_path / "POSCAR"
    nio.to(filename=str(path), fmt="poscar")
    lines = path.read_text().splitlines()
    assert lines[5].split() == ["Ni", "O"]
    unnamed = ["old format", *lines[1:5], *lines[6:8], *(" ".join(line.split()[:3]) for line in lines[8:])]
    path.write_text("\n".join(unnamed) + "\n")
    with pytest.raises(StructureError, match="does not name its elements; write their symbols"):
        read_parents(path)


def test_partial_occupancy_and_close_atoms_are_refused(tmp_path):
    disordered = Structure(Lattice.cubic(4.2), [{"Ni": 0.5, "Mn": 0.5}, {"O": 1}], [[0, 0, 0], [0.5, 0.5, 0.5]])
    disordered.to(filename=str(tmp_path / "half.cif"))
    with pytest.raises(StructureError, match="partially occupied"):
        read_parents(tmp_path / "half.cif")
    vacant = Structure(Lattice.cubic(4.2), [{"Ni": 0.9}, {"O": 1}], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (tmp_path / "vacant.json").write_text(vacant.to_json())
    with pytest.raises(StructureError, match="partially occupied"):
        read_parents(tmp_path / "vacant.json")
    (tmp_path / "close.json").write_text(Structure(Lattice.cubic(4.2), ["Ni", "O"], [[0, 0, 0], [0, 0, 0.2]]).to_json())
    with pytest.raises(StructureError, match=r"closer than 1\.2 Angstrom"):
        read_parents(tmp_path / "close.json")
    with pytest.raises(StructureError, match="no such file"):
        read_parents(tmp_path / "nowhere.cif")


@pytest.mark.parametrize("name", ["vector.mcif", "poscar"])
def test_what_a_file_holds_goes_through_json_to_the_bit(tmp_path, name):
    rng = np.random.default_rng(3)
    moments = rng.normal(size=(4, 3)) if name == "vector.mcif" else None
    cell = Lattice(rng.normal(scale=0.1, size=(3, 3)) + 4 * np.eye(3))
    sites = [[0, 0, 0], [0.5, 0.5, 0.01], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    content = FileStructure(
        label=name,
        species=["Mn", "Ni", "O", "O"],
        lattice=cell.matrix.tolist(),
        fractional=sites,
        magmoms=None if moments is None else moments.tolist(),
    )
    again = FileStructure.model_validate(json.loads(json.dumps(content.model_dump(mode="json"))))
    assert again == content
    parent = file_parent(again, [1, 2, 1])
    np.testing.assert_array_equal(parent.lattice.matrix, np.diag([1, 2, 1]) @ cell.matrix)
    assert ("magmom" in parent.site_properties) == (moments is not None)


def test_a_left_handed_cell_becomes_a_right_handed_one_of_the_same_crystal(tmp_path):
    nio = rocksalt("Ni", cell="rhombohedral4")
    swapped = Structure(nio.lattice.matrix[[1, 0, 2]], nio.species, nio.frac_coords[:, [1, 0, 2]])
    assert np.linalg.det(swapped.lattice.matrix) < 0
    path = tmp_path / "left.json"
    path.write_text(json.dumps(swapped.as_dict()))
    (found,) = read_parents(path)
    (twice,) = read_parents(path, supercell=[1, 1, 2])
    apart = (found.cart_coords - swapped.cart_coords) @ np.linalg.inv(swapped.lattice.matrix)
    assert apart == pytest.approx(np.round(apart))
    assert fitting_orderings(found) == ["FM", "AFM-II"]
    for structure in (found, twice):
        assert np.linalg.det(structure.lattice.matrix) > 0
        assert np.linalg.det(structure.properties["grid_vectors"]) > 0
    assert twice.volume == pytest.approx(2 * swapped.volume)


@pytest.mark.parametrize("name", ["@class", "@callable"])
def test_a_hostile_structure_imports_nothing(tmp_path, monkeypatch, name):
    sprung = tmp_path / "sprung"
    (tmp_path / "trap_in_structure.py").write_text(f"open({str(sprung)!r}, 'w')\nclass job: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    document = Structure(Lattice.cubic(4.2), ["Ni"], [[0, 0, 0]], site_properties={"magmom": [1.0]}).as_dict()
    document["sites"][0]["properties"]["magmom"] = {"@module": "trap_in_structure", name: "job"}
    path = tmp_path / "hostile.json"
    path.write_text(json.dumps([{"structure": document}]))
    with pytest.raises(StructureError, match=rf"{path} names trap_in_structure\.job, .*; nothing of it was run"):
        read_parents(path)
    assert not sprung.exists()
