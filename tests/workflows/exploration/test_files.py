"""Structures of the user: with moments and without, of any lattice; and what a campaign refuses when it is loaded."""

import itertools
import json

import ase.io
import numpy as np
import pytest
import yaml
from ase.calculators.singlepoint import SinglePointCalculator
from pymatgen.core import Structure

from datastore.splits import SplitOptions
from tests.workflows.exploration.conftest import STRUCTURES
from workflows.campaign import CampaignError, load_campaign
from workflows.exploration import explore, sources
from workflows.exploration.files import _is_copy
from workflows.spin_orderings import atoms_of
from workflows.structures import deform, rocksalt
from workflows.structures.files import MOST, read_structures


@pytest.fixture
def load(tmp_path):
    """A campaign with files of candidates, through its YAML file."""

    def loaded(*names, **structures):
        content = {
            "name": "search",
            "folder": str(tmp_path / "runs"),
            "engine": "spin-lattice",
            "structures": STRUCTURES | structures,
            "active_learning": {"explore": {"files": list(names)}},
        }
        (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(content))
        return load_campaign(tmp_path / "campaign.yaml")[0]

    return loaded


@pytest.fixture
def candidates(load, make_task):
    """What the files of a loaded campaign give."""

    def found(*names, **structures):
        task = make_task("files")
        task.options = load(*names, **structures)
        return explore(task)

    return found


def distorted(cell="all8", species="Ni", strain=0.03):
    return deform(rocksalt(species, cell=cell), "shear", strain, seed=5, displacement=0.05)[0]


def plain(structure: Structure) -> Structure:
    """As a file has it: without the properties that our own structures carry."""
    return Structure(structure.lattice, structure.species, structure.frac_coords)


def test_without_moments_in_every_ordering_that_fits(candidates, tmp_path):
    plain(distorted()).to(filename=str(tmp_path / "one.cif"))
    plain(distorted("primitive")).to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    found, dropped = candidates("one.cif", "POSCAR")
    assert dropped == {}
    assert [c.ordering for c in found if len(c.species) == 8] == ["FM", "AFM-I", "AFM-II"]
    assert [c.ordering for c in found if len(c.species) == 2] == ["FM"]
    assert len({c.pair_id for c in found}) == 2
    assert {abs(m) for c in found for m in c.magmoms_in} == {0.0, 2.5}
    assert {c.deformation for c in found} == {"file"}
    assert {c.deformation_parameters["file"].rsplit("/", 1)[-1] for c in found} == {"one.cif", "POSCAR"}


@pytest.mark.parametrize("column", ["magmom_in", "initial_magmoms", "magmoms"])
def test_moments_of_the_file_are_used(candidates, tmp_path, column):
    moments = np.array([1.7, -1.7, 1.7, -1.7, 0, 0, 0, 0])
    atoms = atoms_of(distorted(), np.zeros(8))
    del atoms.arrays["initial_magmoms"]
    if column == "magmoms":
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, magmoms=moments)
    else:
        atoms.set_array(column, moments)
    ase.io.write(tmp_path / "two.extxyz", [atoms, atoms_of(distorted(strain=0.01), np.zeros(8))])
    found, _ = candidates("two.extxyz")
    assert len(found) == 1 + 3  # the second has none but zeros: every ordering
    assert np.allclose(found[0].magmoms_in, moments, atol=1e-6)
    assert found[0].ordering in ("AFM-I", "AFM-II", "AFM[+-+-]")
    assert len(read_structures(tmp_path / "two.extxyz")) == 2


@pytest.mark.parametrize("cell", ["all8", "rotated"])
def test_a_held_out_ordering_is_known_in_any_order_of_sites(load, make_task, tmp_path, cell):
    """With two metal sites exchanged, FiM[+---] is FiM[-+--]: the same crystal under another name."""
    own = {
        "parents": [{"species": "Ni", "cell": "all8"}],
        "orderings": ["FM", "one"],
        "signs": {"one": [1, -1, -1, -1]},
    }
    atoms = atoms_of(distorted(strain=0.02), np.array([2.5, -2.5, -2.5, -2.5, 0, 0, 0, 0]))[[1, 0, 2, 3, 4, 5, 6, 7]]
    if cell == "rotated":
        atoms.rotate(50, (1, 2, 3), rotate_cell=True)
    free = atoms.copy()
    free.set_initial_magnetic_moments(abs(atoms.get_initial_magnetic_moments()))
    ase.io.write(tmp_path / "two.extxyz", [atoms, free])
    task, split = make_task("files"), SplitOptions(by="ordering", held_out=["one"])
    task.options = load("two.extxyz", **own).model_copy(update={"split": split})
    found, dropped = explore(task)
    assert [c.ordering for c in found] == ["FM"]
    assert dropped == {"held out": 1}


def test_other_arrangements_of_cations_are_no_copies(candidates, tmp_path):
    parents = {"parents": [{"species": {"Mn": 0.5, "Ni": 0.5}, "cell": "all8"}], "orderings": ["FM"]}
    own = rocksalt({"Mn": 0.5, "Ni": 0.5}, cell="conventional", seed=0)
    assert _is_copy(own, own)
    symbols = [site.specie.symbol for site in own]
    metals = [symbol for symbol in symbols if symbol != "O"]
    others = {}
    for arrangement in itertools.permutations(metals):
        species = [*arrangement, *symbols[len(metals) :]]
        grid = {"grid_index": own.site_properties["grid_index"]}
        other = Structure(own.lattice, species, own.frac_coords, site_properties=grid, properties=own.properties)
        others[arrangement] = _is_copy(other, own)
    # One of three layerings, and its complement, which is it from another origin.
    assert len(others) == 6
    assert sum(others.values()) == 2
    plain(deform(own, "shear", 0.02, seed=1)[0]).to(filename=str(tmp_path / "one.json"))
    assert candidates("one.json", **parents)[0][0].cell == "custom"


def test_a_copy_of_a_parent_has_its_k_mesh(candidates, tmp_path):
    plain(distorted()).to(filename=str(tmp_path / "copy.json"))
    plain(distorted("rhombohedral4")).to(filename=str(tmp_path / "other.json"))
    found, _ = candidates("copy.json", "other.json")
    parent = rocksalt("Ni", cell="all8")
    for config in found:
        if len(config.species) == 8:
            assert (config.cell, config.parent) == ("all8", parent.properties["parent"])
            assert np.array_equal(config.parent_lattice, parent.lattice.matrix)
        else:
            assert config.cell == "custom"
            assert np.array_equal(config.parent_lattice, config.lattice)


def test_a_later_edit_changes_nothing(load, make_task, tmp_path):
    plain(distorted()).to(filename=str(tmp_path / "one.cif"))
    options = load("one.cif")
    assert sources(options) == ["deformations", "files"]
    (tmp_path / "one.cif").unlink()
    task = make_task("files")
    task.options = type(options).model_validate(json.loads(options.model_dump_json()))
    assert len(explore(task)[0]) == 3


def test_labelled_ones_are_not_offered_again(load, make_task, tmp_path):
    plain(distorted()).to(filename=str(tmp_path / "one.cif"))
    task = make_task("files")
    task.options = load("one.cif")
    first = explore(task)[0][0]
    task.known = frozenset({first.config_id})
    found, dropped = explore(task)
    assert first not in found
    assert dropped == {"labelled": 1}


def test_what_cannot_be_used_is_told_when_the_campaign_is_loaded(load, tmp_path):
    plain(rocksalt("Fe", cell="primitive")).to(filename=str(tmp_path / "feo.cif"))
    near = Structure(np.eye(3) * 4, ["Ni", "O"], [[0, 0, 0], [0.1, 0, 0]])
    near.to(filename=str(tmp_path / "near.json"))
    (tmp_path / "broken.cif").write_text("no structure")
    many = [atoms_of(rocksalt("Ni", cell="primitive"), np.zeros(2))] * (MOST + 1)
    ase.io.write(tmp_path / "many.xyz", many, format="extxyz")
    problems = {
        "feo.cif": "contains Fe, which no parent does",
        "near.json": "closer than",
        "broken.cif": "cannot be read",
        "absent.cif": "no file absent.cif",
        "many.xyz": f"{MOST + 1} structures are more than {MOST}",
    }
    for name, problem in problems.items():
        with pytest.raises(CampaignError, match=rf"campaign\.yaml.*explore\.files.*{problem}"):
            load(name)
