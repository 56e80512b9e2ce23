"""Damage in jobs and in the notes of ingest: each kind is found, named, and ends in one clear error elsewhere."""

import contextlib
import json
import sqlite3

import pytest

from datastore.checksums import checksum
from datastore.costs import ledger
from datastore.decisions import affected, decide, decisions
from datastore.errors import DataError
from datastore.ingest import ingest, rejudge
from datastore.queries import find, levels_of, stats
from datastore.snapshot import make_snapshot
from datastore.stores import open_store
from datastore.verify import verify
from datastore.verify_jobs import job_problems, marker_problems
from tests.datastore.support import make_failure, make_point
from tests.datastore.test_ingest import run

DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "null": lambda text: "null",
    "list": lambda text: "[1,2]",
    "empty": lambda text: "{}",
    "number": lambda text: "5",
    "digit": lambda text: text.replace("2", "3", 1),
    "unknown text": lambda text: text[:-1] + ',"z":"\\ud800"}',
    "other types": lambda text: json.dumps({k: "x" if isinstance(v, int | float) else 5 for k, v in _items(text)}),
    "every other key": lambda text: json.dumps(dict(_items(text)[1::2])),
}
USES = {
    "ingest": ingest,
    "rejudge": rejudge,
    "stats": stats,
    "find": lambda store: list(find(store)),
    "ledger": ledger,
    "affected": lambda store: affected(store, ["p"]),
    "decisions": lambda store: list(decisions(store)),
    "levels": levels_of,
}


def _items(text):
    return list(json.loads(text).items())


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A store of three labels, a failure, a snapshot and a decision, closed; nothing in it is damaged."""
    folder = tmp_path_factory.mktemp("sound")
    points = [make_point(shift=0.1 * i) for i in range(3)]
    with open_store(f"local:{folder}") as store:
        run(store, *(p.to_document() for p in points), make_failure(shift=3.0).to_document())
        ingest(store)
        make_snapshot(store, folder / "snapshots")
        decide(store, [points[0].point_id], "retract", "Ada", "k mesh")
        assert verify(store).problems == []
    return (folder / "store.sqlite").read_bytes()


@pytest.fixture
def store(sound, tmp_path):
    (tmp_path / "store.sqlite").write_bytes(sound)
    with open_store(f"local:{tmp_path}") as opened:
        yield opened


def damage(store, table, kind):
    """False where SQLite itself refuses such a row, because an index is on it."""
    with sqlite3.connect(store.points.path) as database:
        rows = database.execute(f"SELECT id, doc FROM {table} ORDER BY id").fetchall()
        row, text = rows[len(rows) // 2]
        try:
            database.execute(f"UPDATE {table} SET doc = ? WHERE id = ?", (DAMAGE[kind](text), row))
        except sqlite3.OperationalError:
            return False
    return True


@pytest.mark.parametrize("kind", sorted(DAMAGE))
@pytest.mark.parametrize("table", ["points", "failures", "decisions", "snapshots", "jobs", "ingested"])
def test_damage_is_found_and_ends_in_no_traceback(store, table, kind):
    if not damage(store, table, kind):  # SQLite refuses such a row, because an index is on it
        assert verify(store).problems == []
        return
    assert table in {problem.collection for problem in verify(store).problems}
    for use in USES.values():
        with contextlib.suppress(DataError):
            use(store)


def test_a_damaged_output_names_the_label_and_what_has_seen_it(store):
    (job, *_) = store.jobs.query({})
    job["output"]["lattice"][0][0] += 0.2
    store.jobs.update(job)
    (problem,) = verify(store).problems
    assert "does not follow from its content: config_id, point_id" in problem.what
    assert (problem.name, problem.point_ids) == (job["uuid"], [job["output"]["point_id"]])
    assert [used.kind for used in problem.used_in] == ["snapshot"]


def test_outputs_with_a_checksum_show_a_changed_energy():
    output = make_point().to_document()
    job = {"uuid": "j", "index": 1, "completed_at": "1", "output": {**output, "checksum": checksum(output)}}
    assert list(job_problems(job)) == []
    ((what, point_id),) = job_problems({**job, "output": {**job["output"], "energy": -25.3}})
    assert "checksum differs" in what
    assert point_id == output["point_id"]


def test_jobs_of_other_kinds_and_waiting_ones_are_sound():
    assert list(job_problems({"uuid": "j", "index": 1})) == []
    assert list(job_problems({"uuid": "j", "index": 1, "completed_at": "1", "output": {"workdir": "x"}})) == []
    assert [what for what, _ in job_problems({"index": 1.5})] == [
        "'uuid' is missing or no str",
        "'index' is missing or no int",
    ]


def test_notes_of_ingest_have_groups():
    marker = {"source": "j:1", "completed_at": "1", "groups": [["NiO", "c", "FM", "guess", "l"]], "judged": True}
    assert list(marker_problems(marker)) == []
    assert list(marker_problems({**marker, "groups": [["NiO", 3]]})) == ["a group in it is none"]


def test_a_note_of_a_job_that_is_not_there_is_found(store):
    (note, *_) = store.ingested.query({})
    store.ingested.update({**note, "source": "import:0123"})
    assert verify(store).problems == []
    store.ingested.update({**note, "source": "gone:1"})
    (problem,) = verify(store).problems
    assert (problem.collection, problem.name, problem.what) == ("ingested", "gone:1", "notes a job that is not there")


@pytest.mark.parametrize("field", ["lattice", "energy"])
def test_no_training_set_holds_a_label_with_a_changed_digit(store, tmp_path, field):
    def change(text):
        document = json.loads(text)
        value = document[field]
        return json.dumps({**document, field: value + 0.1 if field == "energy" else [[9.0, 0, 0], *value[1:]]})

    with sqlite3.connect(store.points.path) as database:
        row, text = database.execute("SELECT id, doc FROM points ORDER BY id DESC").fetchone()
        database.execute("UPDATE points SET doc = ? WHERE id = ?", (change(text), row))
    with pytest.raises(DataError, match=json.loads(text)["point_id"] + r".* checksum differs; restore"):
        make_snapshot(store, tmp_path / "new")
    assert list((tmp_path / "new").glob("*")) == []
