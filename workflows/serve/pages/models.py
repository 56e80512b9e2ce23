"""Models with their errors and the log of promotions; one model with parity plots; two of them side by side."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from datastore import ModelRecord
from datastore.levels import level_name
from datastore.registry import resolve
from workflows.serve.model_rows import (
    WORDS,
    Comparison,
    Models,
    better,
    compare,
    compared_rows,
    models_of,
    results_of,
    row,
)
from workflows.serve.pages.layout import (
    SLOWEST,
    address,
    badge,
    card,
    facts_grid,
    frame,
    known,
    problem,
    refreshed,
    shown,
)
from workflows.serve.parity import parity_charts
from workflows.serve.shelf import POLL_SECONDS, Shelf

COLUMNS = {
    "short": "model",
    "generation": "round",
    "created": "trained (UTC)",
    "members": "members",
    "energy": "energy, meV/atom",
    "forces": "forces, meV/Å",
    "moments": "moments, μB",
    "pairs": "pairs, meV/atom",
    "state": "state",
}
LINK = """
<q-td :props="props"><a :href="'%s' + encodeURIComponent(props.row.model_id)" class="mono">{{ props.value }}</a>
</q-td>"""
STATE = """
<q-td :props="props"><span :class="'badge ' + ({'in use': 'good', refused: 'bad'}[props.value] || 'calm')">
{{ props.value }}</span></q-td>"""
BETTER = """
<q-td :props="props"><span v-if="props.value" class="badge good">{{ props.value }}</span></q-td>"""
NUMBER = """
<q-td :props="props">{{ typeof props.value === 'number' ? Number(props.value.toPrecision(3)) : '' }}</q-td>"""


def register(shelf: Shelf) -> None:
    """Make the pages."""

    @ui.page("/{key}/models", response_timeout=SLOWEST)
    async def models(key: str) -> None:
        if (project := known(shelf, key)) is not None:
            with frame(shelf, f"Models of {key}", project, "models"):
                await _all(shelf, key)

    @ui.page("/{key}/model/{model_id}", response_timeout=SLOWEST)
    async def model(key: str, model_id: str) -> None:
        if (project := known(shelf, key)) is not None:
            with frame(shelf, f"Model {model_id[:12]}", project, "models"):
                await _one(shelf, key, model_id)

    @ui.page("/{key}/compare/{first}/{second}", response_timeout=SLOWEST)
    async def comparison(key: str, first: str, second: str) -> None:
        if (project := known(shelf, key)) is not None:
            with frame(shelf, "Two models", project, "models"):
                await _two(shelf, key, first, second)


async def _all(shelf: Shelf, key: str) -> None:
    ui.label("Models").classes("h1")
    box = ui.column().classes("w-full").style("gap: 16px")

    async def draw(_: Any = None) -> None:
        with box:
            store = await shown(shelf.run(shelf.store, key))
            found = None if store is None else await shown(shelf.run(models_of, store))
        if found is not None:
            box.clear()
            with box:
                _lists(key, found)

    await draw()
    refreshed(POLL_SECONDS, lambda: _models_stamp(shelf, key), draw)


async def _one(shelf: Shelf, key: str, model_id: str) -> None:
    store = await shown(shelf.run(shelf.store, key))
    record = None if store is None else await shown(shelf.run(resolve, store, model_id))
    if record is not None:
        _model(record)
        _parity(await shown(shelf.run(results_of, store, record.model_id)))


async def _two(shelf: Shelf, key: str, first: str, second: str) -> None:
    """The page first, then the comparison, which takes its time."""
    ui.label("Two models on the same labels").classes("h1")
    with ui.row().classes("items-center") as waiting:
        ui.spinner(size="sm")
        ui.label("both models predict the frozen test labels…").classes("soft")
    await ui.context.client.connected()
    store = await shown(shelf.run(shelf.store, key))
    found = None if store is None else await shown(shelf.run_model(compare, store, first, second))
    waiting.delete()
    if found is not None:
        _comparison(key, found)


async def _models_stamp(shelf: Shelf, key: str) -> tuple[int, ...]:
    """Numbers of models and of entries in logs of promotions."""
    return (await shelf.stamp(key))[3:5]


def _lists(key: str, found: list[Models]) -> None:
    if not found:
        problem("there are no models here yet; a campaign trains them: spinmultinet run CAMPAIGN.yaml")
    for one in found:
        with card(one.campaign):
            rows = [row(record, one.in_use, one.log) for record in one.records][::-1]
            right = ("energy", "forces", "moments", "pairs", "members", "generation")
            columns = [
                {"name": k, "label": v, "field": k, "align": "right" if k in right else "left"}
                for k, v in COLUMNS.items()
            ]
            table = ui.table(rows=rows, columns=columns, row_key="model_id", selection="multiple", pagination=12)
            table.props("dense flat hide-selected-banner").classes("w-full").mark("models")
            table.add_slot("body-cell-short", LINK % f"{address(key, 'model')}/")
            table.add_slot("body-cell-state", STATE)
            for name in ("energy", "forces", "moments", "pairs"):
                table.add_slot(f"body-cell-{name}", NUMBER)
            _compare_button(key, table)
        with card("Log of promotions, newest first"):
            _log(one)


def _compare_button(key: str, table: ui.table) -> None:
    def go() -> None:
        chosen = sorted(table.selected, key=lambda cells: str(cells["created"]))
        if len(chosen) != 2:
            ui.notify("mark two models to compare them", type="warning")
            return
        ui.navigate.to(address(key, "compare", *(str(cells["model_id"]) for cells in chosen)))

    with ui.row().classes("items-center"):
        ui.button("Compare the two that are marked", on_click=go).props("outline no-caps size=sm").mark("compare")
        ui.label("errors are those of each model's own random test labels; compared are both on the same").classes(
            "soft"
        )


def _log(one: Models) -> None:
    if not one.log:
        ui.label("no model was judged yet").classes("soft")
    for entry in one.log:
        with ui.row(wrap=False).classes("w-full items-baseline").style("gap: 10px"):
            ui.label(entry.created[:16].replace("T", " ")).classes("mono soft").style("flex: none")
            ui.label(entry.model_id[:12]).classes("mono").style("flex: none")
            badge(WORDS[entry.action])
            ui.label(f"by {entry.by}: {'; '.join(entry.reasons)}").classes("soft").style("overflow-wrap: anywhere")


def _model(record: ModelRecord) -> None:
    with ui.row().classes("items-center").style("gap: 12px"):
        ui.label(f"Model {record.model_id[:12]}").classes("h1")
        badge("in use" if record.status == "champion" else record.status)
    model, training = (record.hypers.get(part) or {} for part in ("model", "training"))
    facts = [
        ("campaign", f"{record.campaign}, round {record.generation}"),
        ("trained", f"{record.created[:19].replace('T', ' ')} UTC, {len(record.files)} members"),
        ("training set", record.snapshot_id),
        ("level of theory", f"{level_name(record.level_of_theory)} ({record.level_id})"),
        ("species", ", ".join(record.species)),
        ("model", ", ".join(f"{key} {value}" for key, value in model.items()) or "not recorded"),
        ("training", ", ".join(f"{key} {value}" for key, value in training.items()) or "not recorded"),
        ("error / spread", ", ".join(f"{task} {x:.3g}" for task, x in record.calibration.items()) or "not calibrated"),
    ]
    with card():
        facts_grid(facts)


def _parity(result: dict[str, Any] | None) -> None:
    charts = {} if result is None else parity_charts(result)
    if not charts:
        problem("no predictions of this model on its test labels are on this machine")
        return
    with ui.grid(columns=2).classes("w-full").style("gap: 16px"):
        for task, options in charts.items():
            with card():
                ui.echart(options).classes("w-full").style("height: 430px").mark(f"parity {task}")


def _comparison(key: str, found: Comparison) -> None:
    names = (found.old.model_id[:8], found.new.model_id[:8])
    with card():
        if found.ratio is not None:
            change = f"errors {found.ratio - 1:+.1%} in the geometric mean of test sets and tasks"
            ui.label(f"{names[1]} against {names[0]}: {change}").mark("ratio")
        for note in found.notes:
            ui.label(note).classes("soft")
        if not found.rows:
            problem("there are no labels that both models can be compared on")
            return
        rows = compared_rows(found)
        clear = sum(bool(better(one)) for one in found.rows)
        ui.label(
            f"mean absolute errors; {clear} of {len(rows)} differences are clearer than chance (paired by geometry)"
        ).classes("soft")
        titles = {"where": "", "task": "task", "labels": "labels", "old": names[0], "new": names[1]}
        titles |= {"change": "change", "better": "better"}
        columns = [
            {"name": k, "label": v, "field": k, "align": "left" if k in ("where", "task", "better") else "right"}
            for k, v in titles.items()
        ]
        table = ui.table(rows=rows, columns=columns, row_key="number").props("dense flat").classes("w-full")
        table.add_slot("body-cell-better", BETTER)
        table.mark("compared")
    with ui.row():
        for record in (found.old, found.new):
            ui.link(f"model {record.model_id[:8]}", address(key, "model", record.model_id)).classes("link")
