"""A checkpoint of 'spinmultinet train' names its files and, where they are unchanged, their snapshot."""

from pathlib import Path

import pytest

from datastore import open_store
from datastore.checksums import file_sha256
from datastore.snapshot import make_snapshot
from spinmultinet.checkpoint import load_model
from tests.datastore.support import make_point
from workflows import cli
from workflows.trained_on import trained_on

TINY = """
model: {cutoff: 4.0, layers: 1, channels: 4, l_max: 1, n_bessel: 4, radial_hidden: [8]}
training: {epochs: 1}
"""


@pytest.fixture
def snapshot(tmp_path):
    with open_store("memory:") as store:
        for i in range(12):
            store.put_point(make_point(shift=0.01 * i, free_energy=-25.5 + 0.001 * i))
        made = make_snapshot(store, tmp_path)
    return made.snapshot_id, tmp_path / made.snapshot_id


def test_files_of_a_snapshot(snapshot):
    snapshot_id, folder = snapshot
    train, val = folder / "train.extxyz", folder / "val.extxyz"
    sums = {"train": file_sha256(train), "val": file_sha256(val)}
    assert trained_on(train, val) == ({"data_sha256": sums, "snapshot_id": snapshot_id}, [])
    assert trained_on(train, None)[0]["snapshot_id"] == snapshot_id


def test_changed_and_foreign_files_name_no_snapshot(snapshot, tmp_path):
    train = snapshot[1] / "train.extxyz"
    (tmp_path / "val.extxyz").write_text(train.read_text())
    metadata, notes = trained_on(train, tmp_path / "val.extxyz")
    assert metadata == {"data_sha256": dict.fromkeys(("train", "val"), file_sha256(train))}
    assert notes == []
    train.write_text(train.read_text().replace("0.1", "0.2", 1))
    metadata, notes = trained_on(train, None)
    assert "snapshot_id" not in metadata
    assert notes == [f"{train} is not as its snapshot wrote it; the model will not name that snapshot"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"snapshot_id": "s", "files": 3}'])
def test_a_snapshot_document_that_is_none_is_told(tmp_path, content):
    (tmp_path / "train.extxyz").write_text("4\n")
    (tmp_path / "snapshot.json").write_text(content)
    metadata, notes = trained_on(tmp_path / "train.extxyz", None)
    assert list(metadata) == ["data_sha256"]
    assert len(notes) == 1


@pytest.mark.parametrize("members", [1, 2])
def test_the_checkpoint_says_it(snapshot, tmp_path, members):
    snapshot_id, folder = snapshot
    (tmp_path / "tiny.yaml").write_text(TINY)
    options = ["--model", tmp_path / "tiny.yaml", "--out", tmp_path / "out", "--committee", members]
    assert cli.run(["train", "--data", folder / "train.extxyz", *map(str, options)]) == 0
    found = sorted(Path(tmp_path / "out").rglob("model.pt"))
    assert len(found) == members
    for path in found:
        told = load_model(path).metadata
        assert told["snapshot_id"] == snapshot_id
        assert told["data_sha256"] == {"train": file_sha256(folder / "train.extxyz")}
