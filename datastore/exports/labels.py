"""What all formats share: a label with its split, and its document without the numbers that stand in arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from datastore.errors import DataError
from datastore.schema import FloatArray, SpinPoint

LABEL = "spinmultinet"
"""Key under which other formats keep what only this program reads."""


class Labelled(NamedTuple):
    """A label, and the split that it is in (empty outside of snapshots)."""

    point: SpinPoint
    split: str = ""


def rest(labelled: Labelled, without: Iterable[str], **more: Any) -> str:
    """JSON text of a label's document but for the fields ``without``, with ids, split and ``more``."""
    point, left_out = labelled.point, set(without)
    ids = {name: getattr(point, name) for name in point.derived_keys()}
    split = {"split": labelled.split} if labelled.split else {}
    return json.dumps({**point.model_dump(exclude=left_out), **ids, **split, **more})


def whole(text: str, fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The document again: ``text`` of :func:`rest` and the other ``fields``. Raises DataError naming ``where``."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: {LABEL!r} is no JSON text ({error}); export it again") from None
    if not isinstance(document, dict):
        raise DataError(f"{where}: {LABEL!r} is no document; export it again")
    document.pop("split", None)
    return {**document, **fields}


def as_vectors(moments: FloatArray) -> FloatArray:
    """(N, 3) moments; collinear ones (N,) stand along z."""
    if moments.ndim > 1:
        return moments
    vectors = np.zeros((len(moments), 3))
    vectors[:, 2] = moments
    return vectors


def as_stored(vectors: FloatArray, collinear: bool) -> FloatArray:
    """Inverse of :func:`as_vectors`."""
    return np.ascontiguousarray(vectors[:, 2]) if collinear else vectors
