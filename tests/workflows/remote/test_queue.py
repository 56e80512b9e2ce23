"""A project that does not fit the campaign is refused before anything is done, each time with the remedy."""

import pytest
import yaml

from tests.workflows.remote.support import campaign_of
from workflows.remote.queue import check_project, open_queue
from workflows.remote.routing import RemoteSetupError


def change(folder, **changes):
    """Other values in the project's file; a value of None takes a key out."""
    path = folder / "projects" / "desk.yaml"
    content = yaml.safe_load(path.read_text())
    for place, value in changes.items():
        *above, last = place.split("__")
        at = content
        for key in above:
            at = at[key]
        at[last] = value
    path.write_text(yaml.safe_dump(content))


def check(folder, **routing):
    campaign = campaign_of(folder, **routing)
    with open_queue("desk") as controller:
        check_project(controller, campaign.options.store, campaign.routing)


def test_a_project_that_fits(desk):
    check(desk)
    check(desk, shared={})


@pytest.mark.parametrize(
    ("changes", "routing", "words"),
    [
        (
            {"jobstore__docs_store__database": "elsewhere"},
            {},
            "outputs in .*/elsewhere, collection jobs, and",
        ),
        (
            {"jobstore__docs_store__collection_name": "outputs"},
            {},
            "docs_store be the campaign's store",
        ),
        ({"jobstore__docs_store": {"type": "MemoryStore"}}, {}, "stores outputs in no MongoDB"),
        (
            {},
            {"workers": {"label": "gone", "train": "train", "light": "light"}},
            "has no worker gone, which",
        ),
        ({}, {"exec_config": {"labels": "vasp"}}, "has no exec_config vasp"),
        ({"jobstore__additional_stores": {}}, {"shared": {}}, "worker train trains without sharing .* GridFSStore"),
    ],
)
def test_what_does_not_fit(desk, changes, routing, words):
    change(desk, **changes)
    with pytest.raises(RemoteSetupError, match=words):
        check(desk, **routing)


def test_light_jobs_stay_where_the_folder_is(desk):
    far = {"type": "remote", "host": "example.org", "scheduler_type": "slurm", "work_dir": "/scratch"}
    change(desk, workers__light=far)
    with pytest.raises(RemoteSetupError, match="name a worker of type local for light"):
        check(desk)


def test_the_queue_has_a_database_of_its_own(desk):
    campaign = campaign_of(desk)
    change(desk, queue__store__database=campaign.options.store.rsplit("/", 1)[1])
    with pytest.raises(RemoteSetupError, match="a database of its own"):
        check(desk)


def test_a_queue_that_was_never_set_up(desk):
    change(desk, queue__store__database="never_set_up")
    with pytest.raises(RemoteSetupError, match="run: jf -p desk admin reset"):
        check(desk)


def test_a_campaign_whose_store_is_a_file(desk):
    campaign = campaign_of(desk)
    with open_queue("desk") as controller, pytest.raises(RemoteSetupError, match="store: mongodb://HOST/DATABASE"):
        check_project(controller, f"local:{desk / 'store'}", campaign.routing)


def test_no_such_project(desk):
    words = r"known: desk\); write one with spinmultinet remote init"
    with pytest.raises(RemoteSetupError, match=words), open_queue("x"):
        pass


def test_a_database_that_does_not_answer(desk):
    """One line, and no password in it."""
    uri = "mongodb://user:secret@127.0.0.1:9/x?serverSelectionTimeoutMS=200"
    change(desk, queue__store={"type": "MongoURIStore", "uri": uri, "collection_name": "jobs"})
    with pytest.raises(RemoteSetupError, match="cannot be reached") as raised:
        check(desk)
    assert "secret" not in str(raised.value)
