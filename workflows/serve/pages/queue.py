"""The queue of a jobflow-remote project: jobs by worker and state."""

from __future__ import annotations

from nicegui import ui

from workflows.serve.pages.layout import SLOWEST, card, frame, refreshed, shown
from workflows.serve.queue import QueueState
from workflows.serve.shelf import OVERVIEW_SECONDS, Shelf


def register(shelf: Shelf) -> None:
    """Make the page."""

    @ui.page("/queue", response_timeout=SLOWEST)
    async def queue() -> None:
        with frame(shelf, "Queue", here="queue"):
            ui.label(f"Queue of {shelf.remote}").classes("h1")
            box = ui.column().classes("w-full")

            async def draw(found: QueueState) -> None:
                box.clear()
                with box:
                    _queue(found)

            with box:
                found = await shown(shelf.queue())
            if found is not None:
                await draw(found)
            refreshed(OVERVIEW_SECONDS, shelf.queue, draw)


def _queue(found: QueueState) -> None:
    with card("Jobs by worker"):
        columns = [{"name": "worker", "label": "worker", "field": "worker", "align": "left"}]
        columns += [{"name": state, "label": state, "field": state, "align": "right"} for state in found.states]
        rows = [{"worker": worker, **{s: row.get(s, "") for s in found.states}} for worker, row in found.counts.items()]
        ui.table(rows=rows, columns=columns, row_key="worker").props("dense flat").classes("w-full").mark("queue")
        if not rows:
            ui.label("the queue is empty").classes("soft")
        ui.label(f"runner: {found.runner or 'none is at work, so nothing is submitted: jf runner start'}").classes(
            "soft"
        )
