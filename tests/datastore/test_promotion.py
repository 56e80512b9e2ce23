"""The document of the promotion log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from datastore.errors import DataError
from datastore.promotion import Promotion
from datastore.stores import stamped
from datastore.upgrade import parse

_name = st.text(min_size=1, max_size=12)


def make_promotion(**changes):
    fields = {
        "campaign": "nio",
        "number": 1,
        "action": "promote",
        "model_id": "m1",
        "by": "Ada",
        "reasons": ["better"],
        "created": "2026-01-01T00:00:00.000000+00:00",
    }
    return Promotion(**(fields | changes))


@given(
    campaign=_name,
    number=st.integers(1, 10**6),
    action=st.sampled_from(["promote", "refuse", "rollback"]),
    model_id=_name,
    previous=st.text(max_size=12),
    reasons=st.lists(_name, min_size=1, max_size=3),
    rules=st.dictionaries(_name, st.floats(allow_nan=False, allow_infinity=False)),
)
def test_round_trip(**fields):
    entry = make_promotion(**fields)
    assert parse(Promotion, stamped(entry.to_document())) == entry
    assert entry.champion == (entry.previous if entry.action == "refuse" else entry.model_id)


@pytest.mark.parametrize("field", ["campaign", "model_id", "by"])
def test_names_are_not_empty(field):
    with pytest.raises(ValidationError, match=field):
        make_promotion(**{field: ""})


def test_a_changed_entry_is_found():
    document = stamped(make_promotion().to_document())
    with pytest.raises(DataError, match="nio:1 is damaged"):
        parse(Promotion, document | {"model_id": "m2"})
