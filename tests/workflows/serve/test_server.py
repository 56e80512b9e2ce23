"""The command itself: what it prints, refuses and answers to scripts."""

import json
import socket
import urllib.error
import urllib.request

import pytest

from datastore import open_store
from tests.support.cli import assert_one_line, in_this_process
from workflows.serve.server import ServeOptions, bind


def ask(url, data=None, **headers):
    """Status and text of an answer."""
    content = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_scripts_read_labels_and_campaigns(server):
    status, text = ask(f"{server.url}/api/{server.key}/points?where=verdict%3Drejected")
    assert status == 200
    assert {row["point_id"] for row in json.loads(text)} >= {server.flipped, server.hostile}
    status, text = ask(f"{server.url}/api/status")
    assert "nio" in [one["campaign"] for one in json.loads(text)[server.key]]
    status, text = ask(f"{server.url}/api/{server.key}/points?where=ordring%3DFM")
    assert (status, "did you mean 'ordering'" in text) == (400, True)
    assert ask(f"{server.url}/api/none/points")[0] == 400


def test_scripts_decide_with_the_token_only(server):
    asked = {"point_id": server.hostile, "action": "retract", "author": "Ada", "reason": "a script"}
    url = f"{server.url}/api/{server.key}/decisions"
    for headers in ({}, {"Authorization": "Bearer no"}, {"Cookie": "spinmultinet=no"}):
        assert ask(url, asked, **headers)[0] == 401
    with open_store(server.example.options.store, readonly=True) as store:
        assert store.decision_on(server.hostile) is None
    headers = {"Authorization": f"Bearer {server.token}"}
    assert ask(url, asked, **headers) == (200, json.dumps({server.hostile: "rejected"}, separators=(",", ":")))
    assert ask(url, {**asked, "action": "restore"}, **headers)[0] == 200
    assert ask(url, {**asked, "action": "restore"}, **headers)[0] == 400
    assert ask(url, {**asked, "more": 1}, **headers)[0] == 422


def test_other_hosts_and_sites_are_refused(server):
    assert ask(server.url, Host="evil.example")[0] == 400
    assert ask(server.url, Origin="http://evil.example")[0] == 403
    assert ask(f"{server.url}/api/{server.key}/decisions", {}, Origin="http://evil.example")[0] == 403


def test_nothing_is_told_of_how_the_server_is_made(server):
    for path in ("/docs", "/openapi.json", "/redoc"):
        status, text = ask(server.url + path)
        assert status == 404
        assert "Traceback" not in text


def test_a_port_in_use_is_said(shown, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = in_this_process(tmp_path, "serve", shown[0].folder, "--port", port)
    assert_one_line(done, 2, f"port {port} of 127.0.0.1 is in use; choose another: --port")


def test_a_store_that_is_not_there_is_said(tmp_path):
    done = in_this_process(tmp_path, "serve", f"local:{tmp_path}/none", "--port", 0)
    assert_one_line(done, 2, "there is no store at")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("package", "extra"), [("nicegui", "serve"), ("jobflow_remote", "remote")])
def test_a_package_that_is_missing_is_named(shown, tmp_path, monkeypatch, package, extra):
    monkeypatch.setattr("workflows.cli.serve.find_spec", lambda name: None if name == package else True)
    done = in_this_process(tmp_path, "serve", shown[0].folder, "--remote", "p", "--port", 0)
    assert_one_line(done, 3, f"pip install 'spinmultinet-workflows[{extra}]'")


def test_other_than_the_loopback_is_private(shown):
    place = [str(shown[0].folder)]
    for options, private in (
        (ServeOptions(place, host="127.0.0.2", port=0), True),
        (ServeOptions(place, port=0), False),
        (ServeOptions(place, port=0, private=True), True),
    ):
        bound = bind(options)
        bound.listener.close()
        bound.shelf.close()
        assert bound.shelf.access.private == private
