"""What all pages share: header, style, who is logged in, errors as one sentence."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

from nicegui import ui

from workflows.serve.access import plain_headers
from workflows.serve.places import Project
from workflows.serve.shelf import Shelf

EXPECTED = ("DataError", "ServeError", "CampaignError", "EngineError", "UnfitModelError", "StructureError")
"""Errors whose message is for people; of all others only the log tells more."""

UNEXPECTED = "this could not be shown; the log of the server says why"

SLOWEST = 60.0
"""Seconds after which a page that waits for its store is given up."""

STYLE = """
body { background: #f6f7f9; color: #1f2937; }
.nicegui-content { padding: 0; }
.page { width: 100%; max-width: 1240px; margin: 0 auto; padding: 18px 24px 48px; gap: 16px; }
.card { background: white; border: 1px solid #e5e7eb; border-radius: 10px; padding: 16px 18px; gap: 8px; }
.h1 { font-size: 1.35rem; font-weight: 600; line-height: 1.3; }
.h2 { font-size: 0.95rem; font-weight: 600; color: #374151; }
.soft { color: #6b7280; font-size: 0.85rem; }
.mono { font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-size: 0.82rem; }
.nav a { color: #cbd5e1; text-decoration: none; padding: 6px 10px; border-radius: 6px; }
.nav a.here { color: white; background: rgba(255,255,255,0.14); }
.link, .q-table a { color: #0b5cad; text-decoration: none; }
.link:hover, .q-table a:hover { text-decoration: underline; }
.q-table th { font-weight: 600; color: #4b5563; }
.q-table tbody td { font-size: 0.84rem; }
.badge { border-radius: 999px; padding: 1px 9px; font-size: 0.76rem; font-weight: 600; white-space: nowrap; }
.good { background: #dcfce7; color: #166534; } .bad { background: #fee2e2; color: #991b1b; }
.busy { background: #dbeafe; color: #1e40af; } .calm { background: #eef0f3; color: #4b5563; }
"""

GOOD = {"accepted", "finished", "in use", "champion", "promoted"}
BAD = {"rejected", "failed", "refused"}
BUSY = {"running", "gone back to"}


@contextmanager
def frame(shelf: Shelf, title: str, project: Project | None = None, here: str = "") -> Iterator[None]:
    """Header and body of a page; ``here`` is the part of the site it belongs to."""
    ui.add_css(STYLE)
    ui.colors(primary="#0b3c5d")
    ui.page_title(f"{title} · spinmultinet")
    project = project or next(iter(shelf.projects.values()))
    with (
        ui.header(elevated=False)
        .classes("items-center no-wrap q-py-xs q-px-lg")
        .style("background: #0b3c5d; gap: 18px")
    ):
        ui.link("spinmultinet", "/").classes("text-white text-weight-bold no-underline").style("text-decoration: none")
        with ui.row(wrap=False).classes("nav items-center").style("gap: 2px"):
            parts = {
                "campaigns": "/",
                "points": address(project.key, "points"),
                "models": address(project.key, "models"),
            }
            parts |= {"queue": "/queue"} if shelf.remote else {}
            for name, target in parts.items():
                title = "Labels" if name == "points" else name.capitalize()
                ui.link(title, target).classes("here" if name == here else "")
        ui.space()
        _chooser(shelf, project, here)
        _login_state(shelf)
    with ui.column().classes("page"):
        yield


def known(shelf: Shelf, key: str) -> Project | None:
    """The project of an address; None, and a page that says so, where there is none."""
    if key in shelf.projects:
        return shelf.projects[key]
    with frame(shelf, "Not here"):
        problem("there is no such store here")
    return None


def may_write(shelf: Shelf) -> bool:
    """Whether the browser of this page knows the token; asked again at every change."""
    request = ui.context.client.request
    return request is not None and shelf.access.allowed(plain_headers(request.scope))


def card(title: str = "", classes: str = "w-full") -> ui.column:
    """A white box with a heading; enter it with ``with``."""
    box = ui.column().classes(f"card {classes}")
    if title:
        with box:
            ui.label(title).classes("h2")
    return box


def badge(text: str) -> ui.label:
    """A short text in a coloured pill."""
    return ui.label(text).classes(f"badge {badge_class(text)}")


def badge_class(text: str) -> str:
    """CSS class of a state or verdict."""
    return "good" if text in GOOD else "bad" if text in BAD else "busy" if text in BUSY else "calm"


def facts_grid(rows: list[tuple[str, str]]) -> None:
    """Names on the left, values on the right."""
    with ui.grid(columns="max-content 1fr").classes("w-full").style("gap: 3px 14px"):
        for name, value in rows:
            ui.label(name).classes("soft")
            ui.label(value).style("font-size: 0.87rem; overflow-wrap: anywhere")


def address(*parts: str, **parameters: str) -> str:
    """A path on this server; every part and parameter is quoted."""
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    return f"{path}?{urlencode(parameters)}" if parameters else path


def told(error: BaseException) -> str:
    """What people are told of an error: its message where it was meant for them."""
    if any(kind.__name__ in EXPECTED for kind in type(error).__mro__):
        return " ".join(str(error).split())
    logging.getLogger("spinmultinet.serve").error("unexpected error", exc_info=error)
    return UNEXPECTED


def problem(text: str) -> None:
    """An error in place of what it kept from being shown."""
    with ui.row(wrap=False).classes("card w-full items-center").style("border-color: #fecaca; background: #fff5f5"):
        ui.icon("error_outline", color="negative")
        ui.label(text).mark("problem")


async def shown(work: Awaitable[Any]) -> Any:
    """The result of ``work``; None, and its error on the page, where it fails."""
    try:
        return await work
    except Exception as error:
        problem(told(error))
        return None


def refreshed(seconds: float, changed: Callable[[], Awaitable[Any]], draw: Callable[[Any], Awaitable[None]]) -> None:
    """Call ``draw`` with what ``changed`` gives whenever that is another value than before."""
    seen: list[Any] = []

    async def look() -> None:
        try:
            now = await changed()
        except Exception as error:
            told(error)
            return
        if not seen or seen[-1] != now:
            first = not seen
            seen[:] = [now]
            if not first:
                await draw(now)

    ui.timer(seconds, look)


def _chooser(shelf: Shelf, project: Project, here: str) -> None:
    """The store that labels and models are shown of, and the others."""
    part = here if here in ("points", "models") else "points"
    with ui.button(project.key, icon="storage").props("flat dense no-caps size=sm text-color=grey-4").mark("stores"):
        if len(shelf.projects) > 1:
            with ui.menu():
                for key in shelf.projects:
                    ui.menu_item(key, lambda key=key: ui.navigate.to(address(key, part)))


def _login_state(shelf: Shelf) -> None:
    if may_write(shelf):
        ui.link("Log out", "/logout").classes("text-white").style("text-decoration: none; font-size: 0.85rem")
    else:
        ui.link("Log in to make changes", "/login").style("color: #cbd5e1; text-decoration: none; font-size: 0.85rem")
