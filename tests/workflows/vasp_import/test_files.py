"""Files of task documents: lists, single documents, lines, packed; other JSON is left to others."""

import gzip
import json

import pytest

from datastore.errors import DataError
from workflows.vasp_import.files import documents_of, has_documents

DOCUMENTS = [{"calcs_reversed": [], "n": number} for number in range(3)]


@pytest.mark.parametrize(
    ("name", "content", "number"),
    [
        ("a.json", json.dumps(DOCUMENTS), 3),
        ("a.json.gz", json.dumps(DOCUMENTS, indent=1), 3),
        ("one.json", json.dumps(DOCUMENTS[0]), 1),
        ("a.jsonl", "\n\n".join(map(json.dumps, DOCUMENTS)) + "\n", 3),
        ("a.jsonl.gz", "\n".join(map(json.dumps, DOCUMENTS)), 3),
    ],
)
def test_every_way_to_write_them_is_read(tmp_path, name, content, number):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    assert has_documents(path)
    found = list(documents_of(path))
    assert [document for _, document in found] == DOCUMENTS[:number]
    assert found[0][0] == f"{path}, document 0"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", b'{"1": {"numbers": []}}'), ("a.extxyz", b'"calcs_reversed"'), ("a.jsonl", b"{}\n")],
)
def test_other_files_are_left_to_others(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert not has_documents(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.json", b'[{"calcs_reversed": []}', "no JSON"),
        ("a.json", b'["calcs_reversed"]', "no JSON object"),
        ("a.jsonl", b'{"calcs_reversed": []}\n{', "no JSON"),
        ("a.json.gz", gzip.compress(b'[{"calcs_reversed": []}]')[:-9], "no JSON"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, name, content, part):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=part):
        list(documents_of(tmp_path / name))


def test_a_damaged_packed_file_is_told_when_it_is_looked_at(tmp_path):
    (tmp_path / "a.json.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        has_documents(tmp_path / "a.json.gz")
