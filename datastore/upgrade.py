"""Old documents become new ones: version N -> N+1, one pure function per step; newer ones are refused.

To change the schema: raise ``SCHEMA_VERSION``, add the step to :data:`STEPS`, and keep a document of the old version as
a test fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from datastore.checksums import is_damaged, sealed
from datastore.errors import DataError
from datastore.promotion import Promotion
from datastore.retraining import RetrainFlag, Retraining
from datastore.schema import SCHEMA_VERSION, Decision, ModelRecord, SpinConfig, SpinFailure, SpinPoint
from datastore.search import searchable

Document = dict[str, Any]
STEPS: dict[int, Callable[[Document], Document]] = {}
"""``STEPS[n]`` turns a document of version n into one of version n + 1."""

LOOK = "look for damage with: spinmultinet data verify PLACE"

_Known = TypeVar(
    "_Known", SpinConfig, SpinPoint, SpinFailure, ModelRecord, Decision, Promotion, Retraining, RetrainFlag
)


def upgrade_document(
    document: Mapping[str, Any],
    steps: Mapping[int, Callable[[Document], Document]] = STEPS,
    current: int = SCHEMA_VERSION,
) -> Document:
    """A copy of the document at version ``current``. Raises DataError for newer versions and foreign documents."""
    version = document.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DataError(f"{_label(document)} has no schema_version, so it was not written by this software; import it")
    if version > current:
        raise DataError(
            f"{_label(document)} has schema version {version}, this software reads up to {current}; update the software"
        )
    upgraded = dict(document)
    for step in range(version, current):
        if step not in steps:
            raise DataError(f"{_label(document)} has schema version {step}, which cannot be upgraded any more")
        upgraded = {**steps[step](upgraded), "schema_version": step + 1}
    return upgraded


def parse(kind: type[_Known], document: Mapping[str, Any]) -> _Known:
    """A stored document as ``kind``, upgraded where it is old. Raises DataError that names a damaged document."""
    if not isinstance(document, Mapping):
        raise DataError(f"a {kind.__name__} is stored as {type(document).__name__}; {LOOK}")
    if is_damaged(document):
        raise DataError(
            f"{_label(document)} is damaged: its content is not what was stored, the checksum differs; "
            "restore it from a backup or label it again"
        )
    upgraded = upgrade_document(document)
    try:
        return kind.from_document(upgraded)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "document"
        raise DataError(
            f"{_label(document)} is no valid {kind.__name__}: {field}: {first['msg']}; "
            "restore it from a backup or label it again"
        ) from error


def checked(document: Document, **kinds: type) -> Document:
    """The document, if each field named is there and of that kind. Raises DataError that names a damaged one.

    For documents of which only some fields are read: ``checked(document, species=list)``.
    """
    for name, kind in kinds.items():
        if not isinstance(document.get(name), kind):
            raise DataError(f"{_label(document)} is damaged: {name!r} is missing or no {kind.__name__}; {LOOK}")
    return document


def _label(document: Mapping[str, Any]) -> str:
    for key in (
        "promotion_id",
        "retraining_id",
        "flag_id",
        "decision_id",
        "point_id",
        "model_id",
        "snapshot_id",
        "config_id",
        "uuid",
    ):
        if key in document:
            return f"document {document[key]}"
    return "document"


def upgraded(document: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    """The stored document at this version, with a checksum that is right; its time of change stays.

    Raises DataError where it is damaged, or would get another id.
    """
    kept = {key: document[key] for key in ("_id", "last_updated") if key in document}
    content = parse(kind, document).to_document()
    for key in kind.derived_keys():
        if key in document and key != "formula" and document[key] != content[key]:
            raise DataError(f"{key} does not follow from its content; restore it from a backup")
    return {**sealed(searchable(content)), **kept}
