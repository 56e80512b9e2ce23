"""Import into a store in memory: round trips, duplicates, disagreements, real data of others."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from datastore import open_store
from datastore.atoms import write_points
from datastore.converters import ImportLevel, foreign, own
from datastore.decisions import decide
from datastore.importing import CHUNK, import_labels
from datastore.mapping import ImportMapping
from datastore.quality import judge
from datastore.queries import find
from datastore.schema import content_hash
from datastore.verify import verify
from tests.datastore.support import make_failure, make_point, points

LEVEL = ImportLevel(
    level_of_theory={"code": "VASP", "functional": "PBE+U", "hubbard_u": {"Ni": 5.3}, "ecut": 600, "kpts": "unknown"},
    licence="CC-BY-4.0",
)
OURS = ImportMapping(layout="spinmultinet", moment_role="guess")


LEVEL_ID = content_hash(LEVEL.level_of_theory, 16)


@pytest.fixture
def store():
    with open_store("memory:") as opened:
        yield opened


def stripped(point):
    """What an import may not change."""
    found_again = {"excitation": None, "ground": ""}  # against the labels of the other store
    return judge(point).model_copy(update={"source": {}, **found_again}).to_document()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(point=points())
def test_an_export_comes_back_to_the_bit(point, tmp_path):
    path = tmp_path / "a.extxyz"
    write_points(path, [point])
    with open_store("memory:") as store:
        report = import_labels(store, [path], own)
        assert report.not_in == 0
        (found,) = find(store)
    assert stripped(found) == stripped(point)
    assert found.source["file"] == "a.extxyz"


@pytest.mark.parametrize(("action", "verdict"), [("retract", "rejected"), ("accept", "accepted")])
def test_decisions_by_hand_go_with_an_export(store, tmp_path, action, verdict):
    label = make_point(magmoms_out=[1.8, 0.1, 0, 0]) if action == "accept" else make_point()
    store.put_point(judge(label))
    exported = decide(store, [label.point_id], action, "Ada", "the DOS: looked at")[label.point_id]
    write_points(tmp_path / "a.extxyz", [exported])
    with open_store("memory:") as other:
        for _ in range(2):
            report = import_labels(other, [tmp_path / "a.extxyz"], own)
            assert report.not_in == 0
            found = other.get_point(label.point_id)
            assert (found.verdict, found.decision) == (verdict, exported.decision)
            assert (found.verdict_reasons, found.overruled) == (exported.verdict_reasons, exported.overruled)
            assert other.decisions.count() == 1
        assert verify(other).problems == []
        restored = decide(other, [label.point_id], "restore", "Bob", "no")[label.point_id]
        assert restored.verdict == judge(label).verdict


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(point=points())
def test_numbers_come_through_a_mapping_to_the_bit(point, tmp_path):
    size = len(point.species) ** (1 / 3)
    plausible = {"lattice": point.lattice * 0.75 * size, "stress": point.stress / 4000, "moment_role": "guess"}
    plausible["occupations"] = ""  # part of the configuration, for which the mapping has no name
    plausible |= {name: np.clip(getattr(point, name), -10, 10) for name in ("magmoms_in", "magmoms_out")}
    sites = np.arange(len(point.species))[:, None] / len(point.species)  # along the diagonal, apart from each other
    plausible |= {"positions": sites @ np.ones((1, 3)) @ plausible["lattice"] + point.positions * 1e-4}
    point = point.model_copy(update=plausible)
    path = tmp_path / "a.extxyz"
    write_points(path, [point])
    with open_store("memory:") as store:
        report = import_labels(store, [path], foreign(OURS, LEVEL))
        assert not report.refused
        (found,) = find(store)
    for name in ("lattice", "positions", "magmoms_in", "magmoms_out", "forces", "stress", "magnetic_forces"):
        np.testing.assert_array_equal(getattr(found, name), getattr(point, name))
    for name in ("species", "energy", "free_energy", "total_moment", "band_gap", "config_id"):
        assert getattr(found, name) == getattr(point, name)
    assert found.ordering == point.ordering or not point.ordering


def test_an_import_records_where_it_came_from(store, tmp_path):
    path = tmp_path / "a.extxyz"
    write_points(path, [make_point(), make_point(shift=0.1)])
    report = import_labels(store, [path], foreign(OURS, LEVEL, campaign="others"))
    assert (report.frames, report.accepted, report.not_in, report.levels) == (2, 2, 0, [next(find(store)).level_id])
    second = list(find(store))[1]
    assert second.engine == "VASP"
    assert second.campaign == "others"
    assert second.level_of_theory == LEVEL.level_of_theory
    assert second.source["frame"] == 1
    assert second.source["licence"] == "CC-BY-4.0"
    assert len(second.source["sha256"]) == 64
    assert "citation" not in second.source


def test_twice_is_once(store, tmp_path):
    path = tmp_path / "a.extxyz"
    write_points(path, [make_point(), make_point(shift=0.1), make_point()])
    first = import_labels(store, [path], own)
    assert (first.accepted, first.present) == (2, 1)
    before = list(store.points.query({}))
    again = import_labels(store, [path], own)
    assert (again.accepted, again.present, again.not_in) == (0, 3, 0)
    assert list(store.points.query({})) == before


def test_a_disagreement_is_told_and_the_first_label_stays(store, tmp_path):
    store.put_point(make_point())
    path = tmp_path / "a.extxyz"
    write_points(path, [make_point(energy=-25.3), make_point(energy=-25.4 + 1e-8)])
    report = import_labels(store, [path], own)
    assert (report.disagreeing.count, report.present, report.not_in) == (1, 1, 1)
    assert "frame 0: energy differs by 0.1" in report.disagreeing.examples[0]
    assert next(find(store)).energy == -25.4


def test_the_rules_judge_imported_labels(store, tmp_path):
    path = tmp_path / "a.extxyz"
    write_points(path, [make_point(magmoms_out=[1.8, 1.8, 0.1, 0.1]), make_point(shift=0.1)])
    report = import_labels(store, [path], own)
    assert (report.accepted, report.rejected, report.not_in) == (1, 1, 0)
    assert report.verdict_reasons == {"flipped": 1}
    flipped = next(find(store, verdict="rejected"))
    assert flipped.ordering == "AFM-II"


def test_flipped_labels_are_salvaged_until_a_real_label_comes(store, tmp_path):
    flipped, real = tmp_path / "flipped.extxyz", tmp_path / "real.extxyz"
    write_points(flipped, [make_point(magmoms_out=[1.8, 1.8, 0.1, 0.1], total_moment=4.0)])
    assert import_labels(store, [flipped], own).salvaged == 1
    (copy,) = find(store, verdict="accepted")
    assert (copy.ordering, copy.source["frame"], copy.magmoms_in.tolist()) == ("FM", 0, [2.5, 2.5, 0, 0])
    again = import_labels(store, [flipped], own)
    assert (again.present, again.salvaged, store.points.count()) == (1, 0, 2)
    ferro = {"magmoms_in": [2.5, 2.5, 0, 0], "magmoms_out": [1.8, 1.8, 0.1, 0.1], "total_moment": 4.0}
    write_points(real, [make_point(**ferro, ordering="FM", energy=-25.42, free_energy=-25.52)])
    assert import_labels(store, [real], own).accepted == 1
    (only,) = find(store, verdict="accepted")
    assert (only.energy, only.salvaged_from) == (-25.42, "")


def test_outliers_of_the_group_are_rejected(store, tmp_path):
    path = tmp_path / "a.extxyz"
    labels = [make_point(shift=0.01 * i, energy=-25.4 + 0.001 * i, free_energy=-25.4 + 0.001 * i) for i in range(12)]
    write_points(path, [*labels, make_point(shift=0.5, energy=-15.0, free_energy=-15.0)])
    report = import_labels(store, [path], own)
    assert report.outliers == 1
    assert next(find(store, verdict="rejected")).energy == -15.0


def test_of_several_starts_in_a_file_the_lowest_is_kept(store, tmp_path):
    higher = make_point(magmoms_in=[1.0, -1.0, 0, 0], energy=-25.36, free_energy=-25.46, start="low")
    write_points(tmp_path / "a.extxyz", [make_point(), higher])
    report = import_labels(store, [tmp_path / "a.extxyz"], own)
    assert (report.accepted, report.metastable) == (2, 1)
    found = store.get_point(higher.point_id)
    assert (found.ground, found.excitation) == (make_point().point_id, pytest.approx(0.01))
    write_points(tmp_path / "b.extxyz", [found])  # an export of it alone is an ordinary label elsewhere
    with open_store("memory:") as other:
        import_labels(other, [tmp_path / "b.extxyz"], own)
        alone = other.get_point(higher.point_id)
        assert (alone.verdict, alone.ground, alone.excitation) == ("accepted", "", None)


def test_a_kill_before_judgement_is_made_up_for(store, tmp_path, monkeypatch):
    path = tmp_path / "a.extxyz"
    labels = [make_point(shift=0.01 * i, energy=-25.4 + 0.001 * i, free_energy=-25.4 + 0.001 * i) for i in range(12)]
    write_points(path, [*labels, make_point(shift=0.5, energy=-15.0, free_energy=-15.0)])

    def killed(documents):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.ingested, "update", killed)
        with pytest.raises(KeyboardInterrupt):
            import_labels(store, [path], own)
    assert store.points.count() == 13
    report = import_labels(store, [path], own)
    assert (report.present, report.outliers) == (13, 1)


def test_a_label_takes_the_place_of_a_failure(store, tmp_path):
    store.put_failure(make_failure())
    path = tmp_path / "a.extxyz"
    write_points(path, [make_point()])
    import_labels(store, [path], own)
    assert store.failures.count() == 0


def test_many_frames_go_in_by_chunks(store, tmp_path):
    path = tmp_path / "a.extxyz"
    number = 2 * CHUNK + 7
    write_points(path, [make_point(shift=1e-4 * i) for i in range(number)])
    seen = []
    report = import_labels(store, [path], own, lambda file, share: seen.append((file, share)))
    assert report.accepted == store.points.count() == number
    assert len(seen) == 3
    assert seen[-1] == (path, 1.0)
    assert sorted(share for _, share in seen) == [share for _, share in seen]


def test_refusals_are_counted_with_examples(store, tmp_path):
    path = tmp_path / "a.jsonl"
    good = {"species": ["Ni", "O"], "lattice": (np.eye(3) * 3).tolist(), "positions": [[0, 0, 0], [1.5, 0, 0]]}
    good |= {"energy": -12.0, "forces": [[0, 0, 0], [0, 0, 0]], "initial_magmoms": [2, 0], "magmoms": [1.8, 0]}
    bad = [{**good, "energy": None}] * 5 + [{**good, "magmoms": [[1, 2, 3], [1, 2, 3]]}, {**good, "energy": 1e9}]
    path.write_text("\n".join(json.dumps(row) for row in [good, *bad]) + "\n{broken\n")
    report = import_labels(store, [path], foreign(ImportMapping(moment_role="guess"), LEVEL))
    assert report.frames == 9
    assert report.accepted == 1
    counts = {reason: refusals.count for reason, refusals in report.refused.items()}
    assert counts == {"no energy": 5, "wrong shape": 1, "implausible energy": 1, "unreadable": 1}
    assert len(report.refused["no energy"].examples) == 3
    assert "frame 1" in report.refused["no energy"].examples[0]
    point = next(find(store))
    assert point.stress is None
    assert (point.ordering, point.deformation, point.total_moment) == ("FM", "unknown", 1.8)
    assert report.one_energy == report.without_stress == 1
