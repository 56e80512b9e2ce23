"""What a checkpoint says of the files it was trained on, so that a retraction of labels can be followed to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datastore.checksums import file_sha256

SNAPSHOT = "snapshot.json"
"""Beside the files of a snapshot; see :mod:`datastore.snapshot`."""


def trained_on(train: Path, val: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Metadata for a checkpoint, and notes to the user.

    ``data_sha256`` has the SHA-256 of both files of labels (``train``, ``val``). ``snapshot_id`` is there only where
    both are files of one snapshot, unchanged. Raises OSError where a file cannot be read.
    """
    files = {"train": train} | ({"val": val} if val is not None else {})
    sums = {role: file_sha256(file) for role, file in files.items()}
    snapshots = {role: _snapshot_of(file, sums[role]) for role, file in files.items()}
    notes = [
        f"{file} is not as its snapshot wrote it; the model will not name that snapshot"
        for role, file in files.items()
        if (file.parent / SNAPSHOT).is_file() and not snapshots[role]
    ]
    metadata: dict[str, Any] = {"data_sha256": sums}
    if len(set(snapshots.values())) == 1 and snapshots["train"]:
        metadata["snapshot_id"] = snapshots["train"]
    return metadata, notes


def _snapshot_of(file: Path, sha256: str) -> str:
    """snapshot_id of the document beside a file, empty where there is none or it tells of other content."""
    try:
        document = json.loads((file.parent / SNAPSHOT).read_text(encoding="utf-8"))
        return str(document["snapshot_id"]) if document["files"].get(file.name) == sha256 else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
