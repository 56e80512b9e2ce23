"""atomate2 Makers on our input sets: jobs as atomate2 makes them, inputs as the engine checks them."""

import json
from pathlib import Path

import numpy as np
import pytest
from atomate2.vasp.powerups import (
    update_user_incar_settings,
    update_user_kpoints_settings,
    update_user_potcar_functional,
    update_user_potcar_settings,
    use_auto_ispin,
)
from jobflow import run_locally
from monty.json import MontyDecoder, MontyEncoder

from workflows.engines.interface import EngineError, LabelError
from workflows.engines.vasp.inputs import SpinRelaxSetGenerator, SpinStaticSetGenerator
from workflows.engines.vasp.makers import SpinRelaxMaker, SpinStaticMaker
from workflows.engines.vasp.settings import VaspSettings
from workflows.structures import apply_ordering, rocksalt


def mixed(ordering="AFM-II"):
    """O, Ni, Mn, O: no species stands in one block."""
    structure = apply_ordering(rocksalt({"Mn": 0.5, "Ni": 0.5}, lattice_constant=4.3, cell="rhombohedral4"), ordering)
    return structure.__class__.from_sites([structure[site] for site in (2, 1, 0, 3)], properties=structure.properties)


QUICK = {"custodian_kwargs": {"polling_time_step": 0.1}}


def run(job, folder):
    (output,) = run_locally(job, root_dir=folder, create_folders=True, ensure_success=True).values()
    return output[1].output


@pytest.fixture
def settings(vasp_on_path):
    return VaspSettings(kppvol=5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.filterwarnings("error::pymatgen.io.vasp.inputs.UnknownPotcarWarning")
def test_a_static_job_runs_and_says_the_order_of_its_sites(settings, tmp_path):
    structure = mixed()
    maker = SpinStaticMaker(input_set_generator=SpinStaticSetGenerator(settings=settings), run_vasp_kwargs=QUICK)
    document = run(maker.make(structure), tmp_path)
    order = document.additional_json["site_order"]["order"]
    assert [structure[site].specie.symbol for site in order] == ["Mn", "Ni", "O", "O"]
    assert [site.specie.symbol for site in document.structure] == ["Mn", "Ni", "O", "O"]
    moments = document.structure.site_properties["magmom"]
    asked = [structure[site].properties["magmom"] for site in order]
    assert np.sign(moments[:2]).tolist() == np.sign(asked[:2]).tolist()
    assert document.input.hubbards == {"Mn": 3.9, "Ni": 6.2, "O": 0.0}


@pytest.mark.filterwarnings("ignore")
def test_vectors_run_with_the_non_collinear_program(settings, tmp_path):
    vectors = VaspSettings(kppvol=5, spins="noncollinear")
    maker = SpinStaticMaker(input_set_generator=SpinStaticSetGenerator(settings=vectors), run_vasp_kwargs=QUICK)
    structure = mixed()
    structure.add_site_property("magmom", [[0, 0, 0], [0, 2.5, 0], [4.0, 0, 0], [0, 0, 0]])
    document = run(maker.make(structure), tmp_path)
    assert document.input.incar["LNONCOLLINEAR"] is True


@pytest.mark.filterwarnings("ignore")
def test_a_relaxation_moves_the_cell(settings, tmp_path):
    generator = SpinRelaxSetGenerator(settings=settings, moves="volume", fmax=0.05)
    start = mixed().scale_lattice(85.0)
    document = run(SpinRelaxMaker(input_set_generator=generator, run_vasp_kwargs=QUICK).make(start), tmp_path)
    assert document.calcs_reversed[0].input.incar["ISIF"] == 7
    assert document.output.structure.volume < 80.0


def test_makers_travel_in_jobs(settings):
    for maker in (SpinStaticMaker(), SpinRelaxMaker(input_set_generator=SpinRelaxSetGenerator(settings=settings))):
        again = MontyDecoder().decode(json.dumps(maker, cls=MontyEncoder))
        assert type(again) is type(maker)
        assert again.input_set_generator.settings == maker.input_set_generator.settings
        assert again.as_dict() == maker.as_dict()


def test_trap_3_moments_by_element_are_stopped_before_vasp_starts(settings, tmp_path, monkeypatch):
    """atomate2's own way of changing tags turns AFM into FM; here no program is started."""
    maker = SpinStaticMaker(input_set_generator=SpinStaticSetGenerator(settings=settings))
    maker = update_user_incar_settings(maker, {"MAGMOM": {"Mn": 5, "Ni": 5, "O": 0}})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabelError, match="user_incar_settings cannot hold MAGMOM: the moments are those of each"):
        maker.make.original(maker, mixed())
    assert not Path("INCAR").exists()


@pytest.mark.parametrize("tag", [{"ENCUT": 400}, {"LDAUU": {"Ni": 3}}, {"ISMEAR": -5}])
def test_tags_that_decide_numbers_belong_into_the_settings(settings, tag):
    generator = SpinStaticSetGenerator(settings=settings, user_incar_settings=tag)
    with pytest.raises(LabelError, match=f"cannot hold {next(iter(tag))}"):
        generator.get_input_set(mixed())


def test_tags_of_cost_may_be_changed_as_atomate2_does(settings, tmp_path):
    maker = SpinStaticMaker(input_set_generator=SpinStaticSetGenerator(settings=settings))
    maker = update_user_incar_settings(maker, {"NCORE": 4, "NELM": 300})
    maker.input_set_generator.get_input_set(mixed()).write_input(tmp_path)
    assert "NCORE = 4" in (tmp_path / "INCAR").read_text()


def test_a_structure_without_moments_and_an_earlier_run_are_refused(settings):
    generator = SpinStaticSetGenerator(settings=settings)
    bare = mixed()
    bare.remove_site_property("magmom")
    with pytest.raises(EngineError, match="magmom"):
        generator.get_input_set(bare)
    with pytest.raises(EngineError, match="not from an earlier run"):
        generator.get_input_set(mixed(), prev_dir=".")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("user_kpoints_settings", {"reciprocal_density": 500}),
        ("user_potcar_settings", {"Ni": "Ni"}),
        ("user_potcar_functional", "PBE_54"),
        ("vdw", "dftd3"),
        ("constrain_total_magmom", True),
        ("auto_kspacing", True),
    ],
)
def test_options_of_atomate2_that_have_no_effect_are_refused(settings, option, value):
    with pytest.raises(EngineError, match=f"^{option}: .*state what you want in settings"):
        SpinStaticSetGenerator(settings=settings, **{option: value})


@pytest.mark.parametrize(
    ("powerup", "option"),
    [
        (lambda maker: update_user_kpoints_settings(maker, {"reciprocal_density": 500}), "user_kpoints_settings"),
        (lambda maker: update_user_potcar_settings(maker, {"Ni": "Ni"}), "user_potcar_settings"),
        (lambda maker: update_user_potcar_functional(maker, "PBE_54"), "user_potcar_functional"),
        (use_auto_ispin, "auto_ispin"),
    ],
)
def test_so_are_powerups(settings, powerup, option):
    """At the latest before anything is written."""
    maker = SpinStaticMaker(input_set_generator=SpinStaticSetGenerator(settings=settings))
    with pytest.raises(EngineError, match=f"{option}: .*state what you want in settings"):
        powerup(maker).input_set_generator.get_input_set(mixed())


def test_a_disordered_structure_is_refused(settings):
    disordered = mixed()
    disordered.replace(1, {"Mn": 0.5, "Ni": 0.5})
    with pytest.raises(EngineError, match="partly occupied; make ordered structures"):
        SpinStaticSetGenerator(settings=settings).get_input_set(disordered)


@pytest.mark.filterwarnings("error::pymatgen.io.vasp.inputs.UnknownPotcarWarning")
def test_potcars_that_pymatgen_does_not_know_make_no_noise(settings, tmp_path):
    """Their hashes are compared."""
    again = MontyDecoder().decode(json.dumps(SpinStaticSetGenerator(settings=settings), cls=MontyEncoder))
    again.get_input_set(mixed()).write_input(tmp_path)
    assert "Ni_pv" in (tmp_path / "POTCAR").read_text()
