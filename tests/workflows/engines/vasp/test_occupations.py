"""Starts from occupation matrices: what is written, what must hold, and that a hint reaches another branch."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.metastable import find_metastable
from datastore.schema import SpinConfig
from tests.support.vasp_std.faults import Fault, plan, starts
from tests.support.vasp_std.occupations import VARIABLE
from workflows.engines import EngineError, get_engine
from workflows.engines.interface import LabelError
from workflows.engines.vasp.check import check_inputs
from workflows.engines.vasp.inputs import SpinOccupationSetGenerator, SpinRelaxSetGenerator, SpinStaticSetGenerator
from workflows.engines.vasp.occupations import HELD, RELEASED, read, written
from workflows.structures import apply_ordering, rocksalt
from workflows.structures.starts import from_occupations
from workflows.vasp_import.discover import find_runs
from workflows.vasp_import.folders import read_folder

QUICK = {
    "type": "vasp",
    "kpts": {"custom": [2, 2, 1]},
    "run": {"poll_seconds": 0.05},
    "potcars": {"Co": "Co", "O": "O"},
    "occupation_control": True,
}
ORDER = [1, 3, 0, 2]
"""Sites of POSCAR for O Co O Co."""

EXAMPLE = """\
2                             No of atoms to be specified
3   2 2                       Atom No (in POSCAR),  L,  spin(2) or not (1)
spin component  1		Not really important what is here !
   0.7997  0.3554 -0.0000 -0.0000 -0.0000
   0.3554  0.5269 -0.0000 -0.0000 -0.0000
  -0.0000 -0.0000  1.0225  0.0653  0.0575
  -0.0000 -0.0000  0.0653  0.7468 -0.3435
  -0.0000 -0.0000  0.0575 -0.3435  0.6179
spin component  2
   0.9057 -0.3651  0.0000 -0.0000  0.0000
  -0.3651  0.3291  0.0000 -0.0000  0.0000
   0.0000  0.0000  0.5578  0.4221  0.0993
  -0.0000 -0.0000  0.4221  0.5288  0.2056
   0.0000  0.0000  0.0993  0.2056  0.2269
                             Blank line between atoms
4 1 2
up
1 0 0
0 1 0
0 0 1
down
3*0
3*0
0 0 .5D-1
"""


def engine(**options):
    return get_engine({**QUICK, **options})


def cobalt_oxide(hint: str = "", **fields) -> SpinConfig:
    """O Co O Co under pressure, where the model's Co has two branches: 1.2 and 2.4 muB. The guess is 1.0 muB."""
    structure = apply_ordering(rocksalt("Co", lattice_constant=4.0, cell="rhombohedral4"), "AFM-II")
    plain = SpinConfig.from_structure(structure, "AFM-II")
    order = [2, 0, 3, 1]
    assert [plain.species[site] for site in order] == ["O", "Co", "O", "Co"]
    values = {
        "species": [plain.species[site] for site in order],
        "positions": plain.positions[order],
        "magmoms_in": np.array([0.0, 1.0, 0.0, -1.0]),
    }
    config = SpinConfig(**{**plain.model_dump(), "cell": "custom", **values, **fields})
    return from_occupations(config, hint) if hint else config


def matrix(electrons: float) -> str:
    return "\n".join(" ".join(f"{electrons / 5 if i == j else 0:.4f}" for j in range(5)) for i in range(5))


def hint(moments: dict[int, float], shell: int = 2) -> str:
    """Seven d electrons on each site, numbered from 1."""
    blocks = [f"{s} {shell} 2\nup\n{matrix(3.5 + m / 2)}\ndown\n{matrix(3.5 - m / 2)}\n" for s, m in moments.items()]
    return f"{len(moments)}\n" + "\n".join(blocks)


@pytest.fixture
def patched(vasp_on_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "occupations")
    return vasp_on_path


def test_the_example_of_the_authors_is_read():
    found = read(EXAMPLE)
    assert sorted(found) == [3, 4]
    assert (found[3].l, found[4].l) == (2, 1)
    assert found[3].values[0, 0].tolist() == [0.7997, 0.3554, 0, 0, 0]
    assert found[3].values[1, 3, 4] == 0.2056
    assert found[3].moment == pytest.approx(3.7138 - 2.5483)
    assert found[4].moment == pytest.approx(2.95)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(5)), st.lists(st.floats(-4, 4), min_size=1, max_size=5))
def test_matrices_follow_their_sites_into_another_order(order, moments):
    asked = read(hint(dict(enumerate(moments, 1))))
    found = read(written(asked, order))
    assert len(found) == len(moments)
    for number, site in enumerate(order, 1):
        assert (site + 1 in asked) == (number in found)
        assert site + 1 not in asked or found[number].same(asked[site + 1], 1e-9)


WRONG = {
    "\n": "line 1: expected the number of sites, found ''",
    "1": "its end: expected number of the site, l and number of spins",
    "two\n": "line 1: expected the number of sites, found 'two'",
    "0\n": "has no site",
    "1\n1 2\n": "line 2: expected number of the site, l and number of spins",
    hint({2: 1.0}).replace("2 2 2", "2 2 1"): "spins 2 (collinear)",
    hint({2: 1.0}).replace("2 2 2", "2 4 2"): "l is 0 to 3",
    hint({2: 1.0}, shell=1): "line 4: expected 3 numbers of site 2",
    hint({2: 1.0}).replace("0.8000", "0.8O", 1): "'0.8O' is no number",
    hint({2: 1.0})[:-12]: "expected 5 numbers of site 2",
    "\n".join(hint({2: 1.0}).splitlines()[:-1]): "line lacking: expected 5 numbers",
    hint({2: 1.0}).replace("0.8000 0.0000", "0.8000 0.3000", 1): "not symmetric",
    hint({2: 1.0, 4: -1.0}).replace("2\n", "1\n", 1): "more follows than the first line says",
    hint({2: 1.0, 4: -1.0}).replace("4 2 2", "2 2 2"): "each site stands there once",
    hint({5: 1.0}): "site 5 is none of 1 to 4",
    hint({1: 1.0}): "no +U on l = 2 of site 1 (O)",
    hint({2: -2.7}): "site 2 (Co) have a moment of -2.70 muB, and magmoms_in says 1;",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_matrices_are_refused_before_anything_runs(patched, tmp_path, text):
    config = cobalt_oxide().model_copy(update={"occupations": text})
    with pytest.raises(LabelError) as caught:
        engine().label(config, tmp_path)
    assert WRONG[text] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.kind == "refused"
    assert starts(patched.faults) == 0


def test_a_hint_reaches_the_branch_that_the_guess_misses(patched, tmp_path):
    guess = engine().label(cobalt_oxide())
    found = engine().label(cobalt_oxide(hint({2: 2.7, 4: -2.7})), tmp_path)
    assert guess.magmoms_out[[1, 3]] == pytest.approx([1.18, -1.18], abs=0.02)
    assert found.magmoms_out[[1, 3]] == pytest.approx([2.39, -2.39], abs=0.02)
    assert found.verdict == "accepted", found.verdict_reasons
    assert found.level_id == guess.level_id == get_engine({**QUICK, "occupation_control": False}).level_id()
    assert found.point_id != guess.point_id
    (finding,) = find_metastable([guess, found]).values()
    assert finding.excitation == pytest.approx(0.0216 / 4, abs=2e-4)
    assert finding.reason.endswith("started from other occupations")
    free = engine().label(cobalt_oxide(magmoms_in=np.array([0, 2.7, 0, -2.7])))
    assert found.free_energy == pytest.approx(free.free_energy, abs=1e-5), "nothing of the held run is in the energy"
    assert found.history[0]["run"] == "occupations held"
    assert found.history[0]["moments"] == [0.0, 2.7, 0.0, -2.7]
    assert found.history[-1] == {"run": "occupations released"}


def test_each_site_gets_its_own_matrix(patched):
    """O Co O Co: site 2 is the first of POSCAR, site 4 the second. Only one of them is put into high spin."""
    for moments in ({2: 2.7, 4: -1.0}, {4: -2.7}):
        point = engine().label(cobalt_oxide(hint(moments)))
        high = [site for site in (2, 4) if abs(point.magmoms_out[site - 1]) > 2]
        assert high == [site for site, m in moments.items() if abs(m) > 2]


def test_an_import_refuses_the_run_with_held_occupations_that_stays(patched, tmp_path):
    from datastore.mapping import RefusedError

    engine().label(cobalt_oxide(hint({2: 2.7})), tmp_path / "work")
    label, held = find_runs(tmp_path / "work")
    assert Path(held.folder).name == "held"
    read_folder(label, str(tmp_path))
    with pytest.raises(RefusedError, match="occupation") as caught:
        read_folder(held, str(tmp_path))
    assert caught.value.reason == "occupations held"
    names = {path.name for path in (tmp_path / "work").rglob("*")}
    assert not names & {"POTCAR", "POTCAR.orig", "WAVECAR", "CHGCAR"}, "nothing licensed and nothing large stays"
    assert "OCCMATRIX" in names
    assert b"OCCEXT" not in gzip.decompress(Path(label.folder, "INCAR.gz").read_bytes())


def test_an_unpatched_program_is_found_out(vasp_on_path):
    with pytest.raises(LabelError, match="held: this VASP passed over OCCEXT") as caught:
        engine().label(cobalt_oxide(hint({2: 2.7})))
    assert caught.value.kind == "refused"
    assert starts(vasp_on_path.faults) == 1


def test_moments_that_flip_while_they_are_held_end_it(patched):
    """That of a site without a matrix."""
    plan(patched.faults, [Fault("flipped", argument=0)])
    with pytest.raises(LabelError, match="occupations held: moments flipped at POSCAR sites 0") as caught:
        engine().label(cobalt_oxide(hint({4: -2.7})))
    assert caught.value.kind == "branch-lost"
    assert starts(patched.faults) == 1


def test_moments_that_flip_after_the_release_are_judged(patched):
    plan(patched.faults, [Fault("flipped", when=2, argument=0)])
    point = engine().label(cobalt_oxide(hint({2: 2.7, 4: -2.7})))
    assert point.verdict == "rejected"
    assert "flip" in " ".join(point.verdict_reasons)


def test_a_restart_begins_from_the_held_state_again(patched):
    plan(patched.faults, [Fault("unconverged", when=2)])
    point = engine().label(cobalt_oxide(hint({2: 2.7, 4: -2.7})))
    assert point.magmoms_out[[1, 3]] == pytest.approx([2.39, -2.39], abs=0.02)
    assert [entry["run"] for entry in point.history if "run" in entry] == ["occupations held", "occupations released"]
    assert point.history[-1]["errors"] == ["Unconverged"]
    assert starts(patched.faults) == 3


def test_a_restart_that_loses_the_held_state_gives_no_label(patched):
    """Moments have flipped when a restart is due: the WAVECAR goes, and with it all that the matrices said."""
    plan(patched.faults, [Fault("flipped", when=2, argument=0), Fault("unconverged", when=2)])
    with pytest.raises(LabelError, match=r"released: .*did not begin from.*ISTART 0, ICHARG 2 after a corr") as caught:
        engine().label(cobalt_oxide(hint({2: 2.7, 4: -2.7})))
    assert caught.value.kind == "branch-lost"
    assert [entry["run"] for entry in caught.value.history if "run" in entry][-1] == "occupations released"


def test_what_a_killed_try_left_is_never_read(patched, tmp_path):
    config = cobalt_oxide(hint({2: 2.7, 4: -2.7}))
    right = engine(keep="all").label(config, tmp_path / "work")
    (folder,) = (tmp_path / "work").iterdir()
    for place in (folder, folder / "held"):
        (place / "WAVECAR").write_text('{"moments": [0, 1, 0, 1]}')
        (place / "OUTCAR").write_text("OCCEXT found")
    again = engine().label(config, tmp_path / "work")
    assert again.free_energy == pytest.approx(right.free_energy, abs=1e-9)


def written_in(folder: Path, config: SpinConfig, **options) -> Path:
    SpinOccupationSetGenerator(settings=engine(), **options).input_for(config).write_input(folder)
    return folder


def test_both_runs_pass_the_check_of_the_inputs_and_nothing_else_does(patched, tmp_path):
    config = cobalt_oxide(hint({2: 2.7, 4: -1.0}))
    held, released = written_in(tmp_path / "a", config), written_in(tmp_path / "b", config, held=False)
    assert not (released / "OCCMATRIX").exists()
    assert check_inputs(held, config, engine(), HELD) == ORDER
    assert check_inputs(released, config, engine(), RELEASED) == ORDER
    for folder, updates in ((held, RELEASED), (released, HELD), (held, {}), (released, {})):
        with pytest.raises(LabelError, match="INCAR"):
            check_inputs(folder, config, engine(), updates)
    with pytest.raises(LabelError, match="expected a run that starts from occupation matrices, found one that does"):
        SpinStaticSetGenerator(settings=engine()).input_for(config).write_input(tmp_path / "c")
    with pytest.raises(LabelError, match="expected a run that starts from occupation matrices, found one that does"):
        SpinRelaxSetGenerator(settings=engine()).input_for(config).write_input(tmp_path / "d")
    with pytest.raises(LabelError, match="expected one that does not, found a run that starts from"):
        check_inputs(released, cobalt_oxide(), engine(), RELEASED)


MUTATIONS = {
    "swap": (lambda text: text.replace("1 2 2", "x").replace("2 2 2", "1 2 2").replace("x", "2 2 2"), "site 1: exp"),
    "unsorted": (lambda text: text.replace("1 2 2", "4 2 2"), "site 4: expected nothing"),
    "one lost": (lambda text: "\n".join(["1", *text.splitlines()[1:15]]), "site 2: expected l = 2"),
    "sign": (lambda text: text.replace("0.9700", "-0.9700"), "OCCMATRIX, site"),
    "cut": (lambda text: text[:200], "OCCMATRIX, line"),
    "gone": (None, "OCCMATRIX is not there"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_file_of_matrices_is_caught(patched, tmp_path, name):
    config = cobalt_oxide(hint({2: 2.7, 4: -1.0}))
    path = written_in(tmp_path, config) / "OCCMATRIX"
    change, says = MUTATIONS[name]
    before = path.read_text()
    path.unlink()
    if change is not None:
        path.write_text(change(before))
        assert path.read_text() != before
    with pytest.raises(LabelError) as caught:
        check_inputs(tmp_path, config, engine(), HELD)
    assert says in str(caught.value)


def test_a_first_run_that_would_leave_no_orbitals_is_caught(patched, tmp_path):
    config = cobalt_oxide(hint({2: 2.7}))
    incar = written_in(tmp_path, config) / "INCAR"
    incar.write_text(incar.read_text().replace("LWAVE = True", "LWAVE = False"))
    with pytest.raises(LabelError, match="LWAVE: expected True, found False"):
        check_inputs(tmp_path, config, engine(), HELD)


def test_options_that_do_not_go_together_are_refused(vasp_on_path):
    with pytest.raises(EngineError, match="collinear"):
        engine(spins="noncollinear")
    for tag in ("OCCEXT", "OCCDIR1"):
        with pytest.raises(EngineError, match="state occupation_control: true"):
            engine(incar_unlisted={tag: 1})


def test_a_plan_counts_both_runs(vasp_on_path):
    one, two = (engine().seconds_estimate(cobalt_oxide(text)) for text in ("", hint({2: 2.7})))
    assert two - 10 == pytest.approx(2 * (one - 10))
