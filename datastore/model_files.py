"""Where checkpoints are kept: where training wrote them, in a folder, in MongoDB's GridFS or in S3.

==================  ====================================================================================
(empty)             files stay where training wrote them
``folder:PATH``     copies in a folder that all machines see
``gridfs:``         copies in the MongoDB of the campaign's store
``s3://BUCKET/...`` copies in S3; needs boto3, whose own settings (AWS_ENDPOINT_URL, keys, profile) apply
==================  ====================================================================================

A file is named by its SHA-256, so it is kept once, and it is checked at every fetch.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from gridfs import GridFSBucket
from gridfs.errors import CorruptGridFile, NoFile
from pymongo import MongoClient

from datastore.checksums import file_sha256
from datastore.errors import DataError
from datastore.schema import ModelFile
from datastore.stores import DATABASE, TIMEOUT_MS, database_of, explained
from datastore.uris import mask, resolved

BUCKET = "model_files"
"""Name of the GridFS bucket in the campaign's database."""

CACHE_VARIABLE = "SPINMULTINET_CACHE"


class ModelStore(ABC):
    """A place that keeps checkpoints under their SHA-256. Get one from :func:`open_model_store`."""

    scheme = ""

    def put(self, path: str | Path) -> ModelFile:
        """Keep a copy of a file, unless there is one. Returns its path here, its SHA-256 and its URI.

        Raises DataError where the file or the place cannot be used.
        """
        path = Path(path).absolute()
        sha256 = _sha256(path)
        if not self._has(sha256):
            with _open(path) as file:
                self._store(sha256, file)
        return ModelFile(path=str(path), sha256=sha256, uri=self._uri(sha256))

    @abstractmethod
    def _has(self, sha256: str) -> bool: ...

    @abstractmethod
    def _store(self, sha256: str, file: BinaryIO) -> None: ...

    @abstractmethod
    def _uri(self, sha256: str) -> str: ...

    @abstractmethod
    def load(self, uri: str, file: BinaryIO) -> None:
        """Write the content of ``uri`` to ``file``. Raises DataError where it is not there."""


class Folder(ModelStore):
    """Copies in a folder, as ``ab/abcdef....pt``."""

    scheme = "folder"

    def __init__(self, folder: str):
        if not folder:
            raise DataError("models: 'folder:' names no folder; write folder:PATH")
        self.folder = Path(folder).expanduser().absolute()

    def _path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / f"{sha256}.pt"

    def _has(self, sha256: str) -> bool:
        path = self._path(sha256)
        return path.is_file() and _sha256(path) == sha256  # a damaged copy is replaced

    def _store(self, sha256: str, file: BinaryIO) -> None:
        with _whole(self._path(sha256)) as target:
            shutil.copyfileobj(file, target)

    def _uri(self, sha256: str) -> str:
        return f"folder:{self._path(sha256)}"

    def load(self, uri: str, file: BinaryIO) -> None:
        """The file that the URI names, wherever the folder of this store is."""
        with _open(Path(uri.removeprefix("folder:"))) as source:
            shutil.copyfileobj(source, file)


class GridFS(ModelStore):
    """Copies in the MongoDB of the campaign's store; the SHA-256 is their file name."""

    scheme = "gridfs"

    def __init__(self, store_uri: str):
        asked, store_uri = store_uri, resolved(store_uri)
        if not store_uri.startswith(("mongodb:", "mongodb+srv:")):
            raise DataError(
                f"models: 'gridfs:' keeps files in the campaign's MongoDB, and its store is {mask(asked)!r}; use "
                "folder:PATH, or a store in MongoDB"
            )
        self.uri = store_uri
        database = database_of(store_uri) or DATABASE
        client: MongoClient[dict[str, Any]] = MongoClient(
            store_uri, serverSelectionTimeoutMS=TIMEOUT_MS, connectTimeoutMS=TIMEOUT_MS
        )
        self._files = client[database][f"{BUCKET}.files"]
        self._bucket = GridFSBucket(client[database], BUCKET)

    def _has(self, sha256: str) -> bool:
        with explained(self.uri):
            return self._files.find_one({"filename": sha256}, ["_id"]) is not None

    def _store(self, sha256: str, file: BinaryIO) -> None:
        # Each upload has an id of its own and is entered last: what a kill leaves, and what two writers store at the
        # same time, is in nobody's way.
        with explained(self.uri):
            self._bucket.upload_from_stream(sha256, file)

    def _uri(self, sha256: str) -> str:
        return f"gridfs:{sha256}"

    def load(self, uri: str, file: BinaryIO) -> None:
        """Download by the SHA-256 in the URI."""
        with explained(self.uri):
            try:
                self._bucket.download_to_stream_by_name(uri.removeprefix("gridfs:"), file)
            except (NoFile, CorruptGridFile) as error:
                raise DataError(f"{uri} is not whole in the database: {error}; restore it, or train again") from error


class S3(ModelStore):
    """Copies in a bucket of S3, as ``PREFIX/abcdef....pt``."""

    scheme = "s3"

    def __init__(self, uri: str):
        try:
            import boto3
            import botocore.exceptions
        except ImportError:
            raise DataError(f"models: {uri!r} needs the package boto3: pip install boto3; or use folder:PATH") from None
        self.bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not self.bucket:
            raise DataError(f"models: {uri!r} names no bucket; write s3://BUCKET/PREFIX")
        self.prefix = prefix.strip("/")
        self._errors: tuple[type[Exception], ...] = (
            botocore.exceptions.BotoCoreError,
            botocore.exceptions.ClientError,
        )
        self._client = boto3.client("s3")

    def _key(self, sha256: str) -> str:
        return f"{self.prefix}/{sha256}.pt".lstrip("/")

    def _has(self, sha256: str) -> bool:
        with self._told():
            found = self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._key(sha256), MaxKeys=1)
        return bool(found.get("KeyCount"))

    def _store(self, sha256: str, file: BinaryIO) -> None:
        with self._told():
            self._client.upload_fileobj(file, self.bucket, self._key(sha256))

    def _uri(self, sha256: str) -> str:
        return f"s3://{self.bucket}/{self._key(sha256)}"

    def load(self, uri: str, file: BinaryIO) -> None:
        """Download the object that the URI names."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        with self._told():
            self._client.download_fileobj(bucket, key, file)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise DataError(
                f"s3://{self.bucket} cannot be used: {error}; check bucket, keys and AWS_ENDPOINT_URL"
            ) from error


def open_model_store(setting: str, store_uri: str) -> ModelStore | None:
    """The place that ``models`` of a campaign names; None where files stay where training wrote them.

    ``store_uri``: store of the campaign, for ``gridfs:``. Raises DataError for what is no place, or cannot be used.
    """
    scheme, _, rest = setting.partition(":")
    if not setting:
        return None
    if scheme == "folder":
        return Folder(rest)
    if scheme == "gridfs":
        return GridFS(store_uri)
    if setting.startswith("s3://"):
        return S3(setting)
    raise DataError(f"models: {setting!r} is no place for models; write folder:PATH, gridfs: or s3://BUCKET/PREFIX")


def fetch(file: ModelFile, store_uri: str, cache: Path | None = None) -> Path:
    """A local file with the content of ``file``: itself where it is there, else a copy fetched into ``cache``.

    Its SHA-256 is compared every time. Raises DataError for a file that is damaged, or gone without a copy.
    """
    path = Path(file.path)
    if path.is_file():
        if _sha256(path) == file.sha256:
            return path
        remedy = f"remove it, and the copy at {file.uri} is used" if file.uri else "restore it from a backup"
        raise DataError(f"{path} is damaged: its SHA-256 is not the one on record ({file.sha256[:12]}...); {remedy}")
    if not file.uri:
        raise DataError(f"{path} is gone, and no copy of it was kept; restore it from a backup, or train again")
    cached = (cache or cache_folder()) / file.sha256[:2] / f"{file.sha256}.pt"
    if not (cached.is_file() and _sha256(cached) == file.sha256):
        place = open_model_store(file.uri, store_uri)
        assert place is not None
        with _whole(cached, file.sha256, file.uri) as target:
            place.load(file.uri, target)
    return cached


def cache_folder() -> Path:
    """Where fetched files are kept: SPINMULTINET_CACHE, else in the user's cache folder."""
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get(CACHE_VARIABLE) or f"{user}/spinmultinet").expanduser() / "models"


@contextmanager
def _whole(path: Path, sha256: str = "", uri: str = "") -> Iterator[BinaryIO]:
    """A file that takes its place when the block ends well and its content has this SHA-256, and vanishes otherwise."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if sha256 and _sha256(temporary) != sha256:
            raise DataError(f"{uri} is damaged: its SHA-256 is not the one on record; restore it from a backup")
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; check folder, permissions and space") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; restore it, or train again") from error


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; restore it, or train again") from error
