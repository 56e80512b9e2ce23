"""The stack of servers that all tests of this folder share."""

import os

import pytest

from tests.support.cluster.stack import Stack, missing

REQUIRED = "SPINMULTINET_REQUIRE_REMOTE"


@pytest.fixture(scope="session")
def stack():
    pytest.importorskip("jobflow_remote", reason="pip install 'spinmultinet-workflows[remote]'")
    if lacking := missing():
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, and {'; '.join(lacking)}")
        pytest.skip("; ".join(lacking))
    servers = Stack()
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()
