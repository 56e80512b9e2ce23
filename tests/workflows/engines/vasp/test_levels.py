"""What a level of theory says, and which runs are at one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.levels import level_name
from workflows.engines.vasp.levels import (
    COST_TAGS,
    DEFAULTS,
    LevelError,
    centring,
    covers,
    hubbard_of_incar,
    kpoints_comment,
    kpoints_rule,
    kpts_of_run,
    level_of_run,
    merged,
)

INCAR = {"ENCUT": 520, "ISMEAR": 0, "SIGMA": 0.05, "ISPIN": 2, "GGA": "PE", "PREC": "Accurate"}
PLUS_U = {"LDAU": True, "LDAUTYPE": 2, "LDAUU": [6.2, 0], "LDAUJ": [0, 0], "LDAUL": [2, -1]}
MOVED = "gamma, shifted by 0.5 0.5 0.5"
POTCARS = {"Ni": {"titel": "PAW_PBE Ni_pv 06Sep2000"}, "O": {"titel": "PAW_PBE O 08Apr2002"}}
TITELS = [content["titel"] for content in POTCARS.values()]


def level(incar=None, potcars=None, symbols=("Ni", "O"), **changes):
    tags = {**INCAR, **PLUS_U, **(incar or {}), **changes}
    tags = {key: value for key, value in tags.items() if value is not None}
    chosen = POTCARS if potcars is None else potcars
    return level_of_run(tags, hubbard_of_incar(tags, list(symbols)), chosen, kpts_of_run(tags), TITELS)


def test_it_is_readable_and_can_be_stored():
    found = level()
    assert json.loads(json.dumps(found)) == found
    assert level_name(found) == "VASP-PBE+U-Ni6.2-520eV"
    assert found["incar"] == {"ISMEAR": 0, "ISPIN": 2, "PREC": "accurate", "SIGMA": 0.05}


@given(st.sampled_from(sorted(COST_TAGS)), st.one_of(st.integers(), st.booleans(), st.text(max_size=5)))
def test_what_a_run_costs_is_no_part_of_it(tag, value):
    assert level({tag: value}) == level()


@given(st.sampled_from(sorted(DEFAULTS)))
def test_a_stated_default_is_an_unstated_one(tag):
    rest = {"ISPIN": None, "PREC": None}
    assert level({**rest, tag: DEFAULTS[tag]}) == level(rest)


@pytest.mark.parametrize(
    ("tag", "value", "same"),
    [
        ("PREC", "acc", True),
        ("PREC", "Normal", False),
        ("LREAL", ".FALSE.", True),
        ("LREAL", "Auto", False),
        ("SIGMA", 0.1, False),
        ("ISMEAR", 1, False),
        ("ENCUT", 520.0, True),
        ("ENCUT", 600, False),
        ("GGA", "PS", False),
        ("GGA", None, True),
        ("GGA", "--", True),
        ("METAGGA", "R2SCAN", False),
        ("METAGGA", "--", True),
        ("LDAUTYPE", [2], True),
        ("LDAUTYPE", 1, False),
        ("LDAUJ", [1, 0], False),
        ("LDAUL", [2, 2], True),
        ("LDAUL", [3, -1], False),
        ("LDAUU", [6.0, 0], False),
        ("LSORBIT", True, False),
        ("IVDW", 12, False),
        ("EDIFF", 1e-6, True),
        ("EDIFF", 1e-2, False),
        ("NUPDOWN", 2, False),
        ("LHFCALC", True, False),
        ("RWIGS", [1.0, 1.0], False),
        ("UNHEARD_OF", 1, False),
        ("UNHEARD_OF", False, False),  # it may be true by default
        ("LORBMOM", True, True),
        ("LOPTICS", ".FALSE.", True),
        ("LEPSILON", True, False),
        ("EFERMI", "MIDGAP", True),
        ("EFERMI", 5.2, False),
        ("AEXX", 0.3, True),
        ("ENMAX", 520, True),
        ("ENMAX", 600, True),  # ENCUT goes before
    ],
)
def test_what_decides_numbers_is_part_of_it(tag, value, same):
    assert (level({tag: value}) == level()) is same


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ({"GGA": "PS"}, "PBEsol+U"),
        ({"GGA": "RP", "LDAU": False}, "RPBE"),
        ({"METAGGA": "R2scan"}, "R2SCAN+U"),
        ({"GGA": None, "LHFCALC": True, "LDAU": None}, "PBE-hybrid"),
        ({"GGA": "XX"}, "GGA=XX+U"),
    ],
)
def test_functionals_have_their_names(tags, name):
    assert level(tags)["functional"] == name


def test_the_old_name_of_the_cutoff_is_read():
    assert level(ENCUT=None, ENMAX=520) == level()
    assert level(ENCUT=None, ENMAX=[600]) == level(ENCUT=600)


def test_tags_of_exact_exchange_count_where_there_is_some():
    assert level(LHFCALC=True, HFSCREEN=0.2) != level(LHFCALC=True)
    assert level(LHFCALC=True, NKRED=1) == level(LHFCALC=True)
    assert level(LHFCALC=False, HFSCREEN=0.2, AEXX=0.25, NKRED=2) == level()


def test_the_width_of_tetrahedra_counts_for_nothing():
    assert level(ISMEAR=-5, SIGMA=0.2) == level(ISMEAR=-5, SIGMA=0.05)


def test_radii_count_where_moments_are_projected_on_them():
    assert level(RWIGS=[1.0, 1.0], LORBIT=11) == level()
    assert level(RWIGS=[1.0, 1.0], LORBIT=1) != level(LORBIT=1)
    assert level(RWIGS=[1.0, 1.0], LORBIT=11, I_CONSTRAINED_M=2, LAMBDA=5) == level(LORBIT=11), "how they are held"


def test_symmetry_that_is_off_has_no_precision():
    assert level(ISYM=0, SYMPREC=1e-3) == level(ISYM=0)
    assert level(SYMPREC=1e-3) != level()


def test_a_logical_is_written_in_several_ways():
    assert level(LNEW="T") == level(LNEW=".TRUE.") == level(LNEW=True) != level(LNEW="F")


def test_only_the_difference_of_u_and_j_counts_in_dudarevs_form():
    assert level(LDAUU=[7.2, 0], LDAUJ=[1, 0]) == level()


def test_pseudopotentials_with_and_without_a_hash_are_two_levels():
    hashed = {**POTCARS, "Ni": {"symbol": "Ni_pv", "sha256": "0" * 16}}
    assert level(potcars=hashed) != level()
    with pytest.raises(LevelError, match="several kinds are mixed"):
        level_of_run(INCAR, {}, POTCARS, {}, ["PAW_PBE Ni 06Sep2000", "PAW O 22Mar2012"])


@pytest.mark.parametrize(
    ("incar", "symbols", "part"),
    [
        ({"LDAUU": [6.2]}, ["Ni", "O"], "LDAUU has 1 values for 2 species blocks"),
        ({"LDAUU": [6.2, 0, 5], "LDAUJ": [0] * 3, "LDAUL": [2, -1, 2]}, ["Ni", "O", "Ni"], "U of Ni differs"),
    ],
)
def test_u_that_is_not_one_per_element_is_no_level(incar, symbols, part):
    with pytest.raises(LevelError, match=part):
        hubbard_of_incar({**PLUS_U, **incar}, symbols)


def test_repeated_blocks_of_one_element_agree():
    tags = {**PLUS_U, "LDAUU": [3.9, 6.2, 3.9, 0], "LDAUJ": [0] * 4, "LDAUL": [2, 2, 2, -1]}
    found = hubbard_of_incar(tags, ["Mn", "Ni", "Mn", "O"])
    assert {element: value.u for element, value in found.items()} == {"Mn": 3.9, "Ni": 6.2, "O": 0.0}
    assert hubbard_of_incar({**tags, "LDAU": False}, ["Mn", "Ni", "Mn", "O"]) == {}


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.integers(-9, 9), st.text(max_size=5)), min_size=1))
def test_the_rule_of_a_mesh_comes_back_from_the_first_line_of_kpoints(rule):
    comment = kpoints_comment(rule)
    assert "\n" not in comment
    assert kpoints_rule(comment) == rule
    assert kpts_of_run({"KSPACING": 0.2}, comment) == rule


@pytest.mark.parametrize(
    ("incar", "comment", "centre", "expected"),
    [
        ({}, "Automatic mesh", "gamma", {"mesh": "on each label", "centre": "gamma"}),
        ({}, "spinmultinet but no rule", "", {"mesh": "on each label", "centre": "not stated"}),
        ({}, "spinmultinet [1]", "", {"mesh": "on each label", "centre": "not stated"}),
        ({"KSPACING": 0.2}, "", "gamma", {"kspacing": 0.2, "centre": "gamma"}),
        ({"KSPACING": 0.2}, "Automatic mesh", "gamma", {"mesh": "on each label", "centre": "gamma"}),
        ({"KSPACING": 0.2, "KGAMMA": False}, "", "", {"kspacing": 0.2, "centre": "monkhorst"}),
        ({}, 'spinmultinet {"a": 1, "centre": "gamma"}', "gamma", {"a": 1, "centre": "gamma"}),
        ({}, 'spinmultinet {"a": 1, "centre": "gamma"}', MOVED, {"a": 1, "centre": MOVED}),
    ],
)
def test_a_mesh_without_a_rule_is_on_each_label(incar, comment, centre, expected):
    assert kpts_of_run(incar, comment, centre) == expected


@pytest.mark.parametrize(
    ("style", "shift", "expected"),
    [
        ("Gamma", (0, 0, 0), "gamma"),
        ("Monkhorst-Pack", (), "monkhorst"),
        ("monkhorst", [0.5, 0, 0], "monkhorst, shifted by 0.5 0 0"),
        ("Gamma", [-1, 2, 1e-9], "gamma"),
        ("Gamma", [0.5] * 3, MOVED),
        ("Line_mode", [0.5] * 3, ""),
        ("", (), ""),
    ],
)
def test_the_centring_names_a_shift_that_moves_the_points(style, shift, expected):
    assert centring(style, shift) == expected


def test_a_level_covers_runs_that_say_the_same_of_their_elements():
    run = level()
    wide = {**run, "hubbard_u": {"Ni": 6.2, "Mn": 3.9}, "potcars": {**POTCARS, "Mn": {"titel": "PAW_PBE Mn_pv"}}}
    assert covers(run, run)
    assert covers(wide, run)
    assert not covers(run, wide)
    assert not covers({**wide, "hubbard_u": {"Ni": 6.0}}, run)
    assert not covers({**wide, "hubbard_u": {"Ni": 6.2, "O": 3.0}}, run)  # the run has none on oxygen
    assert not covers({**wide, "potcars": {**wide["potcars"], "O": {"titel": "PAW_PBE O_s 07Sep2000"}}}, run)
    assert not covers({**wide, "ecut": 600.0}, run)
    assert not covers({**wide, "changed_on_the_way": {"SIGMA": 0.2}}, run)


def test_an_oxide_without_u_is_at_the_level_of_one_with():
    magnesia = {"Mg": {"titel": "PAW_PBE Mg 13Apr2007"}, "O": POTCARS["O"]}
    run = level({"LDAU": None}, magnesia, ["Mg", "O"])
    wide = {**level(), "potcars": {**POTCARS, **magnesia}}
    assert run["functional"] == "PBE"
    assert covers(wide, run)
    assert not covers({**wide, "functional": "PBEsol+U"}, run)


@given(st.permutations(["Ni", "Mn", "Co", "Mg", "O"]), st.data())
def test_levels_of_one_setting_become_one_that_covers_them(elements, data):
    u_values = {"Ni": 6.2, "Mn": 3.9, "Co": 3.32}
    titels = {e: {"titel": f"PAW_PBE {e}"} for e in elements}
    parts = data.draw(st.lists(st.lists(st.sampled_from(elements), min_size=1, unique=True), min_size=1, max_size=6))
    levels = []
    for part in parts:
        tags = {"LDAUU": [u_values.get(e, 0) for e in part], "LDAUJ": [0] * len(part), "LDAUL": [2] * len(part)}
        levels.append(level(tags, {e: titels[e] for e in part}, part))
    (wide,) = merged(levels)
    assert all(covers(wide, one) for one in levels)
    assert set(wide["potcars"]) == {e for part in parts for e in part}


def test_levels_that_disagree_stay_apart():
    other = {**level(), "hubbard_u": {"Ni": 5.0}}
    manganese = {**level(), "hubbard_u": {"Mn": 3.9}, "potcars": {"Mn": {"titel": "M"}, "O": POTCARS["O"]}}
    found = merged([level(), other, manganese, {**level(), "ecut": 600.0}])
    assert [one["hubbard_u"] for one in found] == [{"Ni": 6.2, "Mn": 3.9}, {"Ni": 5.0}, {"Ni": 6.2}]
    assert not covers(found[1], level())
