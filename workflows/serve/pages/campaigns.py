"""The first page: every campaign with its state, jobs by kind, and errors by generation."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from workflows.serve.overview import STATES, Overview
from workflows.serve.pages.layout import SLOWEST, address, badge, card, facts_grid, frame, problem, refreshed, shown
from workflows.serve.places import Project
from workflows.serve.shelf import OVERVIEW_SECONDS, Shelf
from workflows.status import TASKS, UNITS

COLOURS = {"random": "#0072B2", "pairs": "#D55E00", "orderings": "#009E73", "compositions": "#CC79A7"}
SYMBOLS = {"energy": "circle", "forces": "rect", "moments": "triangle"}


def register(shelf: Shelf) -> None:
    """Make the page."""

    @ui.page("/", response_timeout=SLOWEST)
    async def campaigns() -> None:
        with frame(shelf, "Campaigns", here="campaigns"):
            ui.label("Campaigns").classes("h1")
            for project in shelf.projects.values():
                await _project(shelf, project)


async def _project(shelf: Shelf, project: Project) -> None:
    box = ui.column().classes("w-full").style("gap: 16px")

    async def draw(found: list[Overview]) -> None:
        box.clear()
        with box:
            for one in found:
                _campaign(project, one)
            if not found:
                problem(f"the store {project.shown_uri} holds no labels yet")

    with box:
        found = await shown(shelf.overviews(project.key))
    if found is not None:
        await draw(found)
    refreshed(OVERVIEW_SECONDS, lambda: shelf.overviews(project.key), draw)


def _campaign(project: Project, one: Overview) -> None:
    with card() as box:
        box.mark(f"campaign {one.campaign}")
        with ui.row().classes("w-full items-center").style("gap: 12px"):
            ui.label(one.campaign).classes("h1")
            badge(one.state)
            ui.label(project.shown_uri).classes("soft mono")
            ui.space()
            ui.link("labels", address(project.key, "points", where=f"campaign={one.campaign}")).classes("link")
            ui.link("models", address(project.key, "models")).classes("link")
        if one.share is not None:
            ui.linear_progress(round(one.share, 3), show_value=False, size="6px").classes("rounded")
        with ui.row(wrap=False).classes("w-full items-start").style("gap: 28px"):
            with ui.column().style("gap: 10px; flex: 0 1 430px"):
                facts_grid(_facts(one))
                if one.jobs:
                    _jobs(one)
            with ui.column().style("gap: 6px; flex: 1 1 0; min-width: 0"):
                if one.errors:
                    _errors(one)
                else:
                    ui.label("no model was tested yet").classes("soft")
        for line in _news(one):
            ui.label(line).classes("soft")


def _facts(one: Overview) -> list[tuple[str, str]]:
    tally = one.tally
    labels = f"{tally.total('accepted')} accepted, {tally.total('rejected')} rejected, {tally.total('failed')} failed"
    facts = [("labels taken in", labels)]
    found = one.status
    if found is not None:
        facts.append(("round", f"{found.generation} of {found.rounds}{f', {found.stage}' if found.stage else ''}"))
        facts.append(("cost", f"{found.cost.seconds / 3600:.3g} core hours, trainings {found.training_seconds:.0f} s"))
    if one.at_work:
        facts.append(("at work", one.at_work))
    facts.append(("model in use", one.champion[:12] or "none"))
    if found is not None:
        facts += [
            (
                f"target, {target.test}",
                f"{target.task} {_number(target.now)}, wanted {target.target:g} {_unit(target.task)}",
            )
            for target in found.targets
        ]
    return facts


def _jobs(one: Overview) -> None:
    columns = [{"name": "kind", "label": "jobs", "field": "kind", "align": "left"}]
    columns += [{"name": state, "label": state, "field": state, "align": "right"} for state in STATES]
    rows = [{"kind": kind, **{state: row[state] or "" for state in STATES}} for kind, row in one.jobs.items()]
    ui.table(rows=rows, columns=columns, row_key="kind").props("dense flat").classes("w-full").mark("jobs")


def _errors(one: Overview) -> None:
    """A chart of errors by generation, energy on the left and forces on the right axis, and the newest numbers."""
    options = error_chart(one)
    ui.echart(options).classes("w-full").style("height: 250px")
    columns = [{"name": "generation", "label": "round", "field": "generation", "align": "left"}]
    columns.append({"name": "labels", "label": "labels", "field": "labels", "align": "right"})
    shown_tests = _tests(one)
    for test, task in shown_tests:
        label = f"{task}, {test}"
        columns.append({"name": f"{test} {task}", "label": label, "field": f"{test} {task}", "align": "right"})
    rows = [
        {
            "model": row.model_id,
            "generation": f"{row.generation}{' ★' if row.model_id == one.champion else ''}",
            "labels": row.labels,
            **{f"{test} {task}": _number(row.tests.get(test, {}).get(task)) for test, task in shown_tests},
        }
        for row in one.errors
    ]
    table = ui.table(rows=rows[::-1], columns=columns, row_key="model", pagination=5)
    table.props("dense flat wrap-cells").classes("w-full")
    units = ", ".join(f"{task} {_unit(task)}" for task in TASKS)
    ui.label(f"mean absolute errors on frozen tests by round, ★ the model in use; {units}").classes("soft")


def error_chart(one: Overview) -> dict[str, Any]:
    """Options of the chart of errors by generation."""
    series = []
    for test, task in _tests(one):
        if task == "moments":
            continue
        values = [[row.generation, row.tests[test][task]] for row in one.errors if task in row.tests.get(test, {})]
        series.append(
            {
                "type": "line",
                "name": f"{task}, {test}",
                "data": values,
                "yAxisIndex": int(task == "forces"),
                "symbol": SYMBOLS[task],
                "symbolSize": 8,
                "color": COLOURS.get(test, "#6b7280"),
                "lineStyle": {"type": "dashed" if task == "forces" else "solid"},
            }
        )
    grey = {"lineStyle": {"color": "#eef0f3"}}
    value_axis = {"type": "value", "min": 0, "splitLine": grey, "nameTextStyle": {"align": "left"}}
    return {
        "animation": False,
        "tooltip": {"trigger": "item", "renderMode": "richText"},
        "legend": {"bottom": 0, "itemGap": 14},
        "grid": {"left": 44, "right": 44, "top": 32, "bottom": 62},
        "xAxis": {"type": "value", "name": "round", "nameLocation": "middle", "nameGap": 24, "minInterval": 1,
                  "splitLine": {"show": False}},
        "yAxis": [
            {**value_axis, "name": "energy (meV/atom)"},
            {**value_axis, "name": "forces (meV/Å)", "nameTextStyle": {"align": "right"}, "splitLine": {"show": False}},
        ],
        "series": series,
    }  # fmt: skip


def _tests(one: Overview) -> list[tuple[str, str]]:
    """Test set and task of every error that some model has."""
    return list(dict.fromkeys((t, k) for row in one.errors for t in row.tests for k in TASKS if k in row.tests[t]))


def _news(one: Overview) -> list[str]:
    lines = []
    if one.promotion is not None:
        words = {"promote": "promoted", "refuse": "refused", "rollback": "gone back to"}[one.promotion["action"]]
        reason = (one.promotion["reasons"] or [""])[0]
        lines.append(f"model {one.promotion['model_id'][:12]} was {words}: {reason}")
    found = one.status
    if found is not None:
        lines += [f"stopped: {found.stopped_because}"] if found.stopped_because else []
        lines += [f"failed: {failure.job}: {failure.error}" for failure in found.failures]
        lines += [f"next: {line}" for line in found.next[:1]]
    return lines


def _unit(task: str) -> str:
    return UNITS[task].replace("Angstrom", "Å").replace("muB", "μB")


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3g}"
