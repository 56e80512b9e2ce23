import numpy as np
import pytest

from datastore.errors import DataError
from datastore.exports.labels import Labelled, as_stored, as_vectors, rest, whole
from tests.datastore.support import make_point


def test_signs_survive_the_way_to_vectors_and_back():
    moments = np.array([1.8, -1.8, 0.0, -0.0])
    assert as_vectors(moments)[:, :2].tolist() == [[0, 0]] * 4
    assert np.signbit(as_stored(as_vectors(moments), collinear=True)).tolist() == [False, True, False, True]
    vectors = np.ones((2, 3))
    assert as_stored(as_vectors(vectors), collinear=False) is vectors


def test_a_document_in_two_parts():
    point = make_point()
    text = rest(Labelled(point, "val"), ["forces", "energy"])
    assert '"forces"' not in text
    back = whole(text, {"forces": point.forces, "energy": point.energy}, "here")
    assert type(point).from_document(back) == point
    for broken in ("{", "[]"):
        with pytest.raises(DataError, match="here: 'spinmultinet' is no"):
            whole(broken, {}, "here")
