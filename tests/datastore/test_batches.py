"""Batches hold every item once and in order, and are drawn lazily."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from datastore.batches import in_batches


@given(st.lists(st.integers()), st.integers(1, 7))
def test_every_item_once_and_in_order(items, size):
    batches = list(in_batches(items, size))
    assert [item for batch in batches for item in batch] == items
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


def test_endless_ones_are_drawn_as_needed():
    assert next(in_batches(count(), 3)) == [0, 1, 2]
