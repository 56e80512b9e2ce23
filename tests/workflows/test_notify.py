"""Notifications: a real program, a real server on this machine, and what happens where they fail."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from workflows import notify as module
from workflows.notify import notify

DOCUMENT = {"campaign": "nio", "outcome": "refused", "reasons": ["worse: 12 \u00c5 %d $HOME `x`"]}


@pytest.fixture
def server():
    """Address and what was posted to it; /500 refuses, /slow says nothing for long."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/slow":
                time.sleep(1.0)
            got.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(500 if self.path == "/500" else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", got
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_command_gets_the_document_on_stdin_without_a_shell(tmp_path):
    keep = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    file = tmp_path / "a b; $HOME"
    assert notify(DOCUMENT, [sys.executable, "-c", keep, str(file)], "") == []
    assert json.loads(file.read_text()) == DOCUMENT


def test_a_server_gets_the_document(server):
    url, got = server
    assert notify(DOCUMENT, [], f"{url}/hook?x=1") == []
    assert got == [("/hook?x=1", "application/json", DOCUMENT)]


def test_numbers_that_json_has_not_are_null(server):
    url, got = server
    drift = {"drift": {"energy": float("nan"), "forces": 2.5}, "more": [float("inf"), 1, None]}
    assert notify({**DOCUMENT, **drift}, [], url) == []
    assert got[0][2] == {**DOCUMENT, "drift": {"energy": None, "forces": 2.5}, "more": [None, 1, None]}


def test_nobody_to_tell():
    assert notify(DOCUMENT, [], "") == []


def test_failures_are_lines_and_the_other_one_is_told_all_the_same(server, monkeypatch):
    url, got = server
    program = [sys.executable, "-c", "import sys; print('no mail today', file=sys.stderr); sys.exit(3)"]
    problems = notify(DOCUMENT, program, f"{url}/500/secret-token")
    assert "ended with exit code 3: no mail today" in problems[0]
    assert len(got) == 1
    (refused,) = notify(DOCUMENT, [], f"{url}/500")
    assert refused.endswith("refused the notification: HTTP 500")
    monkeypatch.setattr(module, "POST_SECONDS", 0.2)
    (slow,) = notify(DOCUMENT, [], f"{url}/slow")
    assert "cannot be notified" in slow
    monkeypatch.setattr(module, "COMMAND_SECONDS", 0.2)
    (ended,) = notify(DOCUMENT, [sys.executable, "-c", "import time; time.sleep(20)"], "")
    assert "was ended after" in ended
    (absent,) = notify(DOCUMENT, ["/no/such/program"], "")
    assert "cannot be started: No such file" in absent


def test_an_address_may_be_a_secret():
    (problem,) = notify(DOCUMENT, [], "http://127.0.0.1:9/secret-token")
    assert "127.0.0.1:9 cannot be notified" in problem
    assert "secret" not in problem
