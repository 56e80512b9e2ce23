"""How connections to an SQLite file are opened: to write through, or to read what may not be written."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

BUSY_SECONDS = 60.0
ANALYSED = 1000
"""Rows of each index that SQLite looks at to learn which fields tell documents apart; it takes some milliseconds."""

FORKED: list[sqlite3.Connection] = []
"""Connections of parent processes: kept, because closing one would confuse its file locks."""

REMEDIES = {
    "readonly": "make the folder and file writable, or open a copy",
    "disk is full": "free space on the disk; what was acknowledged before is safe",
    "disk I/O": "check space, quota and health of the disk; what was acknowledged before is safe",
    "unable to open": "check that the folder exists and is writable",
    "locked": "another process holds the store for over a minute; end it or wait",
    "malformed": "restore a backup, or recover with: sqlite3 store.sqlite .recover | sqlite3 recovered.sqlite",
    "not a database": "restore a backup, or choose another folder for the store",
}
"""Part of what SQLite says -> what helps."""


def remedy(problem: str) -> str:
    """What helps against an error of SQLite."""
    return next((helps for part, helps in REMEDIES.items() if part in problem), "check path, permissions and disk")


def connect(path: Path) -> sqlite3.Connection:
    """A connection that writes through: what was acknowledged is on disk. Raises sqlite3.Error or OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    _execute_patiently(connection, "PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def connect_readonly(path: Path) -> sqlite3.Connection:
    """A connection that cannot write and needs no permission to. Raises sqlite3.Error where there is no file.

    Beside its log SQLite wants to keep a file for readers and writers to meet in. In a folder where it may not, and
    where nobody has a log open, the file is read as one that does not change.
    """
    name = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        return _opened(name)
    except sqlite3.OperationalError:
        if path.with_name(f"{path.name}-wal").exists():
            raise
        return _opened(f"{name}&immutable=1")


def learn(connection: sqlite3.Connection) -> None:
    """Let SQLite look which indexes tell documents apart: it then chooses well between two that would do."""
    connection.execute(f"PRAGMA analysis_limit={ANALYSED}")
    connection.execute("ANALYZE")


def _opened(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("SELECT COUNT(*) FROM sqlite_master")  # only this opens the file
    return connection


def _execute_patiently(connection: sqlite3.Connection, sql: str) -> None:
    """SQLite does not wait for others when the journal mode changes, so two processes that open a new file collide."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(sql)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
