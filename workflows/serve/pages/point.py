"""One label: its structure and spins in space, what became of its moments, why it was accepted or not."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from workflows.serve.pages.layout import (
    SLOWEST,
    address,
    badge,
    card,
    facts_grid,
    frame,
    known,
    may_write,
    refreshed,
    shown,
    told,
)
from workflows.serve.pages.scene import draw_scene
from workflows.serve.shelf import POLL_SECONDS, Shelf
from workflows.serve.sites import Found, facts, find_label, reversed_signs, site_rows, theory_rows

ACTIONS = {"accept": "Accept", "reject": "Reject", "retract": "Retract", "restore": "Restore the rules' verdict"}
CHANGE = """
<q-td :props="props"><span v-if="props.value" class="badge bad">{{ props.value }}</span></q-td>"""
MOMENT = """
<q-td :props="props"><span :style="{color: props.value.startsWith('-') ? '#1d4ed8' : '#c81e1e'}">{{ props.value }}
</span></q-td>"""
MEMBER = """
<q-td :props="props"><b v-if="props.row.shown">{{ props.value }}</b>
<a v-else :href="'%s' + encodeURIComponent(props.row.point_id)">{{ props.value }}</a></q-td>"""


def register(shelf: Shelf) -> None:
    """Make the page."""

    @ui.page("/{key}/point/{point_id}", response_timeout=SLOWEST)
    async def point(key: str, point_id: str) -> None:
        project = known(shelf, key)
        if project is None:
            return
        with frame(shelf, f"Label {point_id[:12]}", project, "points"):
            store = await shown(shelf.run(shelf.store, key))
            found = None if store is None else await shown(shelf.run(find_label, store, point_id))
            if found is not None:
                _page(shelf, key, found)


def _page(shelf: Shelf, key: str, found: Found) -> None:
    point = found.point
    with ui.row().classes("w-full items-center").style("gap: 12px"):
        ui.label(f"{point.formula} {point.ordering if len(point.ordering) < 40 else point.ordering[:40]}").classes("h1")
        badge(point.verdict).mark("verdict")
        ui.label(point.point_id).classes("mono soft").style("overflow-wrap: anywhere")
    with ui.row(wrap=False).classes("w-full items-stretch").style("gap: 16px"):
        with card(classes="").style("flex: 0 0 660px; min-width: 0"):
            draw_scene(point)
        with card("About this label", "").style("flex: 1; min-width: 0"):
            _verdict(found)
            facts_grid(facts(point))
    with ui.row(wrap=False).classes("w-full items-start").style("gap: 16px"):
        with card("Sites", "").style("flex: 1 1 0; min-width: 0"):
            _sites(found)
        with ui.column().style("flex: 1 1 0; min-width: 0; gap: 16px"):
            with card("The same geometry in other orderings"):
                _members(key, found)
            with card("Decisions by hand"):
                _decisions(found)
                _decide(shelf, key, found)
            _further(found)
    refreshed(POLL_SECONDS, lambda: _state(shelf, key, point.point_id), _changed)


async def _state(shelf: Shelf, key: str, point_id: str) -> tuple[str, int]:
    """What this page would show otherwise once it changes; the label is read only where the store has changed."""
    store = shelf.store(key)
    label = await shelf.run(store.get_point, point_id)
    return ("gone", 0) if label is None else (label.verdict, hash((tuple(label.verdict_reasons), label.decision)))


async def _changed(_: Any) -> None:
    ui.navigate.reload()


def _verdict(found: Found) -> None:
    point = found.point
    if point.ordering_found != point.ordering:
        ui.label(f"asked for {point.ordering}, found {point.ordering_found}").classes("text-negative")
    for reason in point.verdict_reasons:
        ui.label(reason).classes("text-negative").style("overflow-wrap: anywhere")
    for reason in point.overruled:
        ui.label(f"overruled by hand: {reason}").classes("soft")
    if point.decision:
        ui.label(point.decision).classes("soft")
    if point.excitation is not None:
        ui.label(f"{1e3 * point.excitation:.1f} meV/atom above the state that is kept").classes("soft")


def _sites(found: Found) -> None:
    names = {
        "site": "site",
        "element": "element",
        "asked": "moment asked for, μB",
        "found": "found, μB",
        "change": "change",
        "force": "force, eV/Å",
        "charge": "electrons in sphere",
    }
    rows = site_rows(found.point)
    if not any(row["charge"] for row in rows):
        del names["charge"]
    columns = [
        {"name": k, "label": v, "field": k, "align": "left" if k in ("element", "change") else "right"}
        for k, v in names.items()
    ]
    table = ui.table(rows=rows, columns=columns, row_key="site", pagination=16).props("dense flat").classes("w-full")
    table.add_slot("body-cell-change", CHANGE)
    for name in ("asked", "found"):
        table.add_slot(f"body-cell-{name}", MOMENT)
    table.mark("sites")
    if reversed_signs(found.point):
        ui.label("all moments came out reversed, which changes no energy; marked is what changed besides").classes(
            "soft"
        )


def _members(key: str, found: Found) -> None:
    if not found.members:
        ui.label("this label belongs to no set of equal geometries").classes("soft")
        return
    rows = [
        {**vars(m), "above": f"{m.above:.2f}", "found": "" if m.found == m.ordering else m.found} for m in found.members
    ]
    names = {"ordering": "ordering", "found": "found instead", "verdict": "verdict", "above": "meV/atom above lowest"}
    columns = [
        {"name": k, "label": v, "field": k, "align": "right" if k == "above" else "left"} for k, v in names.items()
    ]
    table = ui.table(rows=rows, columns=columns, row_key="point_id", pagination=8).props("dense flat").classes("w-full")
    table.add_slot("body-cell-ordering", MEMBER % f"{address(key, 'point')}/")
    table.mark("members")
    levels = {m.level for m in found.members}
    if len(levels) > 1:
        ui.label(f"levels of theory: {', '.join(sorted(levels))}; differences are within one level").classes("soft")


def _decisions(found: Found) -> None:
    for decision in found.decisions:
        ui.label(
            f"{decision.created[:16].replace('T', ' ')}  {decision.action} by {decision.author}: {decision.reason}"
        )
    if not found.decisions:
        ui.label("none; the verdict is that of the rules").classes("soft")


def _decide(shelf: Shelf, key: str, found: Found) -> None:
    """The form of a decision, for those who are logged in."""
    if not may_write(shelf):
        here = address(key, "point", found.point.point_id)
        ui.link("Log in to decide on this label", address("login", next=here)).classes("link").mark("login")
        return
    with ui.row(wrap=False).classes("w-full items-center"):
        action = ui.select(ACTIONS, value="reject").props("dense outlined").style("width: 150px").mark("action")
        author = ui.input("your name").props("dense outlined").style("width: 130px").mark("author")
        reason = ui.input("reason; stays in the log").props("dense outlined").style("flex: 1").mark("reason")

        async def send() -> None:
            if not may_write(shelf):
                ui.notify("your login has ended; log in again", type="negative")
                return
            given = (found.point.point_id, action.value, author.value or "", reason.value or "")
            try:
                await shelf.run(shelf.decide, key, *given)
            except Exception as error:
                ui.notify(told(error), type="negative", multi_line=True)
                return
            ui.navigate.reload()

        ui.button("Decide", on_click=send).props("unelevated no-caps")


def _further(found: Found) -> None:
    point = found.point
    with ui.expansion("Level of theory").classes("card w-full").props("dense"):
        facts_grid(theory_rows(point.level_of_theory))
    if point.history or point.corrections:
        with ui.expansion("Runs and corrections").classes("card w-full").props("dense"):
            for text in point.corrections:
                ui.label(text)
            for number, run in enumerate(point.history, 1):
                ui.label(f"run {number}").classes("h2")
                facts_grid(theory_rows(run))
    if point.source:
        with ui.expansion("Imported from").classes("card w-full").props("dense"):
            facts_grid(theory_rows(point.source))
