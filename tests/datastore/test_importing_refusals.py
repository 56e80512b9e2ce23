"""What an import refuses, doubts and corrects."""

import json
import os
from pathlib import Path

import ase.io
import numpy as np
import pytest
from pydantic import ValidationError

from datastore import open_store
from datastore.atoms import write_points
from datastore.converters import ImportLevel, foreign, own
from datastore.decisions import decide
from datastore.errors import DataError
from datastore.importing import Replacement, import_labels
from datastore.levels import delta_point
from datastore.mapping import ImportMapping, UnitOptions
from datastore.queries import find
from datastore.schema import content_hash
from datastore.snapshot import make_snapshot
from datastore.splits import SplitOptions
from tests.datastore.support import make_point

LEVEL = ImportLevel(
    level_of_theory={"code": "VASP", "functional": "PBE+U", "hubbard_u": {"Ni": 5.3}, "ecut": 600, "kpts": "unknown"},
    licence="CC-BY-4.0",
)
OURS = ImportMapping(layout="spinmultinet", moment_role="guess")


LEVEL_ID = content_hash(LEVEL.level_of_theory, 16)


GOOD = {"species": ["Ni", "O"], "lattice": (np.eye(3) * 3).tolist(), "positions": [[0, 0, 0], [1.5, 0, 0]]}
GOOD |= {"energy": -12.0, "forces": [[0, 0, 0], [0, 0, 0]], "initial_magmoms": [2, 0], "magmoms": [1.8, 0]}
GOOD |= {"d": {"seed": 1}, "o": "FM", "w": 60.0, "c": 4}
KEYS = {"deformation_parameters": "d", "ordering": "o", "wall_seconds": "w", "cores": "c"}


@pytest.fixture
def store():
    with open_store("memory:") as opened:
        yield opened


@pytest.mark.parametrize("uri", ["memory:", "local:store"])
@pytest.mark.parametrize(
    ("key", "text", "reason", "part"),
    [
        ("d", '{"$date": "x"}', "not storable", "dollar sign"),
        ("d", '{"a": [{"$set": 1}]}', "not storable", "dollar sign"),
        ("d", '{"a\\u0000b": 1}', "not storable", "NULL"),
        ("d", '{"seed": 10000000000000000000000000}', "not storable", "8-byte ints"),
        ("d", '{"seed": NaN}', "not storable", "not finite"),
        ("d", '{"a": ' * 300 + "1" + "}" * 300, "not storable", ""),
        ("d", '"' + "[" * 100_000 + '"', "not storable", "nested too deeply"),
        ("o", '"\\ud800"', "not storable", "surrogates"),
        ("energy", "1" + "0" * 400, "not numbers", "energy"),
        ("w", "-5", "implausible timings", "wall is -5"),
        ("c", "0", "implausible timings", "cores is 0"),
        ("positions", "[[0, 0, 0], [2.9, 3.0, 0]]", "two atoms on one site", "atoms 0 and 1"),
        ("species", '[true, "O"]', "unknown species", "True"),
    ],
)
def test_a_hostile_frame_is_refused_and_spoils_nothing(tmp_path, monkeypatch, uri, key, text, reason, part):
    monkeypatch.chdir(tmp_path)
    hostile = json.dumps({**GOOD, key: "here"}).replace('"here"', text)
    Path("a.jsonl").write_text("\n".join([json.dumps(GOOD), hostile, json.dumps(GOOD)]))
    with open_store(uri) as store:
        report = import_labels(store, [Path("a.jsonl")], foreign(ImportMapping(moment_role="guess", **KEYS), LEVEL))
        assert {name: refusals.count for name, refusals in report.refused.items()} == {reason: 1}
        assert part in report.refused[reason].examples[0]
        assert (report.accepted, report.present) == (1, 1)
        (point,) = find(store)
        assert (point.deformation_parameters, point.timings) == ({"seed": 1}, {"wall": 60.0, "cores": 4.0})


@pytest.mark.parametrize(("timings", "problem"), [({"wall": -1.0}, "timings"), ({"cpu": float("nan")}, "storable")])
def test_times_that_none_has_are_refused_from_an_export_as_well(store, tmp_path, timings, problem):
    write_points(tmp_path / "a.extxyz", [make_point(timings=timings)])
    (reason,) = import_labels(store, [tmp_path / "a.extxyz"], own).refused
    assert problem in reason


def harmonic(number, forces=1.0, stress=1.0, **changes):
    """Labels of one parabola, 10 eV/Angstrom^2; factors as if a unit or a sign were wrong."""
    for shift in np.linspace(-0.4, 0.4, number):
        energies = {"energy": -25.4 + 5 * shift**2, "free_energy": -25.5 + 5 * shift**2}
        pull = forces * np.outer([10 * shift, -10 * shift, 0, 0], [1, 0, 0])
        yield make_point(shift=shift, forces=pull, stress=stress * np.diag([-0.08, -0.07, -0.07]), **energies)


@pytest.mark.parametrize(("factor", "doubtful"), [(1.0, False), (-1.0, True), (1 / 51.4, True)])
def test_units_and_signs_that_do_not_fit_each_other_are_told(store, tmp_path, factor, doubtful):
    path = tmp_path / "a.extxyz"
    write_points(path, harmonic(20, forces=factor))
    for new in (20, 0):  # told again by an import that finds all labels there
        report = import_labels(store, [path], foreign(OURS, LEVEL))
        assert report.accepted == new
        assert len(report.doubts) == doubtful
    if doubtful:
        assert "of 20 labels do not fit the other energies, forces and stresses" in report.doubts[0]


@pytest.mark.parametrize(("wrong", "taken"), [(17, 0), (3, 0), (2, 18)])
def test_no_frame_of_a_file_is_believed_where_many_have_impossible_numbers(store, tmp_path, wrong, taken):
    """A stress in GPa of labels without strain can be small enough to pass for eV/Angstrom^3."""
    path = tmp_path / "a.extxyz"
    labels = list(harmonic(20))
    write_points(path, [*harmonic(20, stress=160.2)][:wrong] + labels[wrong:])
    report = import_labels(store, [path], foreign(OURS, LEVEL))
    assert report.refused["implausible stress"].count == wrong
    assert (report.accepted, store.points.count()) == (taken, taken)
    if not taken:
        assert report.refused["units in doubt"].count == 20 - wrong
        assert f"{wrong} of 20 frames so far have an implausible stress" in report.refused["units in doubt"].examples[0]


def test_a_corrected_import_replaces_what_a_wrong_one_left(store, tmp_path):
    path = tmp_path / "a.extxyz"
    write_points(path, harmonic(3, stress=0.5))
    in_kbar = OURS.model_copy(update={"units": UnitOptions(stress="GPa")})
    import_labels(store, [path], foreign(in_kbar, LEVEL))
    first, second, third = (point.point_id for point in find(store))
    decide(store, [first], "retract", "Ada", "wrong unit of stress")
    snapshot = make_snapshot(store, tmp_path / "sets", options=SplitOptions(fractions=(0.5, 0.0, 0.5)))
    right = foreign(OURS, LEVEL)
    assert import_labels(store, [path], right).disagreeing.count == 3
    report = import_labels(store, [path], right, replace=Replacement("Ada", "stress was read as GPa"))
    assert (report.replaced, report.disagreeing.count, report.not_in) == (3, 0, 0)
    assert [used.name for used in report.used_in] == [snapshot.snapshot_id]
    for point in find(store, verdict="accepted"):
        assert point.stress[0, 0] == pytest.approx(-0.04)
        (past,) = point.source["replaced"]
        assert past["stress"][0][0] == pytest.approx(-0.04 / 160.2, rel=1e-3)
        assert (past["author"], past["reason"], "forces" in past) == ("Ada", "stress was read as GPa", False)
    assert store.points.count({"verdict": "accepted"}) == 3
    assert store.decision_on(first).action == "restore"
    decide(store, [second], "retract", "Ada", "for another reason")
    again = import_labels(store, [path], right, replace=Replacement("Ada", "once more"))
    assert (again.replaced, again.present) == (0, 3)
    assert store.get_point(second).verdict == "rejected"
    assert len(store.get_point(third).source["replaced"]) == 1


def test_a_retraction_of_replaced_numbers_ends_also_after_a_kill(store, tmp_path, monkeypatch):
    path = tmp_path / "a.extxyz"
    write_points(path, harmonic(1))
    wrong = OURS.model_copy(update={"stress_sign": "vasp"})
    import_labels(store, [path], foreign(wrong, LEVEL))
    (point_id,) = store.points.distinct("point_id")
    decide(store, [point_id], "retract", "Ada", "sign")

    def killed(document):
        raise KeyboardInterrupt

    why = Replacement("Ada", "sign of stress")
    with monkeypatch.context() as patch:
        patch.setattr(store, "log_decision", killed)
        with pytest.raises(KeyboardInterrupt):
            import_labels(store, [path], foreign(OURS, LEVEL), replace=why)
    report = import_labels(store, [path], foreign(OURS, LEVEL), replace=why)
    assert (report.replaced, report.present) == (0, 1)
    assert store.decision_on(point_id).action == "restore"
    assert store.get_point(point_id).verdict == "accepted"


def test_what_is_never_replaced(store, tmp_path):
    """Labels that were calculated here; and the first of two frames by the second."""
    path = tmp_path / "a.extxyz"
    here = make_point(level_of_theory=LEVEL.level_of_theory)
    store.put_point(here)
    write_points(path, [make_point(energy=-25.3), make_point(shift=0.1), make_point(shift=0.1, energy=-25.3)])
    for _ in range(2):
        report = import_labels(store, [path], foreign(OURS, LEVEL), replace=Replacement("Ada", "x"))
        assert (report.replaced, report.disagreeing.count) == (0, 2)
    assert [point.energy for point in find(store)] == [-25.4, -25.4]


def test_a_salvaged_label_goes_with_the_numbers_it_came_from(store, tmp_path):
    path = tmp_path / "a.extxyz"
    flipped = {"magmoms_out": [1.8, 1.8, 0.1, 0.1], "total_moment": 4.0}
    write_points(path, [make_point(**flipped)])
    assert import_labels(store, [path], own).salvaged == 1
    write_points(path, [make_point(**flipped, forces=np.zeros((4, 3)))])
    assert import_labels(store, [path], own, replace=Replacement("Ada", "forces")).replaced == 1
    assert [point.forces.any() for point in find(store)] == [False, False]
    write_points(path, [make_point()])
    assert import_labels(store, [path], own, replace=Replacement("Ada", "moments")).replaced == 1
    (only,) = find(store)
    assert (only.verdict, len(only.source["replaced"])) == ("accepted", 2)


def test_a_disagreeing_label_is_not_salvaged(store, tmp_path):
    store.put_point(make_point())
    path = tmp_path / "a.extxyz"
    write_points(path, [make_point(magmoms_out=[1.8, 1.8, 0.1, 0.1], total_moment=4.0)])
    assert import_labels(store, [path], own).disagreeing.count == 1
    assert store.points.count() == 1


def test_differences_of_levels_are_no_labels(store, tmp_path):
    path = tmp_path / "a.extxyz"
    delta = delta_point(make_point(), make_point(level_of_theory={"code": "other"}))
    write_points(path, [delta])
    assert import_labels(store, [path], own).refused["a difference of two levels"].count == 1
    small = OURS.model_copy(update={"free_energy": None, "energy": "energy"})
    assert import_labels(store, [path], foreign(small, LEVEL)).refused["a difference of two levels"].count == 1
    assert store.points.count() == 0


def level(**changes):
    return ImportLevel(level_of_theory={**LEVEL.level_of_theory, **changes})


def test_600_and_600_dot_0_are_one_level(store, tmp_path):
    path = tmp_path / "a.extxyz"
    write_points(path, [make_point()])
    theory = {**LEVEL.level_of_theory, "ecut": 600.0}
    store.put_point(make_point(shift=0.1, level_of_theory=theory))
    report = import_labels(store, [path], foreign(OURS, LEVEL))
    (known,) = store.points.distinct("level_id")
    assert (report.levels, report.doubts) == ([known], [])
    assert json.dumps([point.level_of_theory["ecut"] for point in find(store)]) == "[600.0, 600.0]"


def test_an_export_keeps_its_level_and_another_spelling_is_told(store, tmp_path):
    path = tmp_path / "a.extxyz"
    write_points(path, [make_point(level_of_theory={**LEVEL.level_of_theory, "ecut": 600.0})])
    import_labels(store, [path], foreign(OURS, LEVEL))
    for convert in (own, foreign(OURS, level(ecut="600")), foreign(OURS, level(functional="pbe+U"))):
        (doubt,) = import_labels(store, [path], convert).doubts
        assert f"differs from {LEVEL_ID}" in doubt
    assert len(store.points.distinct("level_id")) == 4
    assert import_labels(store, [path], foreign(OURS, level(ecut=700))).doubts == []


def test_names_that_mongodb_does_not_take_are_refused(store, tmp_path):
    path = tmp_path / "a.extxyz"
    write_points(path, [make_point(deformation_parameters={"in\0side": 1.0}), make_point(shift=0.1)])
    report = import_labels(store, [path], own)
    assert report.accepted == 1
    assert report.refused["not storable"].count == 1


def test_frames_of_others_are_no_labels_of_ours(store, tmp_path):
    path = tmp_path / "a.extxyz"
    ase.io.write(path, ase.Atoms("NiO", cell=[3, 3, 3], pbc=True), format="extxyz")
    report = import_labels(store, [path], own)
    assert report.refused["no label of ours"].count == 1
    assert "--mapping and --level" in report.refused["no label of ours"].examples[0]


def test_names_of_orderings_come_from_the_namer_where_the_file_has_none(store, tmp_path):
    path = tmp_path / "a.extxyz"
    write_points(path, [make_point()])
    described = ImportMapping(layout="spinmultinet", moment_role="guess", ordering=None)
    import_labels(store, [path], foreign(described, LEVEL, lambda config: f"named {config.formula}"))
    assert next(find(store)).ordering == "named NiO"
    import_labels(store, [path], foreign(described, LEVEL.model_copy(update={"engine": "x"})))
    with open_store("memory:") as other:
        import_labels(other, [path], foreign(described, LEVEL))
        assert next(find(other)).ordering == "AFM[+-]"


@pytest.mark.parametrize("missing", ["code", "functional", "hubbard_u", "ecut", "kpts"])
def test_a_level_of_theory_has_to_be_complete(missing):
    level = {key: value for key, value in LEVEL.level_of_theory.items() if key != missing}
    with pytest.raises(ValidationError, match=rf"state {missing}; write for example"):
        ImportLevel(level_of_theory=level)


def test_a_level_of_theory_has_to_be_storable():
    with pytest.raises(ValidationError, match="only texts, numbers"):
        ImportLevel(level_of_theory={**LEVEL.level_of_theory, "smearing": float("inf")})


def test_a_missing_file_is_an_error(store, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        import_labels(store, [tmp_path / "a.extxyz"], own)


def shared(name):
    folder = os.environ.get("SPINMULTINET_TEST_DATA")
    path = Path(folder or ".") / "data" / name
    if folder is None or not path.is_file():
        pytest.skip(f"SPINMULTINET_TEST_DATA names no folder with data/{name}")
    return path


def test_the_pool_of_gpaw_labels(store):
    keys = {"cell": "parent", "parent": None, "pair_id": None, "deformation_parameters": "parameters"}
    described = ImportMapping(layout="spinmultinet", moment_role="guess", wall_seconds="seconds", **keys)
    report = import_labels(store, [shared("gpaw_pool.extxyz")], foreign(described, LEVEL))
    assert (report.frames, report.accepted + report.rejected, report.not_in) == (205, 205, 0)
    assert report.doubts == []
    sizes = [len(list(store.points.query({"pair_id": name}))) for name in store.points.distinct("pair_id")]
    frames = ase.io.read(shared("gpaw_pool.extxyz"), ":")
    names = [atoms.info["pair_id"] for atoms in frames]
    assert sorted(sizes) == sorted(names.count(name) for name in set(names))
    assert {p.cell for p in find(store)} == {"rhombohedral4", "tetragonal4"}


@pytest.mark.parametrize(
    ("mistake", "outliers"),
    [
        ({"stress_sign": "vasp"}, 107),
        ({"units": UnitOptions(force="Ry/Bohr")}, 104),
        ({"units": UnitOptions(force="meV/Angstrom")}, 69),
        ({"units": UnitOptions(stress="GPa")}, 91),
    ],
)
def test_the_pool_with_another_unit_or_sign_is_doubted(store, mistake, outliers):
    """The counts are told in docs/import-and-costs.md."""
    keys = {"cell": "parent", "parent": None, "pair_id": None, "deformation_parameters": "parameters"}
    described = ImportMapping(layout="spinmultinet", moment_role="guess", **mistake, **keys)
    report = import_labels(store, [shared("gpaw_pool.extxyz")], foreign(described, LEVEL))
    (doubt,) = report.doubts
    assert f"{outliers} of 205 labels do not fit" in doubt


def test_non_collinear_labels_of_deepspin(store):
    described = ImportMapping(layout="deepspin", moment_role="constraint")
    path = shared("nio_noncollinear_deepspin.extxyz")
    report = import_labels(store, [path], foreign(described, LEVEL))
    assert (report.accepted, report.without_stress, report.not_in) == (52, 52, 0)
    first, atoms = next(find(store)), ase.io.read(path, 0)
    np.testing.assert_array_equal(first.magmoms_out, atoms.arrays["magmom_in"])
    np.testing.assert_array_equal(first.magnetic_forces, atoms.arrays["magnetic_forces"])
    assert first.moment_role == "constraint"
    relaxed = described.model_copy(update={"moment_role": "guess"})
    with pytest.raises(ValidationError, match="moment_role: constraint"):
        ImportMapping(**relaxed.model_dump(exclude_unset=True))
