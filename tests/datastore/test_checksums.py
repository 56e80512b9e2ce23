"""Checksums: of the content only, whatever the order of keys; a changed digit shows."""

import hashlib
import re
from datetime import datetime
from pathlib import Path

import pytest

import datastore
import workflows
from datastore.checksums import checksum, file_sha256, is_damaged
from datastore.stores import stamped
from tests.datastore.support import make_point


def test_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"abc" * 100_000)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"abc" * 100_000).hexdigest()
    with pytest.raises(OSError, match="absent"):
        file_sha256(tmp_path / "absent")


def test_of_a_document():
    document = {"a": 1.0, "b": [1, 2]}
    assert checksum(document) == checksum({"b": [1, 2], "a": 1.0, "_id": 7, "last_updated": datetime.now()})
    assert checksum(document) != checksum({"a": 1.0, "b": [1, 3]})


def test_damage():
    document = stamped(make_point().to_document())
    assert not is_damaged(document)
    assert not is_damaged(make_point().to_document())
    assert is_damaged({**document, "energy": document["energy"] + 1e-9})


@pytest.mark.parametrize("pattern", [r"file_digest\(", r"def \w*chunks\(", r"def \w*batches\("])
def test_there_is_one_of_each(pattern):
    sources = [p for package in (datastore, workflows) for p in Path(package.__file__).parent.rglob("*.py")]
    found = [path.name for path in sources if re.search(pattern, path.read_text())]
    assert len(found) <= 1, found
