"""Configurations as VASP's files: one block per species, moments and U in their order, the mesh of the parent."""

import json
from pathlib import Path

import numpy as np
import pytest
from atomate2.vasp.files import write_vasp_input_set
from hypothesis import given, settings
from hypothesis import strategies as st
from monty.json import MontyDecoder, MontyEncoder
from pymatgen.io.vasp import Incar, Kpoints, Poscar

from datastore.schema import SpinConfig
from tests.support import vasp_mutations
from workflows.engines.interface import LabelError, TryLaterError
from workflows.engines.vasp.inputs import (
    ORDER_FILE,
    SpinRelaxSetGenerator,
    SpinStaticSetGenerator,
    blocks,
    ordered,
    refuse,
)
from workflows.engines.vasp.levels import kpoints_rule
from workflows.engines.vasp.settings import VaspSettings

SETTINGS = {"kpts": {"all8": [4, 2, 2], "any": [1, 1, 1]}}


def written(folder: Path, config: SpinConfig, **options) -> Incar:
    chosen = VaspSettings.model_validate({**SETTINGS, **options})
    SpinStaticSetGenerator(settings=chosen, moment_role=config.moment_role).input_for(config).write_input(folder)
    return Incar.from_file(folder / "INCAR")


def changed(config: SpinConfig, **fields) -> SpinConfig:
    return SpinConfig(**{**config.model_dump(), **fields})


def test_trap_1_sites_are_sorted_and_the_order_is_kept(vasp_on_path, tmp_path):
    """atomate2 0.1.5 never sorts: Mn Ni Mn O gave four blocks."""
    config = vasp_mutations.configuration()
    incar = written(tmp_path, config)
    poscar = Poscar.from_file(tmp_path / "POSCAR")
    assert (poscar.site_symbols, poscar.natoms) == (["Mn", "Ni", "O"], [2, 2, 4])
    order = json.loads((tmp_path / ORDER_FILE).read_text())["order"]
    assert [config.species[site] for site in order] == [site.specie.symbol for site in poscar.structure]
    assert poscar.structure.cart_coords == pytest.approx(config.positions[order], abs=1e-9)
    assert incar["MAGMOM"] == [config.magmoms_in[site] for site in order]


def test_trap_2_u_goes_to_the_species_it_is_of(vasp_on_path, tmp_path):
    """With repeated blocks U was indexed by the first-seen element, and O got 3.9 eV."""
    incar = written(tmp_path, vasp_mutations.configuration())
    assert incar["LDAUU"] == [3.9, 6.2, 0.0]
    assert incar["LDAUL"] == [2, 2, -1]
    assert incar["LDAUJ"] == [0, 0, 0]
    assert (incar["LDAU"], incar["LDAUTYPE"], incar["LMAXMIX"]) == (True, 2, 4)


def test_trap_4_no_moment_is_made_up(vasp_on_path, tmp_path):
    """Sites without a moment get 0.6 from pymatgen; zero is zero here, and signs are those asked for."""
    incar = written(tmp_path, vasp_mutations.configuration())
    assert incar["MAGMOM"] == [3.0, -3.1, -2.5, 2.6, 0.0, 0.0, 0.0, 0.0]


def test_u_on_f_electrons(vasp_on_path, tmp_path, monkeypatch):
    chosen = VaspSettings(hubbard_u={"Ce": 4.5, "Ni": 6.2}, potcars={"Ce": "Ce"}, potcar_hashes={"Ce": "0" * 16})
    assert chosen.hubbard("Ce").l == 3
    assert chosen.hubbard("Ni").l == 2
    assert chosen.hubbard("O").u == 0


def test_vectors_are_three_numbers_per_site_on_fixed_axes(vasp_on_path, tmp_path):
    config = vasp_mutations.configuration(vectors=True)
    incar = written(tmp_path, changed(config, moment_role="guess"), spins="spin-orbit")
    assert np.shape(incar["MAGMOM"]) == (8, 3)
    assert (incar["LNONCOLLINEAR"], incar["LSORBIT"], incar["ISYM"], incar["SAXIS"]) == (True, True, -1, [0, 0, 1])
    assert "I_CONSTRAINED_M" not in incar
    assert "M_CONSTR" not in incar


@pytest.mark.parametrize(("mode", "number"), [("direction", 1), ("vector", 2)])
def test_held_moments(vasp_on_path, tmp_path, mode, number):
    """Spheres from the POTCARs, unless stated."""
    config = vasp_mutations.configuration(vectors=True)
    options = {"mode": mode, "penalty": 7, "radii": {"O": 0.7}}
    incar = written(tmp_path, config, spins="noncollinear", constraint=options)
    assert (incar["I_CONSTRAINED_M"], incar["LAMBDA"]) == (number, 7)
    assert incar["M_CONSTR"] == pytest.approx(np.ravel(incar["MAGMOM"]).tolist())
    assert incar["RWIGS"] == [1.3, 1.3, 0.7]


def test_collinear_moments_in_a_non_collinear_run_lie_along_z(vasp_on_path, tmp_path):
    incar = written(tmp_path, vasp_mutations.configuration(), spins="noncollinear")
    assert incar["MAGMOM"][1] == [0, 0, -3.1]


def test_the_mesh_file_says_its_rule(vasp_on_path, tmp_path):
    written(tmp_path, vasp_mutations.configuration())
    kpoints = Kpoints.from_file(tmp_path / "KPOINTS")
    assert (kpoints.style.name, list(kpoints.kpts[0])) == ("Gamma", [4, 2, 2])
    assert kpoints_rule(kpoints.comment) == VaspSettings.model_validate(SETTINGS).kpts_rule()


def test_a_left_handed_cell_keeps_its_positions(vasp_on_path, tmp_path):
    """pymatgen would write the inverted crystal, whose forces have other signs."""
    config = vasp_mutations.configuration()
    left = changed(config, lattice=config.lattice[[1, 0, 2]])
    assert np.linalg.det(left.lattice) < 0
    written(tmp_path, left)
    poscar = Poscar.from_file(tmp_path / "POSCAR").structure
    assert np.linalg.det(poscar.lattice.matrix) > 0
    away = (poscar.cart_coords - left.positions[ordered(left).order]) @ np.linalg.inv(left.lattice)
    assert np.abs(away - np.round(away)).max() < 1e-9


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["O", "Ni", "Co", "Mn", "Fe", "Mg", "S"]), min_size=1, max_size=30))
def test_one_block_per_species_in_the_callers_order(species):
    n = len(species)
    positions = np.outer(np.arange(n) + 0.5, (0.1, 0, 0))
    config = SpinConfig(
        species=species, lattice=np.diag([n, 3, 3]), positions=positions, magmoms_in=np.arange(n), ordering="x"
    )
    sites = ordered(config)
    assert sorted(sites.order) == list(range(n))
    symbols = blocks(sites.structure)
    assert len(symbols) == len(set(symbols))
    for symbol in symbols:
        of_symbol = [site for site in sites.order if species[site] == symbol]
        assert of_symbol == sorted(of_symbol)
    assert list(sites.structure.site_properties["magmom"]) == sites.order


def test_a_relaxation(vasp_on_path, tmp_path):
    chosen = VaspSettings.model_validate(SETTINGS)
    for moves, isif in {"all": 3, "cell": 6, "volume": 7}.items():
        generator = SpinRelaxSetGenerator(settings=chosen, moves=moves, fmax=0.02, steps=30)
        generator.input_for(vasp_mutations.configuration()).write_input(tmp_path)
        incar = Incar.from_file(tmp_path / "INCAR")
        assert (incar["ISIF"], incar["EDIFFG"], incar["NSW"], incar["IBRION"]) == (isif, -0.02, 30, 2)


def test_tags_of_the_machine_are_checked_like_the_rest(vasp_on_path, tmp_path, monkeypatch):
    """VASP_INCAR_UPDATES of ~/.atomate2.yaml may say how, not what is computed."""
    import atomate2

    monkeypatch.chdir(tmp_path)
    generator = SpinStaticSetGenerator(settings=VaspSettings.model_validate(SETTINGS))
    structure = ordered(vasp_mutations.configuration()).structure
    monkeypatch.setattr(atomate2.SETTINGS, "VASP_INCAR_UPDATES", {"NCORE": 4})
    write_vasp_input_set(structure, generator)
    assert Incar.from_file("INCAR")["NCORE"] == 4
    monkeypatch.setattr(atomate2.SETTINGS, "VASP_INCAR_UPDATES", {"ENCUT": 400})
    with pytest.raises(LabelError, match=r"ENCUT: expected 520\.0, found 400\.0"):
        write_vasp_input_set(structure, generator)


def test_generators_travel_in_documents(vasp_on_path):
    chosen = VaspSettings(spins="noncollinear", constraint={"penalty": 3}, incar={"NCORE": 2})
    generator = SpinStaticSetGenerator(settings=chosen, moment_role="constraint")
    again = MontyDecoder().decode(json.dumps(generator, cls=MontyEncoder))
    assert (again.settings, again.moment_role) == (chosen, "constraint")


def test_what_the_settings_cannot_label_is_refused(vasp_on_path):
    config = vasp_mutations.configuration()
    for changes, options, message in [
        ({"species": ["Fe", *config.species[1:]]}, {}, "no POTCAR named for Fe; add it to potcars"),
        ({"magmoms_in": np.ones((8, 3))}, {}, "collinear moments only; state spins: noncollinear"),
        ({"moment_role": "constraint"}, {}, "state spins: noncollinear and constraint"),
    ]:
        with pytest.raises(LabelError, match=message) as caught:
            refuse(changed(config, **changes), VaspSettings.model_validate({**SETTINGS, **options}))
        assert caught.value.kind == "refused"


def test_potcars_of_another_edition_say_nothing_of_the_configuration(vasp_on_path):
    others = VaspSettings.model_validate({**SETTINGS, "potcar_hashes": {"Ni": "0" * 16}})
    with pytest.raises(TryLaterError, match="install the file that the other labels were made with"):
        refuse(vasp_mutations.configuration(), others)


def test_an_element_whose_potcar_lacks_is_no_matter_to_others(vasp_on_path):
    """Co is named by default; NiO can be labelled without its POTCAR where the hash is stated."""
    stated = VaspSettings().potcar_hashes
    (vasp_on_path.potcars / "POT_GGA_PAW_PBE" / "Co" / "POTCAR").unlink()
    chosen = VaspSettings.model_validate({**SETTINGS, "potcar_hashes": stated})
    refuse(vasp_mutations.configuration(), chosen)
    assert chosen.level_of_theory()
