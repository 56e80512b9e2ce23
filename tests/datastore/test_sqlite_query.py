"""Criteria on documents: many at once are answered as one by one."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.errors import DataError
from datastore.sqlite_query import matcher, matches

VALUES = st.sampled_from(["a", "b", "", None, 1, ["a", "c"], {"x": "a"}])
LISTS = st.lists(st.sampled_from(["a", "b", "c", None, 1]), max_size=3)
CONDITIONS = st.one_of(
    VALUES.filter(lambda value: not isinstance(value, dict)),
    LISTS.map(lambda values: {"$in": values}),
    LISTS.map(lambda values: {"$nin": values}),
    st.sampled_from([{"$exists": True}, {"$in": ["a"], "$ne": "b"}, {"$in": [re.compile("a")]}]),
)
PLAIN = st.dictionaries(st.sampled_from(["f", "g", "h.x"]), CONDITIONS, max_size=2)
JUNCTIONS = st.builds(
    lambda word, parts, more: {word: parts, **more},
    st.sampled_from(["$and", "$or", "$nor"]),
    st.lists(PLAIN, min_size=1, max_size=3),
    PLAIN,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["f", "g", "h"]), VALUES)


@given(st.one_of(PLAIN, JUNCTIONS), DOCUMENTS)
def test_many_documents_are_matched_as_one(criteria, document):
    assert matcher(criteria)(document) == matches(criteria, document)


def test_an_operator_that_does_not_exist_is_refused():
    with pytest.raises(DataError, match="criteria cannot be used"):
        matcher({"$and": [{"f": {"$inn": ["a"]}}]})({"f": "a"})


def test_a_long_list_is_no_slower_per_document_than_a_short_one():
    """A snapshot of 30,000 labels asks for 30,000 ids."""
    wanted = [f"{number:024d}" for number in range(30_000)]
    started = time.perf_counter()
    fits = matcher({"$and": [{"verdict": "accepted"}, {"$or": [{"f": {"$in": wanted}}, {"g": {"$in": wanted}}]}]})
    documents = [{"verdict": "accepted", "f": name} for name in wanted[:2000]]
    assert all(map(fits, documents))
    assert time.perf_counter() - started < 5
