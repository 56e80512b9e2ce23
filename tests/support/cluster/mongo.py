"""A server that speaks MongoDB's protocol: the one that is given, or the test server of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support.cluster.servers import Server, answers, free_port

GIVEN = "SPINMULTINET_TEST_MONGO_URI"
DATA = "SPINMULTINET_TEST_DATA"


class MongoServer:
    """``uri``: without a database. What a killed server had acknowledged is there when it starts again."""

    def __init__(self, folder: Path):
        self.port = free_port()
        command = [sys.executable, _program(), "--db", folder / "mongo.sqlite", "-p", str(self.port)]
        self.server = Server(command, folder / "mongo.log")
        self.uri = f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.server.start(lambda: answers(self.port))

    def kill(self) -> None:
        self.server.kill()

    def stop(self) -> None:
        self.server.stop()


def _program() -> Path:
    return Path(os.environ.get(DATA, "")) / "tools" / "mongo_test_server.py"


def missing() -> list[str]:
    """What this machine lacks to run it."""
    return [] if os.environ.get(DATA) and _program().exists() else [f"{DATA} names no folder with a test server"]
