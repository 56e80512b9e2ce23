"""Every document comes back from its stored form, through JSON and through a store."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from datastore.schema import Decision, ModelRecord, SpinConfig, SpinFailure, SpinPoint
from datastore.sqlite_query import decode, encode
from datastore.upgrade import parse
from tests.datastore.support import make_point, points
from tests.datastore.test_stores import make_model

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
failures = st.builds(
    lambda point, error, kind: SpinFailure(
        **{name: getattr(point, name) for name in SpinFailure.model_fields if name in SpinPoint.model_fields},
        error=error,
        error_type=kind,
    ),
    points(),
    text,
    st.sampled_from(["not-converged", "crashed", "branch-lost", "refused"]),
)
decisions = st.builds(
    Decision,
    point_id=text,
    action=st.sampled_from(["accept", "reject", "retract", "restore"]),
    author=text,
    reason=text,
    created=text,
)
models = st.builds(
    lambda scores, parents, status: make_model(scores=scores, parents=parents, status=status),
    st.dictionaries(text, st.floats(allow_nan=False, allow_infinity=False) | text, max_size=3),
    st.lists(text, max_size=2),
    st.sampled_from(["candidate", "champion", "retired"]),
)
KINDS = {
    SpinConfig: points().map(SpinPoint.config),
    SpinPoint: points(),
    SpinFailure: failures,
    Decision: decisions,
    ModelRecord: models,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_round_trip(kind, data):
    document = data.draw(KINDS[kind])
    stored = document.to_document()
    assert json.loads(json.dumps(stored)) == stored
    for form in (stored, decode(encode(stored)), {**stored, "_id": 1, "last_updated": "now"}):
        assert parse(kind, form) == document
        assert parse(kind, form).to_document() == stored
    with pytest.raises(ValidationError, match="surprise"):
        kind(**stored, surprise=1)


def test_a_decision_needs_its_parts():
    for missing in ("author", "reason"):
        with pytest.raises(ValidationError, match=missing):
            Decision(
                **(
                    {"point_id": "a", "action": "reject", "author": "A", "reason": "B", "created": "now"}
                    | {missing: ""}
                )
            )


def test_the_name_of_a_start_is_no_physics_and_occupation_matrices_are():
    config = make_point().config()
    named = config.model_copy(update={"start": "high-spin"})
    hinted = config.model_copy(update={"occupations": "1 2 3\n0.5 0.5"})
    other = config.model_copy(update={"occupations": "1 2 3\n0.5 0.6"})
    assert named.config_id == config.config_id
    assert len({config.config_id, hinted.config_id, other.config_id}) == 3
