"""Campaign files: what they may say, where their files go, and which engine they get."""

import json
import re
from pathlib import Path

import pymatgen.core
import pytest
import yaml
from pymatgen.core import Structure

from datastore.schema import content_hash
from workflows import cli
from workflows.campaign import CampaignError, StartOptions, load_campaign
from workflows.engines import EngineError, get_engine
from workflows.flows import CampaignMaker
from workflows.structures import StructureOptions, candidates, generate, rocksalt

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "configs" / "campaigns" / "quickstart_nio.yaml"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def written(**changes) -> Path:
        path = tmp_path / "campaign.yaml"
        content = {**yaml.safe_load(QUICKSTART.read_text()), **changes}
        for key in ("model", "baseline"):
            content[key] = str(ROOT / content[key])
        path.write_text(yaml.safe_dump(content))
        return path

    return written


def test_places_are_absolute_and_named_after_the_campaign(write, tmp_path):
    options, engine = load_campaign(write())
    assert Path(options.folder) == tmp_path / "runs" / "quickstart_nio"
    assert options.store == f"local:{tmp_path}/runs/quickstart_nio/store"
    assert engine.type == "gpaw"


def test_files_are_found_above_the_campaign_file_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, _ = load_campaign(QUICKSTART)
    assert Path(options.model) == ROOT / "configs" / "models" / "tiny.yaml"


@pytest.mark.parametrize("engine", ["gpaw", "configs/engines/gpaw.yaml"])
def test_the_same_engine_is_the_same_campaign(engine, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load_campaign(QUICKSTART, engine)[0].name == "quickstart_nio"


def test_another_engine_gets_a_name_and_folder_of_its_own(monkeypatch):
    monkeypatch.chdir(ROOT)
    options, engine = load_campaign(QUICKSTART, "spin-lattice")
    assert engine.type == "spin-lattice"
    assert options.name == "quickstart_nio-spin-lattice"
    assert options.folder.endswith("runs/quickstart_nio-spin-lattice")


def test_another_level_of_the_same_engine_is_kept_apart_too(monkeypatch):
    monkeypatch.chdir(ROOT)
    options, engine = load_campaign(QUICKSTART, "configs/engines/gpaw_quick.yaml")
    assert options.name == f"quickstart_nio-gpaw-{engine.level_id()[:6]}"
    assert options.name in options.folder
    assert options.name in options.store


def test_a_shared_store_stays_where_it_is(write):
    path = write(store="mongodb://127.0.0.1/oxides", folder="here")
    options, _ = load_campaign(path, "spin-lattice")
    assert options.store == "mongodb://127.0.0.1/oxides"
    assert options.folder.endswith("/here-spin-lattice")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"store": "memory:"}, "memory: is seen by one process only"),
        ({"engine": {"type": "gpaw", "hubbard_u": {"Ni": 6.2, "Mn": 3.9}}}, "hubbard_u names Mn, which no parent"),
        ({"engine": "nowhere.yaml"}, "no file nowhere.yaml here"),
        ({"engine": {"type": "gpw"}}, "unknown engine type 'gpw'"),
        ({"name": "../up"}, "name"),
        ({"committee": 0}, "committee"),
        ({"chunk": 2001}, "chunk: Input should be less than or equal to 2000"),
        ({"orderngs": []}, "orderngs"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_mistakes_are_one_line_that_names_them(write, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_campaign(write(**changes))
    assert "\n" not in str(caught.value)


def test_missing_file_is_an_error_with_its_name(tmp_path):
    with pytest.raises(CampaignError, match=r"nothing\.yaml: cannot be read"):
        load_campaign(tmp_path / "nothing.yaml")


def structures(**parent):
    return {
        "parents": [parent],
        "orderings": ["FM"],
        "magmoms": {parent["species"]: 3.0} if "species" in parent else {},
        "deformations": [{"kind": "none"}, {"kind": "volume", "amplitude": [0.95, 1.05]}],
    }


@pytest.mark.parametrize("symbol", ["Sc", "Ti", "V", "Cr", "Fe", "Cu", "Zn"])
def test_every_3d_metal_needs_and_takes_a_u(write, symbol):
    oxide = structures(species=symbol, lattice_constant=4.3, cell="rhombohedral4")
    with pytest.raises(CampaignError, match=f"engine gpaw has no U for {symbol}; add it to engine.hubbard_u"):
        load_campaign(write(structures=oxide))
    _, engine = load_campaign(write(structures=oxide, engine={"type": "gpaw", "hubbard_u": {symbol: 4.0}}))
    config = next(generate(StructureOptions.model_validate(oxide)))
    assert engine.parameters(config)["setups"] == {symbol: ":d,4.0"}
    assert engine.level_of_theory()["hubbard_u"] == {symbol: 4.0}


def test_every_element_needs_a_potcar_where_the_engine_names_them(write, vasp_on_path):
    content = {"type": "vasp", "potcars": {"Mn": "Mn_pv", "O": "O"}, "hubbard_u": {"Ni": 6.2}}
    with pytest.raises(CampaignError, match=r"engine vasp has no POTCAR named for Ni; add it to engine\.potcars"):
        load_campaign(write(engine=content))
    _, engine = load_campaign(write(engine={**content, "potcars": {"Ni": "Ni_pv", "O": "O"}}))
    assert set(engine.level_of_theory()["potcars"]) == {"Ni", "O"}


def test_of_the_default_potcars_those_of_the_campaign_are_taken(write, vasp_on_path):
    """NiO needs no POTCAR of Mn and Co; a table that is stated is the level of theory as it stands."""
    (vasp_on_path.potcars / "POT_GGA_PAW_PBE" / "Mn_pv" / "POTCAR").unlink()
    for options, engine in (load_campaign(write(), "vasp"), load_campaign(write(engine={"type": "vasp"}))):
        assert engine.missing() == []
        assert engine.level_of_theory()["potcars"].keys() == {"Ni", "O"}
        assert get_engine(options.engine) == engine
    stated = {"Ni": "Ni_pv", "O": "O", "Co": "Co"}
    _, whole = load_campaign(write(engine={"type": "vasp", "potcars": stated}))
    assert whole.level_of_theory()["potcars"].keys() == set(stated)
    assert load_campaign(write(engine={"type": "vasp"}), "vasp")[0].name == "quickstart_nio"
    same = {"type": "vasp", "potcars": {"Ni": "Ni_pv", "O": "O"}}
    assert load_campaign(write(engine=same), "vasp")[0].name == "quickstart_nio"


def test_a_campaign_can_be_looked_at_without_potcars(write, monkeypatch):
    """The level of theory of VASP holds their hashes; a preview does without."""
    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    options, engine = load_campaign(write(), "vasp")
    assert options.name == "quickstart_nio-vasp"
    assert engine.potcars == {"Ni": "Ni_pv", "O": "O"}
    assert cli.run(["structures", str(write()), "--engine", "vasp"]) == 0
    assert cli.run(["structures", str(write(engine={"type": "vasp"})), "--engine", "vasp"]) == 0
    with pytest.raises(EngineError, match="hash of every POTCAR, and that of Ni, O is not known"):
        engine.level_id()


def test_structure_files_are_found_beside_the_campaign(write, tmp_path, monkeypatch):
    nio = rocksalt("Ni", cell="rhombohedral4")
    (tmp_path / "cells").mkdir()
    Structure(nio.lattice, nio.species, nio.frac_coords).to(filename=str(tmp_path / "cells/POSCAR"), fmt="poscar")
    path = write(structures=structures(file="cells/POSCAR"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    options, _ = load_campaign(path)
    assert options.structures.parents[0].file == str(tmp_path / "cells" / "POSCAR")
    assert next(generate(options.structures)).species == ["Ni", "Ni", "O", "O"]
    with pytest.raises(CampaignError, match=r"structures.parents.0.file: no file nowhere.cif here"):
        load_campaign(write(structures=structures(file="nowhere.cif")))


def poscar(path: Path, a: float) -> None:
    nio = rocksalt("Ni", lattice_constant=a, cell="rhombohedral4")
    Structure(nio.lattice, nio.species, nio.frac_coords).to(filename=str(path), fmt="poscar")


def test_a_campaign_keeps_the_structures_of_its_files_whatever_becomes_of_them(write, tmp_path):
    """Later rounds run days after the file was read, and on other machines."""
    poscar(tmp_path / "POSCAR", 4.17)
    deformations = [{"kind": "displacement", "count": 2, "amplitude": [0.02, 0.05]}]
    path = write(structures={**structures(file="POSCAR"), "deformations": deformations})
    options, engine = load_campaign(path)
    maker = CampaignMaker(options, engine)
    before = [c.config_id for c in candidates(options.structures, 1)]
    travelled = type(options).model_validate(json.loads(json.dumps(options.model_dump(mode="json"))))
    assert travelled == options
    poscar(tmp_path / "POSCAR", 4.30)
    edited, _ = load_campaign(path)
    assert CampaignMaker(edited, engine).fingerprint != maker.fingerprint
    assert [c.config_id for c in candidates(edited.structures, 1)] != before
    (tmp_path / "POSCAR").unlink()
    assert [c.config_id for c in candidates(options.structures, 1)] == before
    assert [c.config_id for c in candidates(travelled.structures, 1)] == before


def test_a_bad_structure_file_names_campaign_and_parent(write, tmp_path):
    (tmp_path / "x.cif").write_text("data_x\n_cell_length_a 4\n\nloop_\n")
    with pytest.raises(
        CampaignError, match=r"campaign\.yaml: structures\.parents\.0: .*x\.cif cannot be read"
    ) as caught:
        load_campaign(write(structures=structures(file="x.cif")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        ({"species": "Ni", "cell": [[1, 0], [0, 1]]}, "is not a 3x3 matrix"),
        ({"species": {"Ni": 0.3, "Mn": 0.7}, "cell": "all8"}, "no whole atoms"),
        ({"species": "Cr"}, "no lattice constant is known for Cr"),
    ],
    ids=str,
)
def test_a_parent_that_cannot_be_is_named_with_the_campaign(write, parent, message):
    content = {**structures(file="unused"), "parents": [{"species": "Ni"}, parent]}
    with pytest.raises(CampaignError, match=rf"campaign\.yaml: structures\.parents\.1: .*{message}"):
        load_campaign(write(structures=content))


def test_further_starts_are_off_unless_asked_for_and_change_no_ids_of_others(write):
    options, engine = load_campaign(write())
    assert options.starts is None
    maker = CampaignMaker(options, engine)
    assert maker.fingerprint == fingerprint_of(maker)
    (asked, _), default = load_campaign(write(starts={})), StartOptions()
    assert asked.starts == default
    assert CampaignMaker(asked, engine).fingerprint != maker.fingerprint


def fingerprint_of(maker: CampaignMaker) -> str:
    """As it was before there were further starts, copies of models and chunks."""
    options = maker.options.model_dump(mode="json")
    del options["starts"], options["models"], options["chunk"]
    return content_hash([options, maker.engine.model_dump(mode="json"), maker.hypers, maker.baseline], 12)


@pytest.mark.parametrize(
    ("starts", "says"),
    [
        ({"cuont": 2}, "unknown key 'starts.cuont'; did you mean 'count'"),
        ({"count": 9}, "starts.count: Input should be less than or equal to 4"),
        ({"when": ["comittee"]}, "'committee', 'neighbours', 'spin-state' or 'always'"),
        ({"when": []}, "starts.when: List should have at least 1 item"),
    ],
)
def test_mistakes_in_starts_are_explained(write, starts, says):
    with pytest.raises(CampaignError, match=re.escape(says)):
        load_campaign(write(starts=starts))
