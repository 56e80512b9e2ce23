"""custodian's log and the files before and after -> texts, history, settings that changed."""

import gzip
import inspect
import json
import re

import pytest
from atomate2.vasp.run import DEFAULT_HANDLERS
from custodian.vasp import handlers
from custodian.vasp.handlers import VaspErrorHandler
from hypothesis import given
from hypothesis import strategies as st
from monty.json import MontyEncoder
from monty.serialization import dumpfn

from datastore.quality import changed_physics
from datastore.schema import SpinPoint
from tests.support.vasp_captures import HARSH, INCAR, NO_DATA, expected, said, write_inputs
from workflows.engines.vasp.corrections import departure, read_corrections
from workflows.engines.vasp.levels import COST_TAGS
from workflows.engines.vasp.output_files import OutputError


def log(folder, *corrections, handler="VaspErrorHandler"):
    """custodian.json with corrections given as (errors, actions)."""
    entries = [{"errors": e, "actions": a, "handler": {"@class": handler}} for e, a in corrections]
    (folder / "custodian.json").write_text(json.dumps([{"job": {}, "corrections": entries}]))


def change(folder, file="INCAR", **tags):
    """Set tags of the INCAR (None: remove), as a handler does."""
    lines = [line for line in (folder / file).read_text().splitlines() if line.split(" =")[0] not in tags]
    lines += [f"{tag} = {value}" for tag, value in tags.items() if value is not None]
    (folder / file).write_text("\n".join(lines) + "\n")


def setting(**tags):
    return [{"dict": "INCAR", "action": {"_set": tags}}]


def point(corrections, level=None):
    return SpinPoint(
        species=["Ni", "O"],
        lattice=[[4, 0, 0], [0, 4, 0], [0, 0, 4]],
        positions=[[0, 0, 0], [2, 2, 2]],
        magmoms_in=[2.0, 0.0],
        ordering="FM",
        engine="vasp",
        engine_version="6",
        level_of_theory={"code": "VASP", **({"changed_on_the_way": level} if level else {})},
        corrections=corrections,
        energy=-1,
        free_energy=-1,
        forces=[[0, 0, 0]] * 2,
        stress=None,
        magmoms_out=[1.8, 0.1],
        total_moment=2.0,
        ordering_found="FM",
        verdict="accepted",
    )


def test_a_run_without_custodian_has_no_corrections(tmp_path):
    found = read_corrections(write_inputs(tmp_path))
    assert (found.texts, found.history, found.level_changes) == ([], [], {})


def test_change_of_the_way(tmp_path):
    folder = write_inputs(tmp_path, originals=True)
    change(folder, ALGO="All", NBANDS=60)
    log(folder, (["eddiag"], setting(ALGO="All")), (["too_few_bands"], setting(NBANDS=60)))
    found = read_corrections(folder)
    assert found.texts == ["custodian: eddiag -> INCAR ALGO=All", "custodian: too_few_bands -> INCAR NBANDS=60"]
    assert found.level_changes == {}
    assert found.history[0] == {"handler": "VaspErrorHandler", "errors": ["eddiag"], "actions": ["INCAR ALGO=All"]}
    assert changed_physics(point(found.texts)) is None


@pytest.mark.parametrize(
    ("tags", "changes"),
    [
        ({"ISMEAR": 1}, {"ISMEAR": 1}),
        ({"SIGMA": 0.02}, {"SIGMA": 0.02}),
        ({"ISYM": 2}, {"ISYM": 2}),
        ({"ENCUT": 400}, {"ENCUT": 400.0}),
        ({"LDAUU": "0 6 4.0 0"}, {"LDAUU": [0, 6, 4.0, 0]}),
        ({"LDAU": None}, {"LDAU": "VASP's default"}),
        ({"LREAL": "Auto"}, {"LREAL": "Auto"}),
        ({"PREC": "Normal"}, {"PREC": "Normal"}),
        ({"GGA": "Ps"}, {"GGA": "Ps"}),
        ({"NUPDOWN": 0}, {"NUPDOWN": 0.0}),
        ({"IVDW": 12}, {"IVDW": 12}),
        ({"A_NEW_TAG": 1}, {"A_NEW_TAG": "1"}),
        ({"SYMPREC": 1e-6}, {}),  # without symmetry it decides nothing
        ({"EDIFF": 1e-7, "NELMIN": 8, "AMIN": 0.01, "IMIX": 1, "TIME": 0.5, "ISEARCH": 1, "NCORE": 2}, {}),
        ({"ISTART": 1, "ICHARG": 1, "LWAVE": True}, {}),
        ({"EDIFF": 1e-2}, {"EDIFF": 1e-2}),
    ],
)
def test_which_tags_make_another_level(tmp_path, tags, changes):
    folder = write_inputs(tmp_path, originals=True)
    change(folder, **tags)
    found = read_corrections(folder)
    assert {key: str(value) for key, value in found.level_changes.items() if key[:4] != "LDAU" or key in changes} == {
        key: str(value) for key, value in changes.items()
    }
    json.dumps(found.level_changes)
    # Nobody said so, and yet it is found: the files have the last word.
    assert bool(found.texts) == bool(changes)


def test_symprec_counts_where_there_is_symmetry(tmp_path):
    folder = write_inputs(tmp_path, HARSH, originals=True)
    change(folder, SYMPREC=1e-6)
    assert read_corrections(folder).level_changes == {"SYMPREC": 1e-6}


@pytest.mark.parametrize(("style", "mesh"), [("Monkhorst", "8 2 2"), ("Gamma", "8 4 4")])
def test_mesh_and_centring_make_another_level(tmp_path, style, mesh):
    folder = write_inputs(tmp_path, originals=True)
    (folder / "KPOINTS").write_text(f"eight\n0\n{style}\n{mesh}\n")
    log(folder, (["brmix"], [{"dict": "KPOINTS", "action": {"_set": {"generation_style": style}}}]))
    found = read_corrections(folder)
    assert found.level_changes == {"KPOINTS": f"{style} {mesh.replace(' ', 'x')}"}
    assert found.texts == [f"custodian: brmix -> KPOINTS generation_style={style}"]
    assert changed_physics(point(found.texts)) is not None
    assert changed_physics(point(found.texts, found.level_changes)) is None


def test_change_that_was_undone_leaves_the_level_and_the_verdict(tmp_path):
    folder = write_inputs(tmp_path, originals=True)
    styles = [[{"dict": "KPOINTS", "action": {"_set": {"generation_style": s}}}] for s in ("Monkhorst", "Gamma")]
    log(folder, (["brmix"], styles[0]), (["brmix"], styles[1]), (["tet"], setting(ISMEAR=0, SIGMA=0.05)))
    found = read_corrections(folder)
    assert found.level_changes == {}
    assert changed_physics(point(found.texts)) is None
    assert [entry["actions"] for entry in found.history] == [
        ["KPOINTS generation_style=Monkhorst"],
        ["KPOINTS generation_style=Gamma"],
        ["INCAR ISMEAR=0", "INCAR SIGMA=0.05"],
    ]


def test_without_originals_every_setting_is_named(tmp_path):
    folder = write_inputs(tmp_path)
    log(folder, (["tet"], setting(ISMEAR=0)))
    assert read_corrections(folder).texts == ["custodian: tet -> INCAR ISMEAR=0"]
    of_import = read_corrections(folder, of_final_files=True)
    assert of_import.texts == ["custodian: tet -> 1 setting that ended as the level of theory says (see history)"]
    assert of_import.history[0]["actions"] == ["INCAR ISMEAR=0"]


def test_names_of_errors_are_no_settings(tmp_path):
    folder = write_inputs(tmp_path, originals=True)
    change(folder, ALGO="All")
    log(folder, (["kpoints_trans", "LargeSigma", "IncorrectSmearing", "mesh_symmetry"], setting(ALGO="All")))
    assert changed_physics(point(read_corrections(folder).texts)) is None


def test_packed_files(tmp_path):
    folder = write_inputs(tmp_path, originals=True)
    change(folder, SIGMA=0.02)
    log(folder, (["LargeSigma"], setting(SIGMA=0.02)))
    plain = read_corrections(folder)
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert read_corrections(folder) == plain
    assert plain.level_changes == {"SIGMA": 0.02}


def test_handler_that_failed_itself(tmp_path):
    folder = write_inputs(tmp_path, originals=True)
    entry = {"errors": ["Bad handler=<X object at 0x7f34>"], "actions": [], "handler": {"@class": "X"}, "skipped": True}
    (folder / "custodian.json").write_text(json.dumps([{"corrections": [entry]}]))
    assert read_corrections(folder).history == [{"handler": "X", "errors": ["the handler failed"], "actions": []}]


@pytest.mark.parametrize("text", ["", "[{", "7", "[]", "{}", '[{"corrections": [3]}]', '[{"job": {}}]'])
def test_damaged_log_is_said_and_stops_nothing(tmp_path, text):
    folder = write_inputs(tmp_path, originals=True)
    (folder / "custodian.json").write_text(text)
    found = read_corrections(folder)
    assert found.texts == []
    assert found.history in ([], [{"handler": "", "errors": ["custodian.json cannot be read"], "actions": []}])


@given(
    st.lists(
        st.tuples(
            st.lists(st.text(max_size=300), max_size=4),
            st.dictionaries(st.sampled_from(["ALGO", "NELM", "AMIX"]), st.text(max_size=400), max_size=3),
        ),
        max_size=40,
    )
)
def test_history_is_slim(tmp_path_factory, corrections):
    folder = write_inputs(tmp_path_factory.mktemp("slim"), originals=True)
    log(folder, *[(errors, setting(**tags)) for errors, tags in corrections])
    history = read_corrections(folder).history
    assert len(history) <= 10
    assert all(len(text) <= 160 for entry in history for key in ("errors", "actions") for text in entry[key])


def test_what_a_monitor_said_often_is_said_once(tmp_path):
    folder = write_inputs(tmp_path, originals=True)
    log(folder, *[(["Walltime reached"], None)] * 50)
    assert len(read_corrections(folder).history) == 1


@pytest.mark.parametrize("name", ["INCAR", "INCAR.orig"])
def test_a_damaged_input_is_no_change_of_every_setting(tmp_path, name):
    folder = write_inputs(tmp_path, originals=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(OutputError, match=rf"{name}: has no tag"):
        read_corrections(folder)
    assert f"{name}: has no tag" in (departure(folder) or "")
    (folder / name).unlink()
    (folder / f"{name}.gz").write_bytes(gzip.compress(b"ENCUT = 520\n")[:-9])
    with pytest.raises(OutputError, match=rf"{name}.gz: compressed file is cut"):
        read_corrections(folder)


SITE = "0.250000 0.250000 0.500000"


@pytest.mark.parametrize(
    ("file", "before", "after", "reason"),
    [
        ("POSCAR", SITE, "1.250000 -0.750000 0.500000", None),  # a CONTCAR wraps sites
        ("POSCAR", SITE, "0.2500001 0.250000 0.500000", None),
        ("POSCAR", SITE, "0.260000 0.250000 0.500000", "site 2 of POSCAR was moved"),
        ("POSCAR", "-2.816100", "-2.916100", "the cell of POSCAR was changed"),
        ("POSCAR", "Na Fe Ni O", "Na Ni Fe O", "the sites of POSCAR were reordered"),
        ("POSCAR", "2 1 1 4", "2 1 x 4", "POSCAR cannot be read"),
        ("INCAR", "1*4 1*-2", "1*4 1*2", "MAGMOM was changed"),
        ("INCAR", "NSW = 0", "NSW = 5", "NSW was changed"),
        ("INCAR", "ALGO = Normal", "ALGO = All", None),
        ("INCAR", "ICHARG = 2", "ICHARG = 1", None),
        ("INCAR", "ICHARG = 2", "ICHARG = 11", "ICHARG was changed to 11; from 10 on the density"),
    ],
)
def test_what_is_no_run_of_the_configuration(tmp_path, file, before, after, reason):
    folder = write_inputs(tmp_path, originals=True)
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after))
    assert departure(folder) is None if reason is None else reason in (departure(folder) or "")


def test_sites_may_move_in_a_relaxation(tmp_path):
    folder = write_inputs(tmp_path, INCAR.replace("NSW = 0", "NSW = 9"), originals=True)
    (folder / "POSCAR").write_text((folder / "POSCAR").read_text().replace(SITE, "0.26 0.25 0.5"))
    assert departure(folder) is None


CLASSES = {
    **{name: set() for name in ("amin", "brions", "brmix", "dfpt_ncore", "edddav", "eddiag", "eddrmm")},
    **{name: set() for name in ("pdsyevx", "pssyevx", "algo_tet", "grad_not_orth", "too_few_bands")},
    **{name: {"ISYM"} for name in ("hnform", "point_group", "zpotrf")},
    **{name: {"SYMPREC"} for name in ("ksymm", "posmap", "pricelv", "rhosyg", "symprec_noise")},
    **{name: {"LREAL"} for name in ("nicht_konv", "real_optlay", "subspacematrix")},
    **{name: {"KPOINTS"} for name in ("dentet", "rot_matrix")},
    "zbrent": {"EDIFF"},  # the INCAR has 4e-4, which is loose enough to be a level of its own
    **dict.fromkeys(("set_core_wf", "read_error", "spin_polarized_harris")),  # nothing can be mended
}
"""custodian's name of an error -> settings of the level that its first correction changes (HARSH, shifted mesh)."""


@pytest.mark.parametrize("name", sorted(expected()) or [pytest.param("", marks=pytest.mark.skip(reason=NO_DATA))])
def test_real_messages(tmp_path, name):
    """What custodian finds in VASP's own words, what it does, and what that makes of the label."""
    folder = write_inputs(tmp_path, HARSH, "Monkhorst", originals=True)
    (folder / "vasp.out").write_text(said(name))
    handler = VaspErrorHandler()
    errors = expected()[name]
    assert handler.check(str(folder)) == bool(errors)
    assert sorted(handler.errors) == sorted(errors)
    if not errors or name == "vasp.nbands_not_sufficient":  # custodian wants a whole OUTCAR for that
        return
    done = {**handler.correct(str(folder)), "handler": handler}
    dumpfn([{"corrections": [done]}], str(folder / "custodian.json"), cls=MontyEncoder)
    found = read_corrections(folder)
    wanted = set().union(*(CLASSES[error] or set() for error in errors))
    assert set(found.level_changes) == wanted
    assert departure(folder) is None
    assert found.history[0]["errors"] == sorted(errors)
    if any(CLASSES[error] is None for error in errors):
        assert found.history[0]["actions"] == []
    rejected = changed_physics(point(found.texts))
    assert (rejected is not None) == bool(wanted - {"SYMPREC", "EDIFF"})
    assert changed_physics(point(found.texts, found.level_changes)) is None
    assert all(re.match(r"custodian: \S.* -> ", text) for text in found.texts)


OF_THE_LEVEL = {"ISMEAR", "SIGMA", "ISYM", "KSPACING", "KGAMMA", "LREAL", "PREC"}
SOMETIMES = {"EDIFF", "SYMPREC"}  # of the level where it is loose, and where there is symmetry
OF_FILES = {"GENERATION_STYLE", "KPOINTS", "STRUCTURE"}
NOT_HERE = {"IOPT"}  # with VTST only, which nobody asks for


def test_every_setting_that_a_handler_changes_is_classified():
    """A new version of custodian that sets another tag wants a decision."""
    source = inspect.getsource(handlers._correct_grad_not_orth)
    source += "".join(inspect.getsource(type(handler)) for handler in DEFAULT_HANDLERS)
    bodies = re.findall(r'(?:"_(?:un)?set":|new_settings =) \{([^{}]*)\}', source)
    tags = {key.upper() for body in bodies for key in re.findall(r'"([A-Za-z_]+)":', body)}
    assert len(tags) > 25
    assert tags & COST_TAGS == tags - OF_THE_LEVEL - SOMETIMES - OF_FILES - NOT_HERE
    assert not COST_TAGS & (OF_THE_LEVEL | SOMETIMES)
    assert set(re.findall(r'"file": "(\w+)"', source)) == {"CONTCAR", "CHGCAR", "WAVECAR"}
