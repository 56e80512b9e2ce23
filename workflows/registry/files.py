"""The checkpoints of a model: copies of them, and where they are on this machine."""

from __future__ import annotations

from typing import Any

from datastore import SpinStore
from datastore.model_files import ModelStore, fetch
from datastore.schema import ModelRecord
from workflows.registry.errors import UnfitModelError


def keep_files(store: SpinStore, record: ModelRecord, place: ModelStore | None) -> ModelRecord:
    """The record with URIs of copies in ``place``, stored; files that are not what the record says are not copied."""
    if place is None or all(file.uri for file in record.files):
        return record
    files = []
    for file in record.files:
        kept = place.put(file.path)
        if kept.sha256 != file.sha256:
            raise UnfitModelError(f"{file.path} is damaged: its SHA-256 is not the one on record; restore it")
        files.append(kept)
    record = record.model_copy(update={"files": files})
    store.put_model(record)
    return record


def in_use(record: ModelRecord, store_uri: str) -> dict[str, Any]:
    """What later jobs need of the model in use: id, generation, and its members as files of this machine."""
    members = [{"path": str(fetch(file, store_uri)), "sha256": file.sha256} for file in record.files]
    return {"model_id": record.model_id, "generation": record.generation, "members": members}
