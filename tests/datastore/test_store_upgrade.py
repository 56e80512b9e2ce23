"""Documents as earlier versions wrote them become documents of this one, whatever happens on the way."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datastore import store_upgrade
from datastore import upgrade as steps
from datastore.checksums import is_damaged, sealed
from datastore.queries import find
from datastore.schema import SEARCH, Decision, SpinPoint
from datastore.select import count
from datastore.store_upgrade import upgrade_store
from datastore.stores import open_store, stamped
from datastore.upgrade import parse
from datastore.verify import verify
from tests.datastore.support import KINDS, make_failure, make_point, new_store

ROOT = Path(__file__).parents[2]
POINTS = [make_point(shift=0.01 * i) for i in range(7)]


def written_before(point, **changes):
    """As versions before `search` wrote a label."""
    document = {key: value for key, value in stamped(point.to_document()).items() if key != SEARCH} | changes
    return sealed(document)


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    with new_store(request.param, tmp_path) as opened:
        opened.points.update([written_before(point) for point in POINTS])
        opened.points.update(POINTS[0].to_document())  # the very first versions stored no checksum
        opened.put_failure(make_failure(shift=0.9))
        opened.log_decision(
            Decision(point_id=POINTS[1].point_id, action="restore", author="A", reason="b", created="now")
        )
        opened.ingested.update({"source": "import:a", "completed_at": "", "groups": [], "judged": True})
        yield opened


def content(store):
    return {d["point_id"]: {k: v for k, v in d.items() if k != "_id"} for d in store.points.query({})}


def test_upgrade(store):
    before = content(store)
    counted = upgrade_store(store, dry_run=True)
    assert content(store) == before
    shares = []
    report = upgrade_store(store, progress=shares.append)
    assert counted.upgraded == report.upgraded
    assert (report.upgraded["points"], report.upgraded["failures"], report.upgraded["ingested"]) == (7, 0, 1)
    assert (report.damaged, report.changed_meanwhile) == ([], 0)
    assert shares[-1] == 1.0
    after = content(store)
    for point_id, document in after.items():
        assert not is_damaged(document)
        assert "checksum" in document
        assert document.get("last_updated") == before[point_id].get("last_updated")
        assert parse(SpinPoint, document) == parse(SpinPoint, before[point_id])
    assert count(store, "fmax<1") == 7
    assert verify(store).problems == []
    assert sum(upgrade_store(store).upgraded.values()) == 0
    assert content(store) == after


def test_from_one_version_to_the_next(store, monkeypatch):
    """As with a schema of version 2, whose step renames an ordering."""
    upgrade_store(store)
    renamed = {1: lambda d: {**d, "ordering": "II"} if "ordering" in d else d}
    monkeypatch.setattr(steps.upgrade_document, "__defaults__", (renamed, 2))
    monkeypatch.setattr(store_upgrade, "SCHEMA_VERSION", 2)
    before = content(store)
    report = upgrade_store(store)
    assert {name: number for name, number in report.upgraded.items() if number} == {
        "points": 7,
        "failures": 1,
        "decisions": 1,
        "ingested": 1,
    }
    for point_id, document in content(store).items():
        assert (document["schema_version"], document["ordering"]) == (2, "II")
        assert document["last_updated"] == before[point_id]["last_updated"] if point_id != POINTS[0].point_id else True
        assert not is_damaged(document)
    assert {point.ordering for point in find(store)} == {"II"}
    assert [d["decision_id"] for d in store.decisions.query({})] == [store.decision_on(POINTS[1].point_id).decision_id]
    assert sum(upgrade_store(store).upgraded.values()) == 0


def test_what_is_damaged_is_named_and_left(store):
    store.points.update(written_before(POINTS[2]) | {"energy": 1.0})
    store.points.update(sealed({**POINTS[3].to_document(), "level_id": "0" * 16}))
    store.points.update({"point_id": "foreign", "a": 1})
    before = content(store)
    report = upgrade_store(store)
    after = content(store)
    assert len(report.damaged) == 3
    for name in (POINTS[2].point_id, POINTS[3].point_id, "foreign"):
        assert any(name in line for line in report.damaged)
        assert after[name] == before[name]
    assert report.upgraded["points"] == 5


def test_a_row_that_is_no_json_hides_no_other(tmp_path):
    with new_store("local", tmp_path) as store:
        store.points.update([written_before(point) for point in POINTS])
        raw = store.points._collection
        for (index,) in raw.execute(
            "SELECT name FROM sqlite_master WHERE type='index' AND tbl_name='points'"
        ).fetchall():
            raw.execute(f"DROP INDEX {index}")
        raw.execute("UPDATE points SET doc = '{broken' WHERE id = 3")
        assert upgrade_store(store, dry_run=True).damaged == [
            "points row 3: is no JSON; look for damage with: spinmultinet data verify PLACE"
        ]


def test_a_label_that_is_written_meanwhile_is_not_overwritten(store, monkeypatch):
    newer = POINTS[4].model_copy(update={"campaign": "newer"})
    upgraded = store_upgrade.upgraded

    def with_a_writer(document, kind):
        if document.get("point_id") == POINTS[4].point_id and document.get("campaign") == "":
            store.put_point(newer)
        return upgraded(document, kind)

    if store.uri == "memory:":
        pytest.skip("memory: has one writer only")
    monkeypatch.setattr(store_upgrade, "upgraded", with_a_writer)
    report = upgrade_store(store)
    assert report.changed_meanwhile == 1
    assert store.get_point(POINTS[4].point_id) == newer


RUN = """
import sys
from datastore.store_upgrade import upgrade_store
from datastore.stores import open_store
with open_store(sys.argv[1]) as store:
    upgrade_store(store, progress=lambda share: print(share, flush=True))
"""


@pytest.mark.parametrize("steps_done", [1, 3])
def test_a_killed_upgrade_is_gone_on_with(tmp_path, steps_done):
    uri, points = f"local:{tmp_path}", [make_point(shift=1e-3 * i) for i in range(600)]
    with open_store(uri) as store:
        store.points.update([written_before(point) for point in points])
    process = subprocess.Popen([sys.executable, "-c", RUN, uri], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    for _ in range(steps_done):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open_store(uri) as store:
        done = store.points.count({"search.layout": 1})
        assert done % 100 == 0
        assert done >= 100 * (steps_done - 1)
        assert upgrade_store(store).upgraded["points"] == 600 - done
        assert [point.point_id for point in find(store)] == [point.point_id for point in points]
        assert not any(is_damaged(document) for document in store.points.query({}))
