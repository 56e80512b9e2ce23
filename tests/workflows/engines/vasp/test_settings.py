"""Settings: the paper's, any tag of the user's, and one level of theory for what means the same."""

import json

import numpy as np
import pymatgen.core
import pytest

from datastore.schema import SpinConfig, content_hash
from workflows.engines import EngineError, get_engine
from workflows.engines.interface import LabelError
from workflows.engines.vasp.settings import VaspSettings
from workflows.structures import apply_ordering, rocksalt

pytestmark = pytest.mark.usefixtures("vasp_on_path")


def level(**options):
    return get_engine({"type": "vasp", **options}).level_id()


def test_trap_4_the_defaults_are_the_papers_and_not_atomate2s():
    """atomate2: PBEsol, 680 eV, ISMEAR -5. arXiv:2409.03253, appendix B: PBE, 520 eV, U of Co, Ni and Mn."""
    tags = VaspSettings().tags()
    expected = {
        **{"GGA": "Pe", "ENCUT": 520.0, "ISMEAR": 0, "SIGMA": 0.05, "LASPH": True, "LMAXMIX": 4, "LORBIT": 11},
        **{"ISYM": 0, "ISPIN": 2, "LREAL": False, "PREC": "Accurate", "LCHARG": False, "LWAVE": False, "NSW": 0},
    }
    assert {tag: tags[tag] for tag in expected} == expected
    assert tags["EDIFF"] <= 1e-5
    assert VaspSettings().hubbard_u == {"Co": 3.32, "Ni": 6.2, "Mn": 3.9}
    assert VaspSettings().kppvol == 100
    assert "METAGGA" not in tags


def test_any_tag_can_be_set_and_a_default_taken_away():
    tags = VaspSettings(incar={"ismear": -5, "NCORE": 4, "LASPH": None}, incar_unlisted={"BEXT": 0.1}).tags()
    assert (tags["ISMEAR"], tags["NCORE"], tags["BEXT"]) == (-5, 4, 0.1)
    assert "LASPH" not in tags


def test_elements_with_f_electrons_mix_more():
    names = {"La": "La", "Ni": "Ni_pv", "O": "O"}
    assert VaspSettings(potcars=names, potcar_hashes=dict.fromkeys(names, "0" * 16)).tags()["LMAXMIX"] == 6


@pytest.mark.parametrize(
    "same",
    [
        {"encut": 520, "incar": {"SIGMA": 0.05}},
        {"incar": {"ENCUT": 520.0}},
        {"incar": {"prec": "accurate", "ismear": "0", "LASPH": ".TRUE."}},
        {"hubbard_u": {"Mn": 3.9, "Co": 3.32, "Ni": 6.2, "O": 0.0, "Fe": 5.3}},  # no POTCAR of Fe
        {"potcars": {"O": "O", "Ni": "Ni_pv", "Mn": "Mn_pv", "Co": "Co"}, "potcar_functional": "PBE"},
        {"incar": {"ALGO": "All", "NELM": 60, "NCORE": 8, "KPAR": 2, "LWAVE": True, "AMIX": 0.1, "NBANDS": 80}},
        {"incar": {"EDIFF": 1e-7}},
        {"incar": {"LORBIT": 10, "ISPIN": 2}},
        {"incar": {"SYMPREC": 1e-4}},  # without symmetry
        {"processes": 16, "keep": "all", "run": {"wall_time": 3600, "vasp_cmd": "srun vasp_std"}},
    ],
)
def test_settings_that_mean_the_same_are_one_level(same):
    assert level(**same) == level()


@pytest.mark.parametrize(
    "other",
    [
        {"encut": 521},
        {"hubbard_u": {"Co": 3.32, "Ni": 6.2, "Mn": 4.0}},
        {"hubbard_u": {"Co": 3.32, "Ni": 6.2}},
        {"potcars": {"Ni": "Ni", "O": "O", "Mn": "Mn_pv", "Co": "Co"}},
        {"potcar_functional": "PBE_54"},
        {"kppvol": 101},
        {"kpts": {"rhombohedral4": [6, 6, 3]}},
        {"spins": "noncollinear"},
        {"spins": "spin-orbit"},
        {"incar": {"ISMEAR": -5}},
        {"incar": {"SIGMA": 0.1}},
        {"incar": {"LASPH": False}},
        {"incar": {"ISYM": 2}},
        {"incar": {"LREAL": "Auto"}},
        {"incar": {"GGA": "PS"}},
        {"incar": {"METAGGA": "R2SCAN"}},
        {"incar": {"EDIFF": 1e-3}},
        {"incar_unlisted": {"BEXT": 0.1}},
    ],
)
def test_what_decides_numbers_is_another_level(other):
    assert level(**other) != level()


def test_how_moments_are_held_is_no_level():
    """A label is refused where it takes more than 1 meV/atom, so all that pass are of one functional."""
    options = [{}, {"penalty": 20}, {"mode": "direction"}, {"radii": {"Ni": 1.2}}]
    assert {level(spins="noncollinear", constraint=each) for each in options} == {level(spins="noncollinear")}


def test_unlisted_tags_are_what_is_read_back():
    written = [{"LNEW": True}, {"lnew ": "T"}, {"LNEW": ".TRUE."}]
    assert {level(incar_unlisted=each) for each in written} == {level(incar_unlisted={"LNEW": "true"})}
    assert level(incar_unlisted={"LNEW": "F"}) != level(incar_unlisted={"LNEW": "T"})
    assert VaspSettings(incar_unlisted={" bext": "1e-3"}).incar_unlisted == {"BEXT": 0.001}


def test_the_level_is_readable_and_says_the_functional():
    said = get_engine("vasp").level_of_theory()
    assert json.loads(json.dumps(said)) == said
    assert said["functional"] == "PBE+U"
    assert said["hubbard_u"] == {"Co": 3.32, "Mn": 3.9, "Ni": 6.2}
    assert said["potcars"]["Ni"]["symbol"] == "Ni_pv"
    assert get_engine({"type": "vasp", "incar": {"METAGGA": "R2SCAN"}}).level_of_theory()["functional"] == "R2SCAN+U"


def test_trap_13_the_hashes_of_the_potcars_travel_with_the_engine(monkeypatch):
    """An engine that was made where the POTCARs are is the same where they are not; one made there has no level."""
    here = VaspSettings()
    assert set(here.potcar_hashes) == {"Mn", "Co", "Ni", "O"}
    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR")
    assert VaspSettings.model_validate(here.model_dump()).level_of_theory() == here.level_of_theory()
    with pytest.raises(
        EngineError, match=r"hash of every POTCAR, and that of Co, Mn, Ni, O is not known.*PMG_VASP_PSP"
    ):
        VaspSettings().level_of_theory()


def test_one_hash_may_be_stated():
    here = VaspSettings()
    one = VaspSettings(potcar_hashes={"Ni": here.potcar_hashes["Ni"]})
    assert one.level_of_theory() == here.level_of_theory()
    assert VaspSettings(potcar_hashes={"Ni": "0" * 16}).potcar_hashes == {**here.potcar_hashes, "Ni": "0" * 16}


def test_an_engine_from_before_its_potcars_were_installed_says_so(monkeypatch):
    with monkeypatch.context() as before:
        before.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR")
        early = VaspSettings()
    with pytest.raises(EngineError, match=r"state potcar_hashes, or install them$"):
        early.level_of_theory()


def test_a_stated_hash_may_be_longer():
    stated = VaspSettings().potcar_hashes
    assert VaspSettings(potcar_hashes={e: h.upper() + "0" * 48 for e, h in stated.items()}).potcar_hashes == stated


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hubbard_u": {"ni": 6.2}}, "'ni' is not a chemical element; did you mean 'Ni'"),
        ({"hubbard_u": {"Ni": -1}}, "must be a finite number, 0 or more"),
        ({"potcars": {"Ni": "Co"}}, "'Co' is no POTCAR of Ni"),
        ({"potcars": {}}, "name the POTCAR of every element"),
        ({"potcar_functional": "LDA"}, "'LDA' is no edition of PBE POTCARs; state potcar_functional or PMG_DEFAULT"),
        ({"potcar_hashes": {"Ni": "abc"}}, "is no SHA-256"),
        ({"potcar_hashes": {"Fe": "0" * 64}}, "potcar_hashes names Fe, potcars does not"),
        ({"kpts": {"all8": [0, 1, 1]}}, "every division must be at least 1"),
        ({"encut": 500, "incar": {"ENCUT": 400}}, "encut is 500 and incar's ENCUT 400; state one"),
        ({"incar": {"encut": None}}, "cannot be left to the POTCARs"),
        ({"constraint": {}}, "VASP holds moments in non-collinear runs"),
        ({"encut": 500, "incar": {"ENCUT": [600]}}, "ENCUT is [600]; it takes a number"),
        ({"incar": {"ENCUT": "high"}}, "ENCUT is 'high'; it takes a number"),
        ({"encut": [500], "incar": {"ENCUT": 600}}, "ENCUT is [500]; it takes a number"),
        ({"constraint": {"radii": {"Xx": 1}}, "spins": "noncollinear"}, "radii: 'Xx' is not a chemical element"),
        ({"constraint": {"radii": {"Ni": -1}}, "spins": "noncollinear"}, "the radius of Ni is -1.0; it must be"),
        ({"constraint": {"largest": 0.01}, "spins": "noncollinear"}, "less than or equal to 0.001"),
        ({"potcar_hashes": ["Ni"]}, "potcar_hashes: Input should be a valid dictionary"),
        ({"incar_unlisted": {"SIGMA": 0.1}}, "SIGMA belongs under incar"),
        ({"incar_unlisted": {" sigma": 0.1}}, "SIGMA belongs under incar"),
        ({"incar_unlisted": {"BE XT": 0.1}}, "'BE XT' is no name of an INCAR tag"),
        ({"incar_unlisted": {"BEXT": 1, "bext": 2}}, "BEXT is stated twice"),
        ({"incar_unlisted": {"BEXT": "1\nMAGMOM = 5"}}, "which would not be one value"),
        ({"incar": {"PREC": "bogus"}}, "PREC is Bogus; VASP has Low, Medium"),
        ({"run": {"vasp_cmd": "srun 'x"}}, 'run.vasp_cmd: "srun \'x" is no command (No closing quotation)'),
        ({"incar": {"MAGMOM": [1, 2]}}, "MAGMOM cannot be set here"),
        ({"encutt": 500}, "did you mean 'encut'"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(options, message):
    with pytest.raises(EngineError) as caught:
        get_engine({"type": "vasp", **options})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def cell(strain: float = 0.0, **fields) -> SpinConfig:
    """Antiferromagnetic MnO, strained along x."""
    plain = SpinConfig.from_structure(
        apply_ordering(rocksalt("Mn", lattice_constant=4.44, cell="primitive"), "FM"), "FM"
    )
    deformation = np.diag([1 + strain, 1, 1])
    changed = {"lattice": plain.lattice @ deformation, "positions": plain.positions @ deformation}
    return SpinConfig(**{**plain.model_dump(), **changed, "parent_lattice": plain.lattice, **fields})


def test_trap_10_the_mesh_is_the_parents_whatever_the_strain():
    settings = VaspSettings(kppvol=100)
    strains = np.linspace(-0.1, 0.1, 9)
    assert len({settings.mesh(cell(strain)) for strain in strains}) == 1
    free = {settings.mesh(cell(strain, parent_lattice=None, deformation="none")) for strain in strains}
    assert len(free) > 1, "without the parent the mesh would jump"


def test_trap_10_cells_of_two_orderings_may_differ_in_their_mesh_unless_it_is_stated():
    """The numbers of docs/parents.md."""

    def mesh(a: float, **options):
        nio = apply_ordering(rocksalt("Ni", lattice_constant=a, cell="rhombohedral4"), "FM")
        return VaspSettings(**options).mesh(SpinConfig.from_structure(nio, "FM", cell="rhombohedral4"))

    assert (mesh(4.24), mesh(4.25)) == ((10, 10, 6), (10, 10, 5))
    stated = {"kpts": {"rhombohedral4": (10, 10, 6)}}
    assert mesh(4.24, **stated) == mesh(4.25, **stated)


def test_a_deformed_cell_without_a_parent_is_refused_unless_the_table_has_it():
    deformed = cell(0.05, parent_lattice=None, deformation="tensile")
    with pytest.raises(LabelError, match="has no parent_lattice"):
        VaspSettings().mesh(deformed)
    assert VaspSettings(kpts={"primitive": (5, 5, 5)}).mesh(deformed) == (5, 5, 5)


def test_the_mesh_is_pymatgens():
    from pymatgen.io.vasp import Kpoints

    config = cell()
    theirs = Kpoints.automatic_density_by_vol(config.to_structure(), 60, force_gamma=True)
    assert VaspSettings(kppvol=60).mesh(config) == tuple(theirs.kpts[0])


def test_pymatgens_default_functional_is_taken(monkeypatch):
    monkeypatch.setitem(pymatgen.core.SETTINGS, "PMG_DEFAULT_FUNCTIONAL", "PBE_54")
    assert VaspSettings().potcar_functional == "PBE_54"
    assert VaspSettings(potcar_functional="PBE").potcar_functional == "PBE"


def test_the_level_of_the_default_settings_keeps_its_id():
    """Labels that are in stores are found by it; another id here means that all of them are calculated again."""
    hashes = {"Mn": "1" * 16, "Co": "2" * 16, "Ni": "3" * 16, "O": "4" * 16}
    settings = VaspSettings(potcar_functional="PBE_54", potcar_hashes=hashes)
    assert content_hash(settings.level_of_theory(), 16) == "b8c23c83878b4917"
