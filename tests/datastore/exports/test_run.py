"""Every format that can be read again: export and import of arbitrary labels, and of the committed PBE+U labels."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datastore import open_store
from datastore.atoms import atoms_to_point
from datastore.converters import ImportLevel, checked, foreign, own
from datastore.errors import DataError
from datastore.exports.labels import Labelled
from datastore.exports.run import FORMATS, export, format_of
from datastore.exports.sources import Source, of_store
from datastore.frames import read_frames
from datastore.importing import import_labels
from datastore.mapping import ImportMapping
from datastore.schema import SpinPoint
from tests.datastore.support import make_point, points

ROOT = Path(__file__).resolve().parents[3]
GPAW = ROOT / "tests" / "data" / "gpaw_nio_mno.extxyz"
MAPPING = ImportMapping(
    layout="spinmultinet",
    moment_role="guess",
    cell="parent",
    parent=None,
    pair_id=None,
    deformation_parameters="parameters",
)
LEVEL = ImportLevel(
    level_of_theory={
        "code": "GPAW",
        "functional": "PBE+U",
        "hubbard_u": {"Ni": 6.2, "Mn": 3.9},
        "ecut": 700,
        "kpts": "4x4x2 and 4x4x3",
    },
    licence="CC-BY-4.0",
    citation="A. Author, 2026",
)
LOSSLESS = ["a.extxyz", "a.db", "systems", "a.h5", "a.json"]
BY_KEYS = [("a.extxyz", keys) for keys in ("mace", "nequip", "chgnet", "sevennet")]
needs_h5py = {"a.h5": "h5py"}


def source_of(labels):
    """Labels of whatever levels as if they were of one; what a store would give is tested below."""
    one = labels[0].point
    return Source("test", one.level_id, "test", one.level_of_theory, len(labels), lambda split: iter(labels))


def written(labels, folder, name, keys=""):
    if name in needs_h5py:
        pytest.importorskip(needs_h5py[name])
    out = folder / name
    kind = "deepmd" if name == "systems" else format_of(out)
    export(source_of(labels), out, kind, keys)
    return out


def documents(path):
    return [own_document(frame) for frame in read_frames(path)]


def own_document(frame):
    """The label as it stands in the file, before it is judged anew."""
    assert not frame.problem, frame.problem
    if frame.document is not None:
        return SpinPoint.from_document(frame.document).to_document()
    return atoms_to_point(frame.atoms).to_document()


@pytest.mark.parametrize(("name", "keys"), [*((name, "") for name in LOSSLESS), *BY_KEYS])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(points(), min_size=1, max_size=3), stress=st.booleans())
def test_any_label_comes_back_to_the_bit(made, stress, name, keys, tmp_path_factory):
    made = made if stress else [point.model_copy(update={"stress": None}) for point in made]
    labels = [Labelled(point, "train") for point in made]
    path = written(labels, tmp_path_factory.mktemp("export"), name, keys)
    found = documents(path)
    key = "point_id"
    assert sorted(found, key=lambda d: d[key]) == sorted((p.to_document() for p in made), key=lambda d: d[key])


@pytest.fixture(scope="module")
def gpaw(tmp_path_factory):
    """Place of a store with the PBE+U labels of tests/data, one of them rejected by hand."""
    from datastore.decisions import decide

    place = f"local:{tmp_path_factory.mktemp('gpaw')}"
    with open_store(place) as store:
        import_labels(store, [GPAW], foreign(MAPPING, LEVEL))
        decide(store, [store.points.query_one({"ordering": "FM"})["point_id"]], "reject", "Ada", "not believed")
    return place


@pytest.mark.parametrize(("name", "keys"), [*((name, "") for name in LOSSLESS), ("a.extxyz", "nequip")])
def test_real_labels_go_from_store_to_store(gpaw, name, keys, tmp_path):
    if name in needs_h5py:
        pytest.importorskip(needs_h5py[name])
    out = tmp_path / name
    with open_store(gpaw) as store, open_store(f"local:{tmp_path / 'other'}") as other:
        source = of_store(store, {}, rejected=True)
        assert export(source, out, "deepmd" if name == "systems" else format_of(out), keys).labels == 125
        report = import_labels(other, [out], own)
        assert report.frames == report.accepted + report.rejected == 125
        assert not report.not_in
        kept = ("last_updated", "checksum", "_id", "source")
        first, second = (
            {d["point_id"]: {k: v for k, v in d.items() if k not in kept} for d in s.points.query({})}
            for s in (store, other)
        )
        assert first == second
        assert {d["verdict"] for d in first.values()} == {"accepted", "rejected"}
        assert {"Ada"} == {d["author"] for d in other.decisions.query({})}


@pytest.mark.parametrize("keys", ["", "chgnet"])
def test_a_store_of_two_levels_has_to_be_asked_for_one(tmp_path, keys):
    with open_store("memory:") as store:
        for theory in ({"code": "A", "ecut": 1}, {"code": "B", "ecut": 1}):
            store.put_point(make_point(level_of_theory=theory))
        with pytest.raises(DataError, match=r"must not be mixed; choose --level: .*A-1eV"):
            of_store(store, {})
        source = of_store(store, {}, "B-1eV")
        assert export(source, tmp_path / "b.extxyz", keys=keys).labels == 1
        with pytest.raises(DataError, match="no label at level of theory 'C'"):
            of_store(store, {}, "C")
        with pytest.raises(DataError, match="no label matches"):
            of_store(store, {"ordering": "FM"})


def test_formats_by_suffix():
    assert {format_of(Path(f"a{f.suffixes[0]}")) for f in FORMATS.values() if f.suffixes} == set(FORMATS) - {"deepmd"}
    assert format_of(Path("a.txt"), "csv") == "csv"
    with pytest.raises(DataError, match=r"the name tells no format; state --format: extxyz \(.extxyz .xyz\)"):
        format_of(Path("a.txt"))
    with pytest.raises(DataError, match="there is no format 'lmdb'"):
        format_of(Path("a.txt"), "lmdb")


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    labels = [Labelled(make_point())]
    with pytest.raises(DataError, match="format csv has no keys 'mace'; it has: none"):
        export(source_of(labels), tmp_path / "a.csv", "csv", "mace")
    with pytest.raises(DataError, match="labels of a store have no splits"):
        export(source_of(labels), tmp_path / "a.csv", "csv", splits="files")
    with pytest.raises(DataError, match="is there already, as a folder"):
        export(source_of(labels), tmp_path, "deepmd")

    def broken(split):
        yield labels[0]
        raise DataError("gone")

    (tmp_path / "a.json").write_text("old")
    for name, kind in [("a.json", "pymatgen"), ("systems", "deepmd"), ("a.db", "ase"), ("a.extxyz", "extxyz")]:
        with pytest.raises(DataError, match="gone"):
            export(Source("test", "", "", {}, 1, broken), tmp_path / name, kind)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_differences_of_two_levels_are_not_taken_in(tmp_path):
    from datastore.levels import delta_point

    other = make_point(level_of_theory={"code": "B"})
    out = written([Labelled(delta_point(make_point(), other))], tmp_path, "a.json")
    (frame,) = read_frames(out)
    with pytest.raises(DataError, match="a difference of two levels"):
        checked(frame, own, "here")


def test_damaged_files_name_what_is_wrong(tmp_path):
    out = written([Labelled(make_point())], tmp_path, "a.json")
    out.write_text(out.read_text().replace('"spinmultinet"', '"other"'))
    with pytest.raises(DataError, match=r"a\.json, line 2 is damaged"):
        list(read_frames(out))
    systems = written([Labelled(make_point())], tmp_path, "systems")
    (systems / "NiO-4" / "set.000" / "labels.jsonl").write_text("")
    with pytest.raises(DataError, match=r"set\.000 is damaged"):
        list(read_frames(systems))


def test_json_is_plain_json(tmp_path):
    out = written([Labelled(make_point()), Labelled(make_point(shift=0.1))], tmp_path, "a.json")
    assert [np.array(entry["forces"]).shape for entry in json.loads(out.read_text())] == [(4, 3), (4, 3)]


def splits_of(points):
    labels = [Labelled(point, split) for point, split in points]

    def chosen(split):
        return iter([one for one in labels if not split or one.split == split])

    first = points[0][0]
    return Source("s", first.level_id, "level", first.level_of_theory, len(labels), chosen, snapshot_id="s")


def test_a_split_that_is_empty_now_has_no_file_of_before(tmp_path):
    train, held = (make_point(), "train"), (make_point(shift=0.1), "test")
    out = tmp_path / "a.extxyz"
    assert len(export(splits_of([train, held]), out, splits="files").files) == 2
    assert [path.name for path in export(splits_of([train]), out, splits="files").files] == ["a-train.extxyz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-train.extxyz", "a.extxyz.card.md"]


@pytest.mark.parametrize("step", [0, 1])
def test_a_kill_leaves_no_card_of_other_files(tmp_path, monkeypatch, step):
    out = tmp_path / "a.csv"
    export(splits_of([(make_point(), "train")]), out)
    before, replace, calls = out.read_bytes(), os.replace, []

    def killed(*paths):
        calls.append(paths)
        if len(calls) > step:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        export(splits_of([(make_point(shift=0.1), "train")]), out)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (out.read_bytes() == before) == (step == 0)
