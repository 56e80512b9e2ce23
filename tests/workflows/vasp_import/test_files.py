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
        ("a.json", b'["calcs_reversed"]', "no JSON object"),
        ("a.jsonl", b'{\n{"calcs_reversed": []}', "no JSON"),
        ("a.jsonl", b'{"n": NaN\n{"calcs_reversed": []}', "no JSON"),
        ("a.jsonl", b'{"n": NaN, "a": ' + b"[" * 99_999 + b'\n{"calcs_reversed": []}', "no JSON"),
        ("a.json.gz", gzip.compress(b'[{"calcs_reversed": []}]', mtime=0)[:-9], "no JSON"),
    ],
)
def test_damaged_documents_say_so_in_their_place(tmp_path, name, content, part):
    (tmp_path / name).write_bytes(content)
    (_, obstacle), *others = documents_of(tmp_path / name)
    assert part in obstacle.detail
    assert obstacle.folder == f"{tmp_path / name}, document 0"
    assert [document for _, document in others] == [{"calcs_reversed": []}] * content.count(b"\n")


def test_numbers_that_are_none_are_no_reason_to_refuse_a_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([*DOCUMENTS, {"calcs_reversed": [], "n": [float("nan"), -float("inf"), 1.5]}]))
    *_, (_, last) = documents_of(path)
    assert last["n"] == ["NaN", "-Infinity", 1.5]


def test_a_damaged_list_is_one_line(tmp_path):
    (tmp_path / "a.json").write_bytes(b'[{"calcs_reversed": []}')
    with pytest.raises(DataError, match="no JSON"):
        list(documents_of(tmp_path / "a.json"))


def test_a_damaged_packed_file_is_told_when_it_is_looked_at(tmp_path):
    (tmp_path / "a.json.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        has_documents(tmp_path / "a.json.gz")
