"""Opens the stores of a project from one URI. The only place that names collections, keys and indexes.

=================  ==========================================================================================
``local:FOLDER``    one SQLite file ``FOLDER/store.sqlite``; the default, nothing to install
``mongodb://...``   a MongoDB database (``mongodb+srv://`` too); the name in the URI, else ``spinmultinet``
``memory:``         empty at each call, gone at the end; for tests and demonstrations
``env:NAME``        the URI in that environment variable (:mod:`datastore.uris`): no password in files and documents
=================  ==========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from maggma.core import Store
from maggma.stores import MemoryStore, MongoStore
from pymongo import uri_parser
from pymongo.errors import DocumentTooLarge, DuplicateKeyError, InvalidURI, OperationFailure, PyMongoError

from datastore.checksums import sealed
from datastore.errors import DataError
from datastore.schema import SCHEMA_VERSION, SEARCH, Decision, ModelRecord, SpinFailure, SpinPoint
from datastore.search import PER_ELEMENT, searchable
from datastore.sqlite_store import ALL_BELOW, SqliteStore
from datastore.upgrade import parse
from datastore.uris import mask as mask  # other modules take it from here
from datastore.uris import resolved
from datastore.verdicts import PAST, decided, followed

FILE = "store.sqlite"
DATABASE = "spinmultinet"
TIMEOUT_MS = 3000
URI = "mongodb://USER:PASSWORD@HOST/DATABASE"

Index = str | tuple[str, ...]
_POINT_INDEXES: tuple[Index, ...] = (
    *("config_id", "salvaged_from"),
    *((name, "point_id") for name in ("generation", "cell", "last_updated")),
    *((name, "verdict") for name in ("formula", "ordering", "ordering_found", "deformation", "level_id", "engine")),
    *(("campaign", "generation", "verdict"), ("parent", "deformation"), ("pair_id", "level_id")),
    *(
        (f"{SEARCH}.system", "verdict"),
        (f"{SEARCH}.flipped", "verdict"),
        ("verdict", f"{SEARCH}.fmax", "point_id"),
        ("verdict", "pair_id", "point_id"),
    ),
    *((f"{SEARCH}.{name}", "point_id") for name in ("fmax", "energy_per_atom", "atoms")),
    f"{SEARCH}.layout",
    *((f"{SEARCH}.{name}{ALL_BELOW}", "verdict") for name in PER_ELEMENT),
)
"""What is asked for one value stands before what is asked for a range or sorted by, and point_id, which orders labels
with the same value, after it; ``$**``: each element.
"""

COLLECTIONS: dict[str, tuple[str, tuple[Index, ...]]] = {
    "points": ("point_id", _POINT_INDEXES),
    "failures": ("point_id", ("config_id", ("campaign", "error_type"), "level_id")),
    "decisions": ("decision_id", ("point_id", "created")),
    "models": ("model_id", ("campaign", "status", "snapshot_id")),
    "promotions": ("promotion_id", ("campaign", "number")),
    "snapshots": ("snapshot_id", ("campaign",)),
    "jobs": ("uuid", ("index", "completed_at")),
    "flows": ("uuid", ()),
    "ingested": ("source", ("judged",)),
    "imported": ("origin", ()),
    "locks": ("name", ()),
    "retrainings": ("retraining_id", ("campaign",)),
    "retrain_flags": ("flag_id", ("campaign",)),
}
"""Collection -> the field that identifies a document, and the indexes: fields, or several in their order."""

PLAIN = (
    *(name for name, field in SpinPoint.model_fields.items() if field.annotation in (str, int, float, float | None)),
    *("moment_role", "verdict", *SpinPoint.derived_keys(), "last_updated", f"{SEARCH}.*"),
)
"""Fields of labels that hold one value, which is what SQLite has to know to answer from an index alone."""


class _Guarded(MongoStore):
    readonly = False
    """Set on those of a store that was opened to read."""

    def update(self, *arguments: Any, **options: Any) -> None:
        """As in maggma. Raises DataError where the store was opened to read."""
        may_write(self)
        super().update(*arguments, **options)

    def remove_docs(self, criteria: dict[str, Any]) -> None:
        """As in maggma. Raises DataError where the store was opened to read."""
        may_write(self)
        super().remove_docs(criteria)


class GuardedMemoryStore(_Guarded, MemoryStore):
    """MemoryStore that is not written where it was opened to read."""


class MaskedMongoStore(_Guarded):
    """MongoStore whose name, which ends in logs and messages, does not show the password."""

    @property
    def name(self) -> str:
        """URI without password, and the collection."""
        return f"{mask(self.uri or self.host)}#{self.collection_name}"


class SpinStore:
    """The maggma stores of one project, open, and the few operations on single documents that everybody needs.

    ``points``, ``failures``, ``models``, ``snapshots`` hold this project's documents; ``jobs`` is the ``docs_store``
    of a jobflow JobStore and ``flows`` what a dynamic flow remembers; ``ingested`` is bookkeeping of ingest, and
    ``imported`` of calculations that an import has read; ``locks`` see :mod:`datastore.locks`, ``retrainings`` and
    ``retrain_flags`` :mod:`datastore.retrainings`. Use as a context manager, or ``close``.
    """

    points: Store
    failures: Store
    decisions: Store
    models: Store
    promotions: Store
    snapshots: Store
    jobs: Store
    flows: Store
    ingested: Store
    imported: Store
    locks: Store
    retrainings: Store
    retrain_flags: Store

    def __init__(self, uri: str, stores: dict[str, Store]):
        self.uri = uri
        self.searchable_until = 0.0
        """Until then (of time.monotonic) nobody looks again whether all labels have what they are searched by."""
        self._stores = stores
        for name, store in stores.items():
            setattr(self, name, store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SpinStore({mask(self.uri)!r})"

    def close(self) -> None:
        """Close all connections; every write so far is already safe."""
        for store in self._stores.values():
            store.close()

    def index(self) -> None:
        """Make the indexes of :data:`COLLECTIONS` that are not there yet; over many documents that takes a while."""
        for name, store in self._stores.items():
            key, indexes = COLLECTIONS[name]
            may_write(store)
            _index(store, [key, *indexes])

    def put_point(self, point: SpinPoint) -> None:
        """Store a label, replacing an earlier one of the same calculation and its failure.

        A manual decision on it stays in force.
        """
        judged = decided(point, self.decision_on(point.point_id, point.salvaged_from))
        with explained(self.uri):
            self.points.update(stamped(judged.to_document()))
            failed = {"point_id": judged.point_id}
            # A salvaged label does not undo the failure of the calculation of its own; removing nothing writes, too.
            if not point.salvaged_from and self.failures.query_one(failed, ["point_id"]) is not None:
                self.failures.remove_docs(failed)

    def put_new_points(self, points: Sequence[SpinPoint]) -> None:
        """:meth:`put_point` for labels that are not there yet and on which nobody has decided, in one write."""
        documents = [stamped(decided(point, None).to_document()) for point in points]
        failed = {"point_id": {"$in": [document["point_id"] for document in documents]}}
        with explained(self.uri):
            self.points.update(documents)
            if self.failures.query_one(failed, ["point_id"]) is not None:
                self.failures.remove_docs(failed)

    def log_decision(self, decision: Decision) -> None:
        """Append to the log of decisions; it is applied where the label is stored next."""
        with explained(self.uri):
            self.decisions.update(stamped(decision.to_document()))

    def decision_on(self, point_id: str, salvaged_from: str = "") -> Decision | None:
        """The newest decision on a label, None where nobody took one.

        A salvaged label follows the one in force on its original (``salvaged_from``), where there is one. Decisions on
        a salvaged label are none on a real label of the same id.
        """
        of_original = self.decision_on(salvaged_from) if salvaged_from else None
        if of_original is not None and of_original.action in PAST:
            return followed(of_original, salvaged_from)
        mine = {"point_id": point_id, "salvaged_from": {"$in": [salvaged_from, None]}}
        with explained(self.uri):
            newest = list(self.decisions.query(mine, sort={"created": -1}, limit=1))
        return parse(Decision, newest[0]) if newest else None

    def put_failure(self, failure: SpinFailure) -> bool:
        """Store a failed calculation unless it gave a label before; True where stored."""
        if self._one(self.points, {"point_id": failure.point_id, "salvaged_from": {"$in": ["", None]}}, ["point_id"]):
            return False
        with explained(self.uri):
            self.failures.update(stamped(failure.to_document()))
        return True

    def get_point(self, point_id: str) -> SpinPoint | None:
        """The label of a calculation, None where there is none."""
        document = self._one(self.points, {"point_id": point_id})
        return None if document is None else parse(SpinPoint, document)

    def has_label(self, point_id: str) -> bool:
        """Whether the calculation gave a label, accepted or rejected."""
        return self._one(self.points, {"point_id": point_id}, ["point_id"]) is not None

    def put_model(self, record: ModelRecord) -> None:
        """Store a model record, replacing the one of the same ``model_id``."""
        with explained(self.uri):
            self.models.update(stamped(record.to_document()))

    def get_model(self, model_id: str) -> ModelRecord | None:
        """A model record, None where there is none."""
        document = self._one(self.models, {"model_id": model_id})
        return None if document is None else parse(ModelRecord, document)

    def get_models(self, **equal: Any) -> list[ModelRecord]:
        """Model records whose fields equal ``equal`` (such as ``campaign='nio', status='champion'``), oldest first."""
        with explained(self.uri):
            documents = list(self.models.query(equal))
        return sorted((parse(ModelRecord, document) for document in documents), key=lambda r: (r.created, r.model_id))

    def _one(
        self, store: Store, criteria: dict[str, Any], properties: list[str] | None = None
    ) -> dict[str, Any] | None:
        with explained(self.uri):
            return store.query_one(criteria, properties)


def open_store(uri: str, create: bool = True, readonly: bool = False) -> SpinStore:
    """Open (and by default create) the store that ``uri`` names; see the table at the top.

    Indexes are made with ``create`` only. ``readonly`` (then nothing is created) needs no permission to write, and
    writing raises DataError. Raises DataError where the scheme is unknown, the place cannot be reached or written, or,
    with ``create=False``, a local store does not exist yet.
    """
    create = create and not readonly
    place = resolved(uri)
    scheme, _, rest = place.partition(":")
    if scheme == "local":
        stores = _local(rest, create, readonly)
    elif scheme in ("mongodb", "mongodb+srv"):
        stores = _mongo(place, readonly)
    elif scheme == "memory":
        stores = _memory(readonly)
    else:
        raise DataError(
            f"store {mask(uri)!r} has no known scheme; use local:FOLDER, mongodb://HOST/DATABASE, memory: or env:NAME"
        )
    with explained(uri):
        for store in stores.values():
            store.connect()
        opened = SpinStore(uri, stores)
        if create:
            opened.index()
        else:
            opened.points.query_one({opened.points.key: "?"})  # tells what is wrong with server, user or password
    return opened


def stamped(document: dict[str, Any]) -> dict[str, Any]:
    """The document with ``last_updated`` (UTC, naive, as maggma wants it) set to now, and its checksum.

    Documents that have a schema version get a checksum, and labels what they are searched by; notes, which have none,
    get a version.
    """
    noted = {"schema_version": SCHEMA_VERSION, **document}
    content = sealed(searchable(document)) if "schema_version" in document else noted
    return {**content, "last_updated": datetime.now(UTC).replace(tzinfo=None)}


def may_write(store: Store) -> None:
    """Raise DataError where a store was opened to read. Whoever writes past maggma's ``update`` asks this first."""
    if getattr(store, "readonly", False):
        raise DataError(f"store {store.name} was opened to read only; open it without readonly=True to write")


def insert_new(store: Store, document: dict[str, Any]) -> bool:
    """Store a document unless one of its key is there; False then. Of several writers exactly one gets True.

    All writers of a collection have to use this: in MongoDB the key becomes ``_id``, which is what keeps it unique.
    Raises DataError where the store was opened to read.
    """
    may_write(store)
    if isinstance(store, SqliteStore):
        return store.insert(document)
    try:
        store._collection.insert_one({**document, "_id": document[store.key]})
    except DuplicateKeyError:
        return False
    return True


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn errors of MongoDB into DataErrors that name the remedy and hide the password."""
    try:
        yield
    except DocumentTooLarge as error:
        raise DataError(f"document too large for {mask(uri)}: {error}; keep labels slim") from error
    except OperationFailure as error:
        remedy = "check user, password and role" if error.code in (13, 18) else "check the server's log"
        raise DataError(f"store {mask(uri)} refused: {_first(error)}; {remedy}") from error
    except PyMongoError as error:
        raise DataError(
            f"store {mask(uri)} cannot be reached: {_first(error)}; start the server, check host, port and network"
        ) from error


def _first(error: Exception) -> str:
    return mask(str(error).split(", Timeout", maxsplit=1)[0].splitlines()[0])[:200]


def _local(path: str, create: bool, readonly: bool) -> dict[str, Store]:
    if not path:
        raise DataError("store 'local:' names no folder; use local:FOLDER")
    file = Path(path).expanduser().resolve() / FILE
    if not create and not file.exists():
        raise DataError(f"there is no store at {path}; give the folder of a campaign that ran, or run one first")
    plain = {"points": PLAIN}
    return {
        name: SqliteStore(str(file), name, plain=plain.get(name, ()), readonly=readonly, key=key)
        for name, (key, _) in COLLECTIONS.items()
    }


def database_of(uri: str) -> str:
    """The database that a MongoDB URI names, empty where it names none.

    Raises DataError, without pymongo's words, which quote what it takes for host, port or database: a password with
    ``@ : /`` in it is cut there.
    """
    problem = (
        f"{mask(uri)} is no valid MongoDB URI; write {URI}, with user and password escaped: %40 for @, %3A for :, "
        "%2F for /, %3F for ?, %23 for #, %25 for %"
    )
    rest = uri.partition("://")[2]
    if "@" in rest and "@" not in re.split("[/?#]", rest, maxsplit=1)[0]:
        raise DataError(problem)
    try:
        return str(uri_parser.parse_uri(uri, connect_timeout=TIMEOUT_MS / 1000)["database"] or "")
    except (InvalidURI, ValueError):
        raise DataError(problem) from None
    except PyMongoError as error:
        raise DataError(f"{mask(uri)} cannot be reached: {_first(error)}; check host and network") from error


def _memory(readonly: bool) -> dict[str, Store]:
    stores = {name: GuardedMemoryStore(name, key=key) for name, (key, _) in COLLECTIONS.items()}
    for store in stores.values():
        store.readonly = readonly
    return dict(stores)


def _mongo(uri: str, readonly: bool) -> dict[str, Store]:
    database = database_of(uri) or DATABASE
    options = {"serverSelectionTimeoutMS": TIMEOUT_MS, "connectTimeoutMS": TIMEOUT_MS}
    stores = {
        name: MaskedMongoStore(database, name, uri=uri, key=key, mongoclient_kwargs=options)
        for name, (key, _) in COLLECTIONS.items()
    }
    for store in stores.values():
        store.readonly = readonly
    return stores


def _index(store: Store, indexes: list[Index]) -> None:
    if isinstance(store, SqliteStore):
        store.ensure_indexes(indexes)
    elif isinstance(store, MaskedMongoStore):  # maggma hides why an index failed, and has none of several fields
        for index in indexes:
            fields = [index] if isinstance(index, str) else index
            alone = fields[0].endswith(ALL_BELOW)  # MongoDB before 7 indexes nothing beside '$**'
            store._collection.create_index([(field, 1) for field in fields[: 1 if alone else None]])
    # mongomock, which is behind memory:, pays for indexes and gains nothing
