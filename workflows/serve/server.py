"""The server: pages, login and API behind the checks of every request, on a socket that is bound before anything."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from nicegui import app as pages_app
from nicegui import ui
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from workflows.serve.access import LOOPBACK, Access, Guard, hosts, read_token
from workflows.serve.api import api_router
from workflows.serve.errors import ServeError
from workflows.serve.login import login_router
from workflows.serve.pages import campaigns, models, point, points, queue
from workflows.serve.pages.layout import problem, told
from workflows.serve.places import find_projects
from workflows.serve.shelf import Shelf

PAGES = (campaigns, points, point, models)


@dataclass(frozen=True)
class ServeOptions:
    """What the command line asks for."""

    places: list[str]
    host: str = "127.0.0.1"
    port: int = 8080
    """0: any that is free."""
    token_file: Path | None = None
    private: bool = False
    known_as: tuple[str, ...] = ()
    remote: str = ""


@dataclass(frozen=True)
class Bound:
    """A server that is ready to run."""

    shelf: Shelf
    listener: socket.socket
    app: ASGIApp

    @property
    def url(self) -> str:
        """Its address for browsers on this machine."""
        host, port = self.listener.getsockname()[:2]
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
        return f"http://{shown}:{port}/"


def bind(options: ServeOptions) -> Bound:
    """Find the stores, take the port and put the server together; nothing answers before :func:`serve`.

    Raises ServeError where the port is taken or nothing is there to show, and DataError for stores that are missing.
    """
    projects = find_projects(options.places)
    listener = _listen(options.host, options.port)
    try:
        private = options.private or options.host not in LOOPBACK
        cookie = f"spinmultinet-{listener.getsockname()[1]}"
        shelf = Shelf(projects, Access(read_token(options.token_file), private, cookie), options.remote)
        shelf.check()
    except BaseException:
        listener.close()
        raise
    return Bound(shelf, listener, _guarded(_app(shelf), shelf.access, hosts(options.host, list(options.known_as))))


def serve(bound: Bound, ready: Callable[[], None] = lambda: None) -> None:
    """Answer requests until Ctrl-C, the usual end; ``ready`` is called once it does."""
    config = uvicorn.Config(
        bound.app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2, ws="auto"
    )
    server = uvicorn.Server(config)
    # NiceGUI looks for the server among all objects that there are, and torch has some that warn when they are touched.
    warnings.filterwarnings("ignore", category=FutureWarning, module="nicegui")

    async def run() -> None:
        task = asyncio.ensure_future(server.serve(sockets=[bound.listener]))
        while not server.started and not task.done():
            await asyncio.sleep(0.05)
        ready()
        await task

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        pass  # how a server ends
    finally:
        bound.listener.close()
        bound.shelf.close()


def _app(shelf: Shelf) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(login_router(shelf.access))
    app.include_router(api_router(shelf))
    for page in (*PAGES, *([queue] if shelf.remote else [])):
        page.register(shelf)
    pages_app.on_page_exception(lambda error: problem(told(error)))
    ui.run_with(app, title="spinmultinet", dark=False, show_welcome_message=False, reconnect_timeout=10)
    return app


def _guarded(app: FastAPI, access: Access, names: list[str]) -> ASGIApp:
    return TrustedHostMiddleware(Guard(app, access), allowed_hosts=names, www_redirect=False)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise ServeError(
                f"port {port} of {host} is in use; choose another: --port {port + 1}, or --port 0 for any free one"
            ) from error
        if number in (errno.EACCES, errno.EPERM):
            raise ServeError(f"port {port} of {host} may not be used by you; choose one above 1023") from error
        raise ServeError(f"{host} port {port} cannot be listened on: {error}; check --host and --port") from error
    return listener
