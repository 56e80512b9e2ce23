"""A project of jobflow-remote whose queue is in a real database; no runner is at work."""

import os
from uuid import uuid4

import pytest
import yaml

from tests.support.cli import tiny_campaign


def place(uri: str) -> dict:
    """Host and port of ``mongodb://HOST:PORT``, as stores of maggma want them."""
    from pymongo.uri_parser import parse_uri

    host, port = parse_uri(uri)["nodelist"][0]
    return {"host": host, "port": port}


def write_project(folder, base: str, name: str, **changes) -> None:
    """A project ``desk`` with three workers; its results go to the database ``name``."""
    store = {"type": "MongoStore", "database": name, **place(base)}
    files = {"type": "GridFSStore", "database": name, "collection_name": "files", "key": "blob_uuid", **place(base)}
    worker = {"type": "local", "scheduler_type": "shell", "work_dir": str(folder / "work"), "max_jobs": 2}
    content = {
        "name": "desk",
        "workers": dict.fromkeys(("light", "labels", "train"), worker),
        "queue": {"store": {**store, "database": f"{name}_queue", "collection_name": "jobs"}},
        "jobstore": {
            "docs_store": {**store, "collection_name": "jobs"},
            "additional_stores": {"files": files},
        },
        **changes,
    }
    (folder / "projects").mkdir(exist_ok=True)
    (folder / "projects" / "desk.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Folder with a campaign, and the project ``desk`` that fits it; the queue is set up."""
    remote = pytest.importorskip("jobflow_remote", reason="pip install 'spinmultinet-workflows[remote]'")
    base = os.environ.get("SPINMULTINET_TEST_MONGO_URI", "").rstrip("/")
    if not base:
        pytest.skip("SPINMULTINET_TEST_MONGO_URI names no MongoDB server")
    monkeypatch.setattr(remote.SETTINGS, "projects_folder", str(tmp_path / "projects"))
    monkeypatch.chdir(tmp_path)
    name = f"test_{uuid4().hex[:8]}"
    write_project(tmp_path, base, name)
    tiny_campaign(tmp_path, store=f"{base}/{name}")
    from workflows.remote.queue import open_queue

    with open_queue("desk") as controller:
        controller.reset(reset_output=False)
        yield tmp_path
        for database in (name, f"{name}_queue"):
            controller.db.client.drop_database(database)
