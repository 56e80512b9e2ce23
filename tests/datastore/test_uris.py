import json

import pytest

from datastore import open_store
from datastore.errors import DataError
from datastore.uris import has_secret, mask, resolved
from tests.datastore.support import make_point


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://ada:s3cret@host/db", "mongodb://ada:***@host/db"),
        ("mongodb+srv://ada:s3cret@host/db?tls=true", "mongodb+srv://ada:***@host/db?tls=true"),
        ("mongodb://ada:p@ss:w/rd@host/db", "mongodb://ada:***@host/db"),
        (
            "mongodb://host/db?tlsCertificateKeyFilePassword=s3cret&w=1",
            "mongodb://host/db?tlsCertificateKeyFilePassword=***&w=1",
        ),
        (
            "mongodb://host/?authMechanismProperties=AWS_SESSION_TOKEN:s3cret",
            "mongodb://host/?authMechanismProperties=AWS_SESSION_TOKEN:***",
        ),
        ("mongodb://us/er:s3cret@host/db", "mongodb://***@host/db"),
        ("mongodb://us/er:s3@cr/et@host:1/db", "mongodb://***@host:1/db"),
        ("mongodb:ada:s3cret@host/db", "mongodb:ada:***@host/db"),
        ("mongodb:/ada:s3cret@host/db", "mongodb:/ada:***@host/db"),
        ("mongodb+srv:ada:s3/cret@host/db", "mongodb+srv:ada:***@host/db"),
        ("ada:s3cret@host/db", "ada:***@host/db"),
        ("ada:s3/c\nret@host/db", "ada:***@host/db"),
        ("mongodb://ada:s3cret", "mongodb://ada:***"),
        ("mongodb://ada:123s3cret", "mongodb://ada:***"),
        ("mongodb:ada:s3\ncret", "mongodb:ada:***"),
        ("mongodb://ada:s3\ncret@host/db", "mongodb://ada:***@host/db"),
        ("mongodb://ada:s3\r\ncr@et@host:bad/db", "mongodb://ada:***@host:bad/db"),
        ("mongodb://h1:27017,h2:27018/db?replicaSet=a", "mongodb://h1:27017,h2:27018/db?replicaSet=a"),
        ("mongodb://[::1]:27017/db", "mongodb://[::1]:27017/db"),
        ("local:/a@b/c:d@e", "local:/a@b/c:d@e"),
        ("memory:", "memory:"),
        ("mongodb://host:27017/db", "mongodb://host:27017/db"),
        ("mongodb://ada@host/db", "mongodb://ada@host/db"),
        ("local:/a/b", "local:/a/b"),
        ("env:SPIN_STORE", "env:SPIN_STORE"),
    ],
)
def test_secrets_are_masked(uri, shown):
    assert mask(uri) == shown
    assert mask(shown) == shown
    assert has_secret(uri) == (uri != shown)


@pytest.mark.parametrize(
    "uri",
    [
        *("mongodb://us/er:s3cret@h/db", "mongodb:user:s3cret@h/db", "mongodb:/user:s3cret@h/db", "user:s3cret@h/db"),
        *("mongodb://user:s3cret", "mongodb://user:s3\ncret@h/db", "mongodb://user:s3cret@h:bad/db"),
    ],
)
def test_no_error_of_a_damaged_uri_shows_its_password(uri):
    with pytest.raises(DataError) as caught:
        open_store(uri, create=False)
    assert "s3" not in str(caught.value)
    assert "cret" not in str(caught.value)


def test_a_variable_is_read_when_the_store_is_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIN_STORE", f"local:{tmp_path}/s3cret")
    with open_store("env:SPIN_STORE") as store:
        store.put_point(make_point())
        assert store.uri == "env:SPIN_STORE"
        assert "s3cret" not in repr(store) + json.dumps(list(store.points.query({})), default=str)
    with open_store(f"local:{tmp_path}/s3cret") as store:
        assert store.points.count() == 1


@pytest.mark.parametrize(
    ("uri", "value", "part"),
    [
        ("env:SPIN_STORE", None, "variable SPIN_STORE is not set; export SPIN_STORE=mongodb"),
        ("env:SPIN_STORE", " ", "is not set"),
        ("env:SPIN_STORE", "env:SPIN_STORE", "names another variable"),
        ("env:SPIN_STORE", "local:labels", "needs a whole path"),
        ("env:", None, "names no environment variable"),
        ("env:A B", None, "names no environment variable"),
    ],
)
def test_variables_that_say_nothing(uri, value, part, monkeypatch):
    monkeypatch.delenv("SPIN_STORE", raising=False)
    if value is not None:
        monkeypatch.setenv("SPIN_STORE", value)
    with pytest.raises(DataError, match=part):
        open_store(uri)
    assert resolved("local:labels") == "local:labels"


def test_no_error_shows_what_the_variable_holds(monkeypatch):
    monkeypatch.setattr("datastore.stores.TIMEOUT_MS", 50)
    monkeypatch.setenv("SPIN_STORE", "mongodb://ada:s3cret@127.0.0.1:1/db")
    with pytest.raises(DataError, match="store env:SPIN_STORE cannot be reached") as caught:
        open_store("env:SPIN_STORE")
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv("SPIN_STORE", "ftp://ada:s3cret@host")
    with pytest.raises(DataError, match="env:SPIN_STORE' has no known scheme"):
        open_store("env:SPIN_STORE")
