"""Places for checkpoints: what is put comes back to the byte, damage is found at every fetch."""

import os
import sys
from uuid import uuid4

import pytest

from datastore import model_files
from datastore.checksums import file_sha256
from datastore.errors import DataError
from datastore.model_files import cache_folder, fetch, open_model_store
from datastore.schema import ModelFile

CONTENT = os.urandom(300_000)  # more than one chunk of GridFS


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv(model_files.CACHE_VARIABLE, str(tmp_path / "cache"))
    path = tmp_path / "member" / "model.pt"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(params=["folder", "gridfs", "s3"])
def place(request, tmp_path):
    """Setting and store URI of a place for files."""
    if request.param == "folder":
        yield f"folder:{tmp_path / 'shared'}", "memory:"
    elif request.param == "gridfs":
        base = os.environ.get("SPINMULTINET_TEST_MONGO_URI", "")
        if not base:
            pytest.skip("SPINMULTINET_TEST_MONGO_URI names no MongoDB server")
        uri = f"{base.rstrip('/')}/test_{uuid4().hex[:8]}"
        yield "gridfs:", uri
        model_files.GridFS(uri)._files.database.client.drop_database(uri.rsplit("/", 1)[1])
    else:
        uri = os.environ.get("SPINMULTINET_TEST_S3_URI", "")
        if not uri:
            pytest.skip("SPINMULTINET_TEST_S3_URI names no bucket (s3://BUCKET/PREFIX)")
        yield f"{uri.rstrip('/')}/{uuid4().hex[:8]}", "memory:"


def test_a_file_that_is_gone_comes_back_and_is_checked(file, place):
    setting, uri = place
    store = open_model_store(setting, uri)
    kept = store.put(file)
    assert store.put(file) == kept  # once
    assert kept.sha256 == file_sha256(file)
    assert fetch(kept, uri) == file  # while it is there, no copy is made
    assert not cache_folder().exists()
    file.unlink()
    cached = fetch(kept, uri)
    assert cached.read_bytes() == CONTENT
    assert cached.is_relative_to(cache_folder())
    cached.write_bytes(b"damaged")
    assert fetch(kept, uri).read_bytes() == CONTENT  # a damaged copy in the cache is fetched again
    assert [path.name for path in cached.parent.iterdir()] == [cached.name]


def test_a_copy_that_is_not_there(file, place):
    setting, uri = place
    kept = open_model_store(setting, uri).put(file)
    file.unlink()
    wrong = "0" * 64
    with pytest.raises(DataError):
        fetch(kept.model_copy(update={"sha256": wrong, "uri": kept.uri.replace(kept.sha256, wrong)}), uri)
    assert not list(cache_folder().rglob("*.pt*"))


def test_an_upload_that_was_killed_is_done_again(file, monkeypatch):
    base = os.environ.get("SPINMULTINET_TEST_MONGO_URI", "")
    if not base:
        pytest.skip("SPINMULTINET_TEST_MONGO_URI names no MongoDB server")
    uri = f"{base.rstrip('/')}/test_{uuid4().hex[:8]}"
    store = model_files.GridFS(uri)
    sha256 = file_sha256(file)
    upload = store._bucket.open_upload_stream(sha256)
    upload.write(CONTENT)  # a whole chunk is stored, and the file never entered
    kept = store.put(file)
    file.unlink()
    assert fetch(kept, uri).read_bytes() == CONTENT
    store._files.database.client.drop_database(uri.rsplit("/", 1)[1])


def test_a_damaged_copy_never_becomes_a_model(file, tmp_path):
    kept = open_model_store(f"folder:{tmp_path / 'shared'}", "memory:").put(file)
    file.unlink()
    (copy,) = (tmp_path / "shared").rglob("*.pt")
    copy.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(DataError, match=r"folder:.* is damaged: its SHA-256 is not the one on record"):
        fetch(kept, "memory:")
    assert not list(cache_folder().rglob("*.pt*"))
    file.write_bytes(CONTENT)
    open_model_store(f"folder:{tmp_path / 'shared'}", "memory:").put(file)
    assert copy.read_bytes() == CONTENT


def test_a_damaged_file_is_told_even_where_there_is_a_copy(file, tmp_path):
    kept = open_model_store(f"folder:{tmp_path / 'shared'}", "memory:").put(file)
    file.write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match=r"model.pt is damaged.*remove it, and the copy at folder:"):
        fetch(kept, "memory:")
    with pytest.raises(DataError, match=r"is damaged.*restore it from a backup"):
        fetch(kept.model_copy(update={"uri": ""}), "memory:")


def test_a_file_without_a_copy(tmp_path):
    with pytest.raises(DataError, match="gone, and no copy of it was kept"):
        fetch(ModelFile(path=str(tmp_path / "model.pt"), sha256="0" * 64), "memory:")
    with pytest.raises(DataError, match=r"model\.pt cannot be read"):
        open_model_store(f"folder:{tmp_path}", "memory:").put(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("folder:", "names no folder"),
        ("gridfs:", "keeps files in the campaign's MongoDB"),
        ("ftp://host", "is no place for models"),
        ("s3://", "names no bucket|needs the package boto3"),
    ],
)
def test_unusable_places(setting, part):
    with pytest.raises(DataError, match=part):
        open_model_store(setting, "local:x")


def test_without_boto3_s3_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(DataError, match=r"needs the package boto3: pip install boto3"):
        open_model_store("s3://bucket/models", "local:x")


def test_no_place_is_no_store(tmp_path):
    assert open_model_store("", "local:x") is None


def test_a_folder_that_cannot_be_written(file, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        open_model_store(f"folder:{tmp_path / 'taken'}", "memory:").put(file)
