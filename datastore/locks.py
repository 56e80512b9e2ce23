"""One holder at a time, across processes and hosts: locks in the project's store.

A lock is one document: who holds it, since when, and a token that is new for each holding. It is taken and renewed by
single atomic writes, in SQLite and in MongoDB. The holder renews it in a thread. It is taken over where the holder is
dead: on the same machine its process is gone (process ids are used again, so the time it started counts as well), and
anywhere it was not renewed for ``ttl`` seconds. So the clocks of the hosts must agree to much better than ``ttl``.

A holder that was stopped for long may have lost its lock without knowing. Whoever decides something under a lock calls
:func:`require_held` right before the write, which compares tokens; the processes it starts find the token in their
environment.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from maggma.core import Store

from datastore.errors import DataError
from datastore.schema import SCHEMA_VERSION, content_hash
from datastore.sqlite_store import SqliteStore
from datastore.stores import SpinStore, explained, insert_new, may_write

TTL = 120.0
"""Seconds without renewal after which a holder counts as dead."""

BEATS = 4
"""Renewals per ``ttl``."""

HELD = "SPINMULTINET_LOCKS"
"""Environment variable with the tokens of the locks this process and its children work under."""

Document = dict[str, Any]


class BusyError(DataError):
    """Somebody else holds the lock."""


class LockLostError(DataError):
    """The lock was taken over by somebody else, because this process did not renew it in time."""


class Held:
    """A lock that this process holds."""

    def __init__(self, store: SpinStore, document: Document):
        self.store, self.document = store, document
        self._lost = False
        self._renewed = time.monotonic()

    @property
    def name(self) -> str:
        """Name of the lock."""
        return str(self.document["name"])

    @property
    def token(self) -> str:
        """What tells this holding from every other."""
        return str(self.document["token"])

    def check(self) -> None:
        """Raise LockLostError where the lock is lost. Cheap: the store is asked only where a renewal is overdue."""
        overdue = time.monotonic() - self._renewed > float(self.document["ttl"])
        if self._lost or (overdue and not _is_current(self.store, self.name, self.token)):
            raise _lost(self.store, self.name)

    def beat(self) -> bool:
        """Renew the lock; False where it is lost."""
        renewed = {**self.document, "renewed": time.time()}
        with explained(self.store.uri):
            self._lost = not _replace_if(self.store.locks, renewed, {"token": self.token})
        if not self._lost:
            self._renewed = time.monotonic()
        return not self._lost


@contextmanager
def lock(store: SpinStore, name: str, owner: str, ttl: float = TTL) -> Iterator[Held]:
    """Hold the lock ``name`` while the block runs. ``owner``: what this process does with it, for people.

    Raises BusyError, which names the holder, where somebody else has it. It is released at the end, also after errors.
    """
    held = Held(store, _acquire(store, name, owner, ttl))
    ended = threading.Event()
    beating = threading.Thread(target=_keep, args=(held, ended), name=f"lock {name}", daemon=True)
    beating.start()
    before = os.environ.get(HELD)
    os.environ[HELD] = json.dumps({**_under(), _key(store, name): held.token})
    try:
        yield held
    finally:
        if before is None:
            os.environ.pop(HELD, None)
        else:
            os.environ[HELD] = before
        ended.set()
        beating.join()
        with explained(store.uri):
            store.locks.remove_docs({"name": name, "token": held.token})


def require_held(store: SpinStore) -> None:
    """Raise LockLostError where a lock in this store, under which this process works, is somebody else's by now."""
    under = _under()
    prefix = _key(store, "")
    for key, token in under.items():
        if key.startswith(prefix) and not _is_current(store, name := key.removeprefix(prefix), token):
            raise _lost(store, name)


def holder(store: SpinStore, name: str) -> str:
    """Who holds a lock, for people; empty where nobody living does."""
    with explained(store.uri):
        document = store.locks.query_one({"name": name})
    return "" if document is None or _is_dead(document) else _described(document)


def _acquire(store: SpinStore, name: str, owner: str, ttl: float) -> Document:
    with explained(store.uri):
        while True:
            mine = _mine(name, owner, ttl)
            there = store.locks.query_one({"name": name})
            if there is None:
                taken = insert_new(store.locks, mine)
            elif _is_dead(there):
                as_seen = {"token": there.get("token"), "renewed": there.get("renewed")}
                taken = _replace_if(store.locks, mine, as_seen)
            else:
                raise BusyError(
                    f"{name} is busy: {_described(there)}; wait for it, or stop it there and run this command again"
                )
            if taken:  # otherwise somebody was faster: look again
                return mine


def _mine(name: str, owner: str, ttl: float) -> Document:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "token": uuid4().hex,
        "owner": owner,
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "process_start": _process_start(os.getpid()),
        "acquired": datetime.now(UTC).isoformat(timespec="seconds"),
        "renewed": time.time(),
        "ttl": ttl,
    }


def _replace_if(store: Store, document: Document, expected: Document) -> bool:
    """Replace the lock of this name where it matches ``expected``, in one atomic step; returns whether it did."""
    may_write(store)
    if isinstance(store, SqliteStore):
        return store.replace_if(document, expected)
    identified = {**document, "_id": document["name"]}
    return store._collection.find_one_and_replace({"_id": document["name"], **expected}, identified) is not None


def _keep(held: Held, ended: threading.Event) -> None:
    """Renew until the end; where the store cannot be reached, the next time may do."""
    while not ended.wait(float(held.document["ttl"]) / BEATS):
        with suppress(DataError):
            if not held.beat():
                return


def _is_current(store: SpinStore, name: str, token: str) -> bool:
    with explained(store.uri):
        return store.locks.query_one({"name": name, "token": token}, ["name"]) is not None


def _is_dead(document: Document) -> bool:
    age = time.time() - float(document.get("renewed") or 0)
    if age > float(document.get("ttl") or TTL):
        return True
    if document.get("machine") != _machine():
        return False
    started = _process_start(int(document.get("pid") or 0))
    return started is None or started != document.get("process_start")


def _machine() -> str:
    """This host since it was booted, and the namespace that process ids are of: containers share neither or both."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            parts.append(os.readlink(path) if path.endswith("pid") else Path(path).read_text().strip())
    return content_hash(parts)


def _process_start(pid: int) -> str | None:
    """When a living process started, in ticks since the boot; None where there is none.

    Empty where the system has no /proc: then a process of this id counts as the one that was.
    """
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # state, then starttime: fields 3 and 22 of proc(5)


def _described(document: Document) -> str:
    return (
        f"{document.get('owner') or 'somebody'} since {document.get('acquired')} (process {document.get('pid')} on "
        f"{document.get('host')})"
    )


def _lost(store: SpinStore, name: str) -> LockLostError:
    now = holder(store, name)
    return LockLostError(
        f"the lock of {name} was lost, because it was not renewed in time{f'; now it has {now}' if now else ''}; "
        "nothing was decided here; run the same command again"
    )


def _under() -> dict[str, str]:
    return dict(json.loads(os.environ.get(HELD) or "{}"))


def _key(store: SpinStore, name: str) -> str:
    """Name of a lock in one store; a hash of the URI, which may hold a password."""
    return f"{content_hash(store.uri, 12)}:{name}"
