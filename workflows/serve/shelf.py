"""The stores that are shown, open, and answers that are asked for at most so often, however many browsers look on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from datastore import SpinPoint, SpinStore, open_store
from datastore.decisions import decide
from datastore.errors import DataError
from datastore.schema import DecisionAction
from workflows.serve.access import Access
from workflows.serve.errors import ServeError
from workflows.serve.overview import Overview, overviews, stamp
from workflows.serve.places import Project

T = TypeVar("T")

POLL_SECONDS = 2.0
"""Between two looks at a store while a page is open."""

OVERVIEW_SECONDS = 4.0
"""An overview counts everything, so it is made less often."""

THREADS = 4


class Shelf:
    """All projects of a server. Stores are opened when they are first asked for and stay open.

    Whatever waits for a store or a model runs in a thread; models are compared one pair at a time.
    """

    def __init__(self, projects: list[Project], access: Access, remote: str = "") -> None:
        self.projects = {project.key: project for project in projects}
        self.access = access
        self.remote = remote
        self._stores: dict[str, SpinStore] = {}
        self._answers: dict[Any, tuple[float, asyncio.Future[Any]]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="serve")
        self._models = ThreadPoolExecutor(1, thread_name_prefix="models")

    def project(self, key: str) -> Project:
        """A project by its key. Raises ServeError where there is none."""
        if key not in self.projects:
            raise ServeError("there is no such store here")
        return self.projects[key]

    def store(self, key: str) -> SpinStore:
        """The store of a project, open for reading, for threads. Raises DataError where it is not there (yet)."""
        if key not in self._stores:
            self._stores[key] = open_store(self.project(key).uri, readonly=True)
        return self._stores[key]

    def decide(self, key: str, point_id: str, action: DecisionAction, author: str, reason: str) -> dict[str, SpinPoint]:
        """:func:`datastore.decisions.decide` in a store that is opened for this one change."""
        with open_store(self.project(key).uri, create=False) as store:
            return decide(store, [point_id], action, author, reason)

    def check(self) -> None:
        """Open every store once. Raises DataError for one that is missing, unless a campaign is about to make it."""
        for key, project in self.projects.items():
            try:
                self.store(key)
            except DataError:
                if not project.campaigns or not project.uri.startswith("local:"):
                    raise

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """What ``work`` gives, done in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def run_model(self, work: Callable[..., T], *arguments: Any) -> T:
        """As :meth:`run`, for work that fills a core: one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._models, work, *arguments)

    async def overviews(self, key: str) -> list[Overview]:
        """The campaigns of a project, at most OVERVIEW_SECONDS old."""
        return await self._shared(("overviews", key), OVERVIEW_SECONDS, self._overviews, key)

    async def stamp(self, key: str) -> tuple[int, ...]:
        """:func:`workflows.serve.overview.stamp` of a project, at most POLL_SECONDS old; empty without a store."""
        return await self._shared(("stamp", key), POLL_SECONDS, self._stamp, key)

    async def queue(self) -> Any:
        """State of the queue, at most OVERVIEW_SECONDS old."""
        from workflows.serve.queue import queue_state

        return await self._shared(("queue",), OVERVIEW_SECONDS, queue_state, self.remote)

    def close(self) -> None:
        """Wait for what is at work, then close all stores."""
        self._threads.shutdown()
        self._models.shutdown(cancel_futures=True)
        for store in self._stores.values():
            store.close()

    async def _shared(self, name: Any, seconds: float, work: Callable[..., T], *arguments: Any) -> T:
        """One answer for all who ask within ``seconds``; an error is everybody's, too."""
        made, answer = self._answers.get(name, (0.0, None))
        if answer is None or (time.monotonic() - made > seconds and answer.done()):
            answer = asyncio.ensure_future(self.run(work, *arguments))
            self._answers[name] = (time.monotonic(), answer)
        return await asyncio.shield(answer)

    def _overviews(self, key: str) -> list[Overview]:
        return overviews(self.project(key), self._store_or_none(key))

    def _stamp(self, key: str) -> tuple[int, ...]:
        store = self._store_or_none(key)
        return () if store is None else stamp(store)

    def _store_or_none(self, key: str) -> SpinStore | None:
        """The store; None where a campaign has not made it yet."""
        try:
            return self.store(key)
        except DataError:
            if self.project(key).campaigns:
                return None
            raise
