"""Who may see and change what: one token, sessions of browsers that know it, and the checks of every request.

Reading is free on the loopback interface unless the server is private. Every change needs the token: as header
``Authorization: Bearer TOKEN`` from scripts, or typed once into the login form, which gives the browser a cookie. The
token is never part of an address, so it is in no log and no history.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import stat
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from workflows.serve.errors import ServeError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST = 16
"""Characters of a token."""

SESSION_SECONDS = 12 * 3600.0

OPEN = ("/login", "/favicon.ico")
"""What everybody may ask a private server for."""

HEADERS = {
    # Vue compiles templates, hence unsafe-eval; nothing comes from, or goes to, another host.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
}

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[None]]


@dataclass
class Access:
    """The token of a server, and the sessions begun with it."""

    token: str
    private: bool = False
    """Whether reading needs the token as well."""
    cookie: str = "spinmultinet"
    _sessions: dict[str, float] = field(default_factory=dict, repr=False)

    def opens(self, given: str) -> bool:
        """Whether ``given`` is the token; takes as long for every wrong one."""
        return hmac.compare_digest(given.encode(), self.token.encode())

    def begin(self) -> str:
        """Id of a new session."""
        session = secrets.token_urlsafe(32)
        self._sessions[session] = time.monotonic() + SESSION_SECONDS
        return session

    def end(self, session: str) -> None:
        """Forget a session."""
        self._sessions.pop(session, None)

    def knows(self, session: str) -> bool:
        """Whether this is a session that still lasts."""
        return self._sessions.get(session, 0.0) > time.monotonic()

    def allowed(self, headers: dict[str, str]) -> bool:
        """Whether a request with these headers (lower-case names) comes from somebody who knows the token."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.opens(given.strip()):
            return True
        return self.knows(self.session(headers))

    def session(self, headers: dict[str, str]) -> str:
        """Session that the cookies of a request name; empty without one."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found else ""


class Guard:
    """ASGI middleware in front of everything: refuses pages of other sites, and strangers where the server is private.

    A browser sends the site that a request comes from as ``Origin``; WebSockets are not bound by the same-origin rule,
    so this is what keeps other sites from talking to the server through the user's browser.
    """

    def __init__(self, app: App, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = plain_headers(scope)
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self.app(scope, receive, _with_headers(send))
        else:
            await _answer(scope, _with_headers(send), *refusal)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, str] | None:
        """Status, text and (for a redirection) address of the answer to a request that is not passed on."""
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return 403, "requests from other sites are refused", ""
        path = str(scope["path"])
        if not self.access.private or path in OPEN or self.access.allowed(headers):
            return None
        if scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return 303, "log in first", f"/login?next={quote(path, safe='')}"
        return 401, "log in at /login, or send the header Authorization: Bearer TOKEN", ""


def plain_headers(scope: Scope) -> dict[str, str]:
    """Headers of an ASGI request as text, names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers", [])}


def local_path(asked: str) -> str:
    """``asked`` where it is a path on this server, else ``/``: a login never leads to another site."""
    parts = urlsplit(asked)
    plain = asked.startswith("/") and not asked.startswith("//") and "\\" not in asked and asked.isprintable()
    return asked if plain and not parts.scheme and not parts.netloc else "/"


def read_token(file: Path | None) -> str:
    """The token of a file, which is made with a random one where it does not exist; a random one without a file.

    Raises ServeError where others may read the file, or the token is shorter than SHORTEST.
    """
    if file is None:
        return secrets.token_urlsafe(24)
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as new:
            new.write(secrets.token_urlsafe(24) + "\n")
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        raise ServeError(f"{file}: others may read it (mode {mode:04o}); make it yours alone: chmod 600 {file}")
    token = file.read_text(errors="replace").strip()
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable():
        raise ServeError(
            f"{file}: a token has at least {SHORTEST} plain characters in one line; remove the file to get a new one"
        )
    return token


def hosts(host: str, known_as: list[str]) -> list[str]:
    """Names under which a server that listens on ``host`` answers; others are refused (DNS rebinding)."""
    names = {*LOOPBACK, *known_as}
    if host in ("", "0.0.0.0", "::"):
        names |= {socket.gethostname(), socket.getfqdn()}
        with suppress(OSError):
            names |= set(socket.gethostbyname_ex(socket.gethostname())[2])
    elif host not in LOOPBACK:
        names.add(host)
    return sorted({*names, "[::1]"})


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sending


async def _answer(scope: Scope, send: Send, status: int, text: str, address: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    headers += [(b"location", address.encode())] if address else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
