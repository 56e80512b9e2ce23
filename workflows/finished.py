"""Results of long commands in a file: what is finished is on disk, and is not done again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datastore.errors import DataError

SECONDS = 5.0
"""Between two writings of a state."""


class Finished:
    """Results by key, in memory and, where a path is given, one JSON line each in a file.

    ``source`` says what they were computed with (a hash of models, say); lines of another source are not read. A line
    that a kill cut off is not there.
    """

    def __init__(self, path: Path | None, source: str = "") -> None:
        self.path, self.source = path, source
        self._found: dict[str, dict[str, Any]] = {}
        lines = path.read_text(errors="replace").splitlines() if path is not None and path.exists() else []
        for line in lines:
            try:
                content = json.loads(line)
                if content["source"] == source:
                    self._found[content["key"]] = content["result"]
            except (ValueError, KeyError, TypeError):
                continue

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._found[key]

    def __len__(self) -> int:
        return len(self._found)

    def add(self, key: str, result: Mapping[str, Any]) -> None:
        """Keep a JSON-able result; it is on disk before this returns."""
        self._found[key] = dict(result)
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"source": self.source, "key": key, "result": dict(result)}).encode()
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # ends the part of a line that a kill left
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())


class StateFile:
    """State of one long computation, written now and then and at the end; ``path`` None keeps nothing.

    ``key`` says which computation it is. DataError (from :meth:`load`) where the file is another one's.
    """

    def __init__(self, path: Path | None, key: str, every: float = SECONDS) -> None:
        self.path, self.key, self.every = path, key, every
        self._last = float("-inf")
        self._pending: dict[str, Any] | None = None

    def load(self) -> dict[str, Any] | None:
        """The state in the file, None where there is none."""
        if self.path is None or not self.path.exists():
            return None
        try:
            content = json.loads(self.path.read_text())
            mine, state = content["key"] == self.key, content["state"]
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{self.path} cannot be read; delete it to begin anew") from None
        if not mine:
            raise DataError(
                f"{self.path} belongs to another structure, model or options; delete it, or write to another file"
            )
        return dict(state)

    def save(self, state: dict[str, Any]) -> None:
        """Keep the state, and write it where the last writing is long ago."""
        self._pending = state
        if time.monotonic() - self._last >= self.every:
            self.write()

    def write(self) -> None:
        """Write what was kept; a reader sees the old state or the new one."""
        if self.path is None or self._pending is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"key": self.key, "state": self._pending}))
        os.replace(temporary, self.path)
        self._pending, self._last = None, time.monotonic()
