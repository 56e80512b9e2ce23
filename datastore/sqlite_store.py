"""A maggma Store on local disk: documents as JSON in one SQLite file, nothing acknowledged is ever lost.

maggma's own file stores rewrite everything at each update (JSONStore) or slow down with size (MontyStore). This one
writes through: each ``update`` is one transaction, on disk when it returns (write-ahead log, synchronous=FULL).
Several processes may read and write at once; a writer waits up to a minute for another one. They have to be on one
machine: SQLite's log does not work across hosts on a network file system. There, use MongoDB.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from maggma.core import Sort, Store
from pydash import get, has, set_

from datastore import sqlite_connection as files
from datastore import sqlite_query as q
from datastore.errors import DataError
from datastore.sqlite_query import Criteria, Document

BATCH = 128
"""Documents fetched at a time: bounded memory, and no read transaction stays open while the caller works."""

ALL_BELOW = ".$**"
"""Ends the name of a field in an index, as in MongoDB: each field below it."""

Properties = Mapping[str, Any] | Sequence[str] | None
Order = Mapping[str, Sort | int] | None


class SqliteStore(Store):
    """One collection of JSON documents in an SQLite file (one table per collection).

    Args:
        path: the file; folder and file are created on ``connect``.
        collection_name: the table.
        plain: fields that hold, in every document, nothing or one value of one kind (text, number, truth value, time);
            ``NAME.*`` for all below NAME. Conditions on them are decided by indexes alone.
        readonly: the file has to exist and is not written, not even where somebody else's connection left work to do.
        kwargs: ``key``, ``last_updated_field``, ``last_updated_type``, ``validator`` as for every maggma Store.

    Documents have no ``_id``. All database errors are raised as DataError with the remedy.
    """

    def __init__(
        self,
        path: str | Path,
        collection_name: str,
        plain: Sequence[str] = (),
        readonly: bool = False,
        **kwargs: Any,
    ):
        self.path = str(path)
        self.collection_name = collection_name
        self.plain = list(plain)
        self.readonly = readonly
        self.kwargs = kwargs
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._lock = threading.RLock()
        self._indexed: set[tuple[str, ...]] = set()
        self._below: set[tuple[str, ...]] = set()
        super().__init__(**kwargs)

    @property
    def name(self) -> str:
        """``sqlite://FILE#COLLECTION``."""
        return f"sqlite://{self.path}#{self.collection_name}"

    @property
    def _collection(self) -> sqlite3.Connection:
        return self._database()

    @property
    def _table(self) -> str:
        return q.quoted(self.collection_name)

    def connect(self, force_reset: bool = False) -> None:
        """Open the file and make the table. Raises DataError where the file is damaged or cannot be written."""
        if self._connection is not None and self._pid == os.getpid() and not force_reset:
            return
        with self._lock, self._explained():
            path = Path(self.path).expanduser()
            connection = files.connect_readonly(path) if self.readonly else files.connect(path)
            self._connection, self._pid, self._indexed = connection, os.getpid(), set()
            if not self.readonly:
                self._create_table("TABLE")
                self.ensure_index(self.key)
            elif not connection.execute(f"PRAGMA table_info({self._table})").fetchall():
                self._create_table("TEMP TABLE")  # a collection that came with a later version is empty

    def _create_table(self, kind: str) -> None:
        columns = "(id INTEGER PRIMARY KEY, doc TEXT NOT NULL)"
        self._database().execute(f"CREATE {kind} IF NOT EXISTS {self._table} {columns}")

    def close(self) -> None:
        """Close the file; a later call needs ``connect`` again."""
        if self._connection is not None and self._pid == os.getpid():
            if self._connection.total_changes >= files.ANALYSED:
                with suppress(sqlite3.Error):  # knowing less only makes queries slower
                    files.learn(self._connection)
            self._connection.close()
        self._connection = None

    def count(self, criteria: Criteria | None = None) -> int:
        """Number of documents that match."""
        condition = self._where(criteria)
        if not condition.exact:
            return sum(1 for _ in self.query(criteria))
        sql = f"SELECT COUNT(*) FROM {self._table} WHERE {condition.sql}"
        return int(self._rows(sql, condition.parameters)[0][0])

    def count_by(self, fields: Sequence[str], criteria: Criteria | None = None) -> dict[tuple[Any, ...], int] | None:
        """Documents for each combination of values of plain fields; None where indexes alone cannot tell.

        A document without the field counts under None.
        """
        condition = self._where(criteria)
        columns = [q.expression(field) for field in fields if self._is_plain(field)]
        if not condition.exact or None in columns or len(columns) < len(fields):
            return None
        sql = f"SELECT {', '.join(map(str, columns))}, COUNT(*) FROM {self._table} WHERE {condition.sql}"
        groups = ", ".join(map(str, range(1, len(fields) + 1)))
        return {tuple(row[:-1]): int(row[-1]) for row in self._rows(f"{sql} GROUP BY {groups}", condition.parameters)}

    def query(
        self,
        criteria: Criteria | None = None,
        properties: Properties = None,
        sort: Order = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[Document]:
        """Documents that match, lazily, in ``sort`` order or the order of insertion.

        ``criteria``: MongoDB filter; ``properties``: fields to return (list or projection); ``limit`` 0 means all.
        """
        passed = skip if self._where(criteria).exact else 0  # by SQL, which reads no document for it
        skip -= passed
        found = (document for _, document in self._matching(criteria, sort, skip + limit if limit else 0, passed))
        chosen = islice(found, skip, skip + limit if limit else None)
        return (q.project(document, properties) for document in chosen)

    def update(self, docs: list[Document] | Document, key: list[str] | str | None = None) -> None:
        """Insert documents, replacing those with equal ``key`` fields; one transaction, on disk when this returns."""
        documents = docs if isinstance(docs, list) else [docs]
        keys = [key] if isinstance(key, str) else list(key or [self.key])
        prepared = [
            (self._key_of(document, keys), q.encode(document)) for document in documents if self._valid(document)
        ]
        if not prepared:
            return
        self.ensure_index(keys[0])
        self._index_below(documents)
        with self._transaction() as database:
            for identity, text in prepared:
                self._write(database, next(self._matching(identity, None), None), text)

    def replace_if(self, document: Document, expected: Criteria) -> bool:
        """Replace the document of its ``key`` where that one matches ``expected``; False, and nothing done, otherwise.

        One transaction, on disk when it returns: of several processes that expect the same, one succeeds.
        """
        return self.replace_each([(document, expected)]) == 1

    def replace_each(self, pairs: Sequence[tuple[Document, Criteria]]) -> int:
        """:meth:`replace_if` of several in one transaction; returns how many were replaced."""
        prepared = [(self._key_of(document, [self.key]), q.encode(document), expected) for document, expected in pairs]
        self._index_below([document for document, _ in pairs])
        replaced = 0
        with self._transaction() as database:
            for identity, text, expected in prepared:
                old = next(self._matching(identity, None), None)
                if old is not None and q.matches(expected, old[1]):
                    self._write(database, old, text)
                    replaced += 1
        return replaced

    def _write(self, database: sqlite3.Connection, old: tuple[int, Document] | None, text: str) -> None:
        if old is None:
            database.execute(f"INSERT INTO {self._table} (doc) VALUES (?)", (text,))
        else:
            database.execute(f"UPDATE {self._table} SET doc = ? WHERE id = ?", (text, old[0]))

    def insert(self, document: Document) -> bool:
        """Insert a document unless one of its ``key`` is there; False then. One transaction, on disk at the end."""
        identity = self._key_of(document, [self.key])
        with self._transaction() as database:
            if next(self._matching(identity, None), None) is not None:
                return False
            database.execute(f"INSERT INTO {self._table} (doc) VALUES (?)", (q.encode(document),))
        return True

    def rows(self) -> Iterator[tuple[int, str]]:
        """Number and JSON text of every row, lazily and unread: to look at what may be damaged."""
        last = -1
        while batch := self._rows(f"SELECT id, doc FROM {self._table} WHERE id > ? ORDER BY id LIMIT {BATCH}", (last,)):
            yield from batch
            last = batch[-1][0]

    def remove_docs(self, criteria: Criteria) -> None:
        """Delete the documents that match."""
        with self._transaction() as database:
            ids = [(row_id,) for row_id, _ in self._matching(criteria, None)]
            database.executemany(f"DELETE FROM {self._table} WHERE id = ?", ids)

    def ensure_index(self, key: str | Sequence[str], unique: bool = False) -> bool:
        """:meth:`ensure_indexes` of one. ``unique`` is refused by DataError where documents share a value."""
        return self.ensure_indexes([key], unique)

    def ensure_indexes(self, keys: Sequence[str | Sequence[str]], unique: bool = False) -> bool:
        """Index (dotted) fields, or several in an order. ``NAME.$**`` is each field below NAME that comes later."""
        wanted: dict[str, str] = {}
        for key in keys:
            fields = (key,) if isinstance(key, str) else tuple(key)
            if fields[0].endswith(ALL_BELOW):
                self._below.add((fields[0].removesuffix(ALL_BELOW), *fields[1:]))
            elif fields not in self._indexed:
                wanted |= q.index_statements(self.collection_name, fields, self._is_plain(fields[0]), unique)
                self._indexed.add(fields)
        there = {row[0] for row in self._rows("SELECT name FROM sqlite_master WHERE type = 'index'")} if wanted else ()
        if missing := [sql for name, sql in wanted.items() if name not in there]:
            with self._transaction() as database:
                for sql in missing:
                    database.execute(sql)
        return True

    def _index_below(self, documents: Sequence[Document]) -> None:
        found = [(get(document, name) or (), name, others) for name, *others in self._below for document in documents]
        wanted = {(f"{name}.{key}", *others) for keys, name, others in found for key in keys}
        # Of a range and a value that many documents have SQLite takes the value, so there is one for either.
        self.ensure_indexes(sorted(wanted | {(*others, field) for field, *others in wanted}))

    def groupby(
        self,
        keys: list[str] | str,
        criteria: Criteria | None = None,
        properties: Properties = None,
        sort: Order = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[tuple[Document, list[Document]]]:
        """Groups of documents with equal ``keys`` (all present), as (keys, documents); ``limit`` counts documents."""
        names = [keys] if isinstance(keys, str) else list(keys)
        wanted = [*names, *properties] if properties else names
        groups: dict[bytes, tuple[Document, list[Document]]] = {}
        for document in self.query(criteria, wanted, sort, skip, limit):
            if not all(has(document, name) for name in names):
                continue
            values = [get(document, name) for name in names]
            mark = orjson.dumps(values, default=str)
            if mark not in groups:
                head: Document = {}
                for name, value in zip(names, values, strict=True):
                    set_(head, name, value)
                groups[mark] = (head, [])
            groups[mark][1].append(document)
        return iter(groups.values())

    def distinct(self, field: str, criteria: Criteria | None = None, all_exist: bool = False) -> list[Any]:
        """Distinct values of a field (elements, where it holds lists)."""
        if not criteria and (fast := self._distinct_scalars(field)) is not None:
            return fast
        values: dict[bytes, Any] = {}
        for document in self.query(criteria, [field]):
            if has(document, field):
                value = get(document, field)
                for item in value if isinstance(value, list) else [value]:
                    values.setdefault(orjson.dumps(item, default=str), item)
        return list(values.values())

    def __eq__(self, other: object) -> bool:
        """Same file, same collection, same fields."""
        if not isinstance(other, SqliteStore):
            return False
        fields = ("path", "collection_name", "key", "last_updated_field")
        return all(getattr(self, name) == getattr(other, name) for name in fields)

    def __hash__(self) -> int:
        return hash((self.path, self.collection_name, self.last_updated_field))

    def explain(self, criteria: Criteria, sort: Order = None) -> list[str]:
        """SQLite's plan for the first documents of a query."""
        condition = self._where(criteria)
        order = self._order(sort, condition)
        sql = f"SELECT id FROM {self._table} WHERE {condition.sql} ORDER BY {order} LIMIT 20"
        return [str(row[3]) for row in self._rows(f"EXPLAIN QUERY PLAN {sql}", condition.parameters)]

    def verify(self) -> list[str]:
        """Problems SQLite finds in the file; empty when sound."""
        return [str(row[0]) for row in self._rows("PRAGMA integrity_check") if row[0] != "ok"]

    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            raise DataError(f"store {self.name} is not open; call connect() first")
        if self._pid != os.getpid():
            # SQLite connections do not survive a fork, and closing one in the child would confuse its file locks.
            files.FORKED.append(self._connection)
            self.connect()
        return self._connection

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._explained():
            return self._database().execute(sql, values).fetchall()

    def _where(self, criteria: Criteria | None) -> q.Condition:
        return q.where(criteria, self._is_plain)

    def _is_plain(self, field: str) -> bool:
        return field in self.plain or any(field.startswith(name[:-1]) for name in self.plain if name.endswith(".*"))

    def _order(self, sort: Order, condition: q.Condition) -> str:
        # SQLite likes to walk through the whole table where a limit and the order of rows are asked for; '+' says no.
        return "+id" if condition.sql != q.EVERYTHING and not sort else q.order_by(sort, self.key)

    def _matching(
        self, criteria: Criteria | None, sort: Order, limit: int = 0, skip: int = 0
    ) -> Iterator[tuple[int, Document]]:
        condition = self._where(criteria)
        sql = f"SELECT id FROM {self._table} WHERE {condition.sql} ORDER BY {self._order(sort, condition)}"
        sql += f" LIMIT {limit or -1} OFFSET {skip}" if condition.exact else ""
        ids = [row[0] for row in self._rows(sql, condition.parameters)]
        fits = q.matcher(criteria or {})
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            marks = ",".join("?" * len(batch))
            texts = dict(self._rows(f"SELECT id, doc FROM {self._table} WHERE id IN ({marks})", batch))
            for row_id in batch:
                if row_id not in texts:  # removed since by somebody else
                    continue
                document = self._decode(row_id, texts[row_id])
                # What was exact when the rows were chosen may have been changed since.
                if fits(document):
                    yield row_id, document

    def _decode(self, row_id: int, text: str) -> Document:
        try:
            document = q.decode(text)
        except (ValueError, AttributeError) as error:
            raise DataError(
                f"{self.name}: document {row_id} is damaged ({error}); {files.REMEDIES['malformed']}"
            ) from error
        if not isinstance(document, dict):
            what = f"it is a {type(document).__name__}"
            raise DataError(f"{self.name}: document {row_id} is damaged ({what}); {files.REMEDIES['malformed']}")
        return document

    def _distinct_scalars(self, field: str) -> list[Any] | None:
        """Values by SQL alone (from the index, where there is one); None where a value is no plain text or number."""
        target, kinds = q.expression(field), q.index_expressions(field)[1:]
        if target is None or kinds:
            return None
        values = [row[0] for row in self._rows(f"SELECT DISTINCT {target} FROM {self._table}")]
        plain = all(isinstance(v, str) and not v.startswith(("[", "{")) for v in values if v is not None)
        # 1 could be true and NULL could be a stored null, so only text is answered this way.
        return values if plain and None not in values else None

    def _key_of(self, document: Document, keys: list[str]) -> Document:
        missing = [name for name in keys if not has(document, name)]
        if missing:
            raise DataError(f"document for {self.name} has no {missing[0]!r}, which identifies it")
        return {name: get(document, name) for name in keys}

    def _valid(self, document: Document) -> bool:
        if self.validator is None or self.validator.is_valid(document):
            return True
        self.logger.error("%s", self.validator.validation_errors(document))
        return False

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            database = self._database()
            database.execute("BEGIN IMMEDIATE")  # take the write lock before reading: no lost updates
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            remedy = files.remedy(str(error))
            raise DataError(f"store {self.path} cannot be used: {error}; {remedy}") from error
