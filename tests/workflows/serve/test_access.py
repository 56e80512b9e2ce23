"""Who may see and change what."""

import asyncio
import os

import pytest

from workflows.serve.access import HEADERS, Access, Guard, hosts, local_path, read_token
from workflows.serve.errors import ServeError

TOKEN = "a token of some length"


async def _inner(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})


def ask(access, path="/", kind="http", **headers):
    """Status of an answer, or ``passed`` and the close code for WebSockets; and its headers."""
    sent = []

    async def send(message):
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in {"host": "localhost:8080", **headers}.items()]
    scope = {"type": kind, "path": path, "method": "GET", "headers": raw}
    asyncio.run(Guard(_inner, access)(scope, None, send))
    first = sent[0]
    return first.get("status", first.get("code")), dict(first.get("headers", []))


def test_tokens_are_compared_whole():
    access = Access(TOKEN)
    assert access.opens(TOKEN)
    assert not any(access.opens(given) for given in ("", TOKEN[:-1], TOKEN + "x", "ü" * len(TOKEN)))


def test_sessions_begin_last_and_end(monkeypatch):
    access = Access(TOKEN)
    session = access.begin()
    assert access.knows(session)
    assert not access.knows("")
    monkeypatch.setattr("workflows.serve.access.time.monotonic", lambda: 1e12)
    assert not access.knows(session)
    monkeypatch.undo()
    access.end(session)
    assert not access.knows(session)


def test_header_or_cookie_allow_changes():
    access = Access(TOKEN, cookie="c")
    session = access.begin()
    assert access.allowed({"authorization": f"Bearer {TOKEN}"})
    assert access.allowed({"cookie": f"other=1; c={session}"})
    for headers in (
        {},
        {"authorization": TOKEN},
        {"authorization": "Bearer no"},
        {"cookie": "c=no"},
        {"cookie": "\x00"},
    ):
        assert not access.allowed(headers)


def test_other_sites_are_refused_pages_and_sockets_alike():
    access = Access(TOKEN)
    assert ask(access, origin="http://localhost:8080")[0] == 200
    for origin in ("http://evil.example", "http://localhost:9999", "null"):
        assert ask(access, origin=origin)[0] == 403
        assert ask(access, kind="websocket", origin=origin)[0] == 1008


def test_answers_forbid_what_comes_from_elsewhere():
    _, headers = ask(Access(TOKEN))
    assert {name.encode() for name in HEADERS} <= headers.keys()
    assert b"default-src 'self'" in headers[b"content-security-policy"]


def test_a_private_server_asks_strangers_to_log_in():
    access = Access(TOKEN, private=True, cookie="c")
    status, headers = ask(access, "/nio/points", accept="text/html")
    assert (status, headers[b"location"]) == (303, b"/login?next=%2Fnio%2Fpoints")
    assert ask(access, "/api/status")[0] == 401
    assert ask(access, "/_nicegui_ws/socket.io", kind="websocket")[0] == 1008
    assert ask(access, "/login")[0] == 200
    assert ask(access, "/api/status", authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(access, "/nio/points", cookie=f"c={access.begin()}")[0] == 200


@pytest.mark.parametrize("asked", ["//evil.example", "http://evil.example", "/\\evil.example", "x", "", "/a\r\nb: c"])
def test_a_login_leads_to_this_server_only(asked):
    assert local_path(asked) == "/"


def test_a_login_leads_where_it_was_asked_for():
    assert local_path("/nio/point/a?x=1") == "/nio/point/a?x=1"


def test_a_token_file_is_made_for_its_owner_and_read_again(tmp_path):
    file = tmp_path / "token"
    token = read_token(file)
    assert len(token) >= 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_token(file) == token
    assert read_token(None) != read_token(None)


def test_token_files_that_others_may_read_are_refused(tmp_path):
    file = tmp_path / "token"
    read_token(file)
    os.chmod(file, 0o640)
    with pytest.raises(ServeError, match=r"mode 0640.*chmod 600"):
        read_token(file)


@pytest.mark.parametrize("content", ["short", "", "two lines that are\nlong enough", "äöü" * 9])
def test_tokens_that_are_none_are_refused(tmp_path, content):
    file = tmp_path / "token"
    file.write_text(content)
    os.chmod(file, 0o600)
    with pytest.raises(ServeError, match="at least 16 plain characters"):
        read_token(file)


def test_names_of_the_server():
    assert hosts("127.0.0.1", []) == sorted(["127.0.0.1", "::1", "[::1]", "localhost"])
    assert "db.example.org" in hosts("127.0.0.1", ["db.example.org"])
    assert "10.0.0.5" in hosts("10.0.0.5", [])
    assert "0.0.0.0" not in hosts("0.0.0.0", [])
