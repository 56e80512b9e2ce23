"""What is wrong with a finished job, or with the note that its output was taken in. Pure.

A job's output that is a label or a failure is read as ingest reads it. It has a checksum where a label job of this
version wrote it; of older ones only ids and shapes can be checked, so that a changed energy is seen in the label that
was taken in (it has a checksum), and not in the job.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datastore.errors import DataError
from datastore.schema import SpinFailure, SpinPoint
from datastore.upgrade import parse

Document = dict[str, Any]

OF_MARKERS = {"source": str, "completed_at": str, "groups": list, "judged": bool}
"""Fields of a note in ``ingested``; those of imports have no more."""

OF_STORES = ("_id", "last_updated", "schema_version")
"""Fields that every note may have."""

OF_GROUPS = 5
"""Texts that name an :func:`~datastore.outliers.outlier_group`."""


def job_problems(document: Document) -> Iterator[tuple[str, str]]:
    """What is wrong with a document of ``jobs``, and the point_id it concerns (empty where none)."""
    finished: dict[str, type] = {"completed_at": str} if "output" in document else {}
    for name, kind in ({"uuid": str, "index": int} | finished).items():
        if not isinstance(document.get(name), kind):
            yield f"{name!r} is missing or no {kind.__name__}", ""
    output = document.get("output")
    for content in output if isinstance(output, list) else [output]:
        if isinstance(content, dict) and ("point_id" in content or "schema_version" in content):
            yield from _label_problems(content)


def _label_problems(content: Document) -> Iterator[tuple[str, str]]:
    kind: type[SpinFailure | SpinPoint] = SpinFailure if "error" in content else SpinPoint
    point_id = str(content.get("point_id", ""))
    try:
        derived = parse(kind, content).to_document()
    except DataError as error:
        yield f"its output is damaged: {error}", point_id
        return
    wrong = [key for key in kind.derived_keys() if content.get(key) != derived[key]]
    if wrong:
        yield f"its output does not follow from its content: {', '.join(wrong)}", point_id


def marker_problems(document: Document) -> Iterator[str]:
    """What is wrong with a document of ``ingested``."""
    for name, kind in OF_MARKERS.items():
        if not isinstance(document.get(name), kind):
            yield f"{name!r} is missing or no {kind.__name__}"
    extra = sorted(key for key in document.keys() - OF_MARKERS.keys() if key not in OF_STORES)
    if extra:
        yield f"has fields that nobody writes: {', '.join(extra)}"
    groups = document.get("groups")
    if isinstance(groups, list) and not all(map(_is_group, groups)):
        yield "a group in it is none"


def _is_group(group: Any) -> bool:
    return isinstance(group, list | tuple) and len(group) == OF_GROUPS and all(isinstance(part, str) for part in group)
