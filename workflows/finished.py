"""Results of long commands in a file: what is finished is on disk, and is not done again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
