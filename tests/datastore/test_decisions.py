"""Manual decisions: they outlive re-ingest and outlier judging, are undone without loss, and name what was trained."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.decisions import adopt, affected, apply_decisions, decide, decisions, resolve
from datastore.errors import DataError
from datastore.ingest import ingest, reject_outliers
from datastore.outliers import outlier_group
from datastore.quality import with_verdict
from datastore.schema import Decision, content_hash
from datastore.snapshot import make_snapshot
from datastore.stores import open_store
from datastore.verdicts import automatic_reasons, decided
from tests.datastore.support import make_point
from tests.datastore.test_ingest import run
from tests.datastore.test_stores import make_model


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    with open_store({"local": f"local:{tmp_path / 'data'}", "memory": "memory:"}[request.param]) as opened:
        yield opened


def fill(store):
    """Ten labels of one surface and one far above it, which is rejected."""
    labels = [make_point(shift=0.01 * i, free_energy=-25.5 + 0.001 * i) for i in range(10)]
    far = make_point(shift=0.7, free_energy=-20.0)
    run(store, *(p.to_document() for p in labels), far.to_document())
    assert ingest(store).outliers == 1
    return labels, far


def test_an_override_outlives_ingest_and_judging(store):
    labels, far = fill(store)
    good = labels[0]
    accepted = decide(store, [far.point_id], "accept", "Ada", "checked by hand")[far.point_id]
    assert (accepted.verdict, accepted.verdict_reasons) == ("accepted", [])
    assert accepted.decision.startswith("accepted by Ada on 20")
    assert "outlier" in accepted.overruled[0]
    rejected = decide(store, [good.point_id], "reject", "Bob", "k mesh")[good.point_id]
    assert rejected.verdict_reasons == [rejected.decision]
    run(store, far.to_document(), good.to_document(), start=20)
    ingest(store)
    reject_outliers(store, outlier_group(far))
    assert store.get_point(far.point_id).verdict == "accepted"
    assert store.get_point(good.point_id).verdict == "rejected"
    for point, verdict in ((far, "rejected"), (good, "accepted")):
        assert decide(store, [point.point_id], "restore", "Ada", "no")[point.point_id].verdict == verdict
    assert "outlier" in store.get_point(far.point_id).verdict_reasons[0]
    assert [d.action for d in decisions(store)] == ["accept", "reject", "restore", "restore"]


def test_an_outlier_that_is_none_any_more_is_accepted_again(store):
    lower = [make_point(shift=0.01 * i, free_energy=-25.5 + 0.001 * i) for i in range(3)]
    upper = [make_point(shift=0.1 + 0.01 * i, free_energy=-25.09 + 0.001 * i) for i in range(4)]
    run(store, *(p.to_document() for p in [*lower[:2], upper[0]]))
    assert ingest(store).outliers == 1
    assert store.get_point(upper[0].point_id).verdict == "rejected"
    run(store, *(p.to_document() for p in upper[1:]), start=5)
    ingest(store)
    assert store.get_point(upper[0].point_id).verdict == "accepted"
    assert {p.point_id for p in lower[:2] if store.get_point(p.point_id).verdict == "rejected"} == {
        p.point_id for p in lower[:2]
    }


def test_retracted_labels_enter_no_snapshot_and_models_are_named(store, tmp_path):
    labels, _ = fill(store)
    first = make_snapshot(store, tmp_path, campaign="")
    store.put_model(make_model(snapshot_id=first.snapshot_id))
    store.put_model(make_model(model_id="m2", snapshot_id="later", parents=["m1"], created="2026-01-03T00:00:00+00:00"))
    store.put_model(make_model(model_id="m3", snapshot_id="another"))
    bad = next(p for p in labels if p.point_id in first.points["train"])
    used = affected(store, decide(store, [bad.point_id], "retract", "Ada", "wrong U"))
    assert [(u.kind, u.name) for u in used] == [("snapshot", first.snapshot_id), ("model", "m1"), ("model", "m2")]
    assert used[0].how == "train"
    assert used[2].how == "candidate; started from model m1"
    assert affected(store, ["unknown"]) == []
    second = make_snapshot(store, tmp_path)
    assert bad.point_id not in {p for members in second.points.values() for p in members}
    run(store, bad.to_document(), start=30)
    ingest(store)
    assert store.get_point(bad.point_id).verdict_reasons[0].startswith("retracted by Ada")
    with pytest.raises(DataError, match="is retracted; restore it first"):
        decide(store, [bad.point_id], "accept", "Bob", "why not")
    decide(store, [bad.point_id], "restore", "Ada", "the U was right")
    assert make_snapshot(store, tmp_path).snapshot_id == first.snapshot_id


@pytest.mark.parametrize("action", ["accept", "reject", "retract"])
def test_a_decision_goes_with_an_exported_label(store, action):
    labels, far = fill(store)
    reason = "k mesh: on 2026-01-01\nof 4 points"
    exported = decide(store, [far.point_id], action, "Ada", reason)[far.point_id]
    with open_store("memory:") as other:
        judged = with_verdict(exported, automatic_reasons(exported)).model_copy(update={"decision": exported.decision})
        other.put_point(adopt(other, judged))
        assert other.get_point(far.point_id) == exported
        (decision,) = decisions(other)
        assert (decision.action, decision.author, decision.reason) == (action, "Ada", reason)
        restored = decide(other, [far.point_id], "restore", "Bob", "no")[far.point_id]
        assert (restored.verdict, restored.verdict_reasons) == ("rejected", automatic_reasons(exported))
        assert adopt(other, labels[0]) == labels[0]
        assert other.decisions.count() == 2


def test_the_newest_decision_is_in_force_whatever_the_clock_of_its_author(store):
    point = make_point()
    store.put_point(point)
    ahead = Decision(
        point_id=point.point_id, action="retract", author="A", reason="B", created="2100-01-01T00:00:00.000000+00:00"
    )
    store.log_decision(ahead)
    assert apply_decisions(store) == 1
    assert decide(store, [point.point_id], "restore", "Bob", "no")[point.point_id].verdict == "accepted"
    assert store.get_point(point.point_id).verdict == "accepted"
    assert [d.action for d in decisions(store)] == ["retract", "restore"]


def test_decisions_of_earlier_versions_keep_their_ids():
    old = Decision(point_id="p", action="reject", author="A", reason="B", created="2026-01-01")
    content = {k: v for k, v in old.model_dump().items() if k != "salvaged_from"}
    assert old.decision_id == content_hash(content)
    assert old.model_copy(update={"salvaged_from": "q"}).decision_id != old.decision_id


def test_a_decision_that_was_logged_but_not_applied_is_made_good(store):
    point = make_point()
    store.put_point(point)
    now = "2026-11-21T10:00:00.000000+00:00"
    store.log_decision(Decision(point_id=point.point_id, action="reject", author="A", reason="B", created=now))
    assert store.get_point(point.point_id).verdict == "accepted"  # killed here
    ingest(store)
    assert store.get_point(point.point_id).verdict == "rejected"
    assert apply_decisions(store) == 0


def test_mistakes_are_explained_and_logged_nowhere(store):
    store.put_point(make_point())
    store.put_point(make_point(shift=0.1))
    mine = make_point().point_id
    for names, action, author, part in [
        ([mine], "reject", " ", "an author and a reason"),
        (["nonsense"], "reject", "A", "no label 'nonsense'"),
        ([""], "reject", "A", "no label ''"),
        ([mine], "restore", "A", "nothing was decided"),
        ([mine, "nonsense"], "retract", "A", "no label 'nonsense'"),
    ]:
        with pytest.raises(DataError, match=part):
            decide(store, names, action, author, "reason")
    assert store.decisions.count() == 0
    assert resolve(store, mine[:12]) == mine
    ids = [make_point(shift=0.2 + 0.01 * i) for i in range(20)]
    for point in ids:
        store.put_point(point)
    common = Counter(point.point_id[0] for point in ids).most_common(1)[0][0]
    with pytest.raises(DataError, match="fits several labels"):
        resolve(store, common)


actions = st.lists(st.sampled_from(["accept", "reject", "retract", "restore"]), max_size=6)


@settings(max_examples=80, deadline=None)
@given(actions, st.lists(st.sampled_from(["flipped: site 1", "outlier: +1 eV", "net force"]), max_size=2, unique=True))
def test_whatever_was_decided_the_rules_reasons_are_never_lost(taken, reasons):
    original = point = with_verdict(make_point(), reasons)
    for number, action in enumerate(taken):
        now = f"2026-11-21T10:00:{number:02d}.000000+00:00"
        decision = Decision(point_id=point.point_id, action=action, author="Ada", reason="because", created=now)
        point = decided(point, decision)
        assert decided(point, decision) == point
        assert automatic_reasons(point) == reasons
        assert type(point).from_document(point.to_document()) == point
        wanted = {"accept": "accepted", "restore": original.verdict}.get(action, "rejected")
        assert point.verdict == wanted
    assert decided(point, None) == original
