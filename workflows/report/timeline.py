"""The course of a campaign: a row per round, and a picture of which jobs ran when."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from datastore.schema import SpinFailure, SpinPoint
from workflows.report.collect import Document, Material
from workflows.report.images import GREY, INK, PALETTE, Picture, encode, new_figure, styled
from workflows.report.summary import cost_of

ROWS = {
    "lattices": ("parent",),
    "labels": ("label",),
    "training": ("train",),
    "search": ("explore", "select", "starts", "structures"),
    "judging": ("dataset", "honest", "evaluate", "promote", "decide", "conclude", "due", "record"),
}
"""Row of the picture -> kinds of jobs in it, from top to bottom."""

COLOURS = dict(zip(ROWS, (PALETTE[3], PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[4]), strict=True))
PAUSE = 60.0
"""Seconds without any job that count as a stop of the campaign and are cut out of the picture."""

MOST_MARKS = 12
"""Numbers of rounds above the picture; with more rounds, every second, third... is shown."""


@dataclass(frozen=True)
class Interval:
    """A job at work, from ``start`` to ``end`` (Unix time)."""

    row: str
    name: str
    start: float
    end: float
    failed: bool


def intervals(events: Iterable[Document]) -> list[Interval]:
    """Finished jobs of a log of runs, in the order of their starts; those that a kill cut off have no end there."""
    rows = {kind: row for row, kinds in ROWS.items() for kind in kinds}
    begun: dict[str, float] = {}
    found = []
    for event in events:
        if event["event"] == "started":
            begun[event["uuid"]] = event["time"]
        elif event["uuid"] in begun:
            start, failed = begun.pop(event["uuid"]), event["event"] == "failed"
            found.append(Interval(rows.get(event["type"], "judging"), event["job"], start, event["time"], failed))
    return sorted(found, key=lambda interval: (interval.start, interval.end))


def pauses(work: Sequence[Interval]) -> list[tuple[float, float]]:
    """Start and end of each time of more than PAUSE in which nothing ran."""
    found, end = [], work[0].end if work else 0.0
    for interval in work:
        if interval.start - end > PAUSE:
            found.append((end, interval.start))
        end = max(end, interval.end)
    return found


def work_time(moment: float, begin: float, stops: Sequence[tuple[float, float]]) -> float:
    """Seconds of work from ``begin`` to ``moment``: without the pauses in between."""
    return moment - begin - sum(min(moment, end) - start for start, end in stops if start < moment)


def course_figure(material: Material) -> Picture | None:
    """Jobs of the campaign over the time it worked, a row per kind of work; None without a log of runs here."""
    work = intervals(material.events)
    if not work:
        return None
    stops = pauses(work)
    begin, last = work[0].start, max(interval.end for interval in work)
    spent = work_time(last, begin, stops)
    size, unit = next(
        (s, u) for s, u in ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")) if spent > 2 * s or s == 1
    )
    rows = [row for row in ROWS if any(interval.row == row for interval in work)]
    with styled():
        figure, axes = new_figure(10.0, 0.9 + 0.42 * len(rows))
        for number, row in enumerate(reversed(rows)):
            mine = [interval for interval in work if interval.row == row]
            for lane, bars in enumerate(lanes := _lanes(mine)):
                height = 0.76 / len(lanes)
                spans = [_span(bar, begin, stops, size) for bar in bars]
                colours = ["#8b1a1a" if bar.failed else COLOURS[row] for bar in bars]
                axes.broken_barh(spans, (number - 0.38 + lane * height, height * 0.94), facecolors=colours)
        axes.set_yticks(range(len(rows)), reversed(rows))
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, spent / size)
        axes.set_xlabel(f"{unit} of work{_cut(stops)}")
        _mark_rounds(axes, work, begin, stops, size)
        return encode(figure, _course_in_words(work, rows, spent / size, unit), "course")


def _span(bar: Interval, begin: float, stops: Sequence[tuple[float, float]], size: float) -> tuple[float, float]:
    start = work_time(bar.start, begin, stops) / size
    return start, work_time(bar.end, begin, stops) / size - start


def _lanes(work: Sequence[Interval]) -> list[list[Interval]]:
    """Jobs side by side: each in the first lane that is free."""
    lanes: list[list[Interval]] = []
    for interval in work:
        for lane in lanes:
            if lane[-1].end <= interval.start:
                lane.append(interval)
                break
        else:
            lanes.append([interval])
    return lanes


def _cut(stops: Sequence[tuple[float, float]]) -> str:
    if not stops:
        return ""
    hours = sum(end - start for start, end in stops) / 3600
    return f"; {len(stops)} {'pause' if len(stops) == 1 else 'pauses'} cut out, {hours:.2g} h"


def _mark_rounds(
    axes: Any, work: Sequence[Interval], begin: float, stops: Sequence[tuple[float, float]], size: float
) -> None:
    """A line at the end of each round, and its number above."""
    ends = {int(found[1]): i.end for i in work if (found := re.fullmatch(r"evaluate (\d+)", i.name)) and not i.failed}
    every = max(1, -(-len(ends) // MOST_MARKS))
    for number, end in ends.items():
        at = work_time(end, begin, stops) / size
        axes.axvline(at, color=GREY, linewidth=0.7, linestyle=(0, (3, 3)), zorder=0)
        if number % every == 0:
            text = f"round {number}" if number == min(ends) else str(number)
            axes.text(at, 1.01, text, transform=axes.get_xaxis_transform(), ha="right", fontsize=8, color=INK)


def _course_in_words(work: Sequence[Interval], rows: Sequence[str], spent: float, unit: str) -> str:
    counts = [f"{sum(interval.row == row for interval in work)} jobs of {row}" for row in rows]
    return f"Which jobs ran when, in {spent:.3g} {unit} of work: {', '.join(counts)}"


def round_rows(material: Material) -> list[Document]:
    """A row per round: labels and their cost, training, what became of its model, why the campaign went on or stopped.

    Keys: ``generation``, ``accepted``, ``lost``, ``core_seconds``, ``training`` (seconds or None), ``verdict``,
    ``reasons``, ``why``.
    """
    made: defaultdict[int, list[SpinPoint | SpinFailure]] = defaultdict(list)
    for item in material.calculated:
        made[item.generation].append(item)
    records = {record.generation: record for record in material.lineage}
    judged = {entry.model_id: entry for entry in material.promotions if entry.action != "rollback"}
    training = _training(material)
    rows = []
    for generation in sorted({*made, *records}):
        items = made[generation]
        accepted = sum(isinstance(item, SpinPoint) and item.verdict == "accepted" for item in items)
        record = records.get(generation)
        entry = judged.get(record.model_id) if record else None
        rows.append(
            {
                "generation": generation,
                "accepted": accepted,
                "lost": len(items) - accepted,
                "core_seconds": sum(map(cost_of, items)),
                "training": training.get(generation),
                "verdict": {"promote": "promoted", "refuse": "refused"}[entry.action] if entry else "",
                "reasons": entry.reasons if entry else [],
                "why": material.decisions.get(generation, ""),
            }
        )
    return rows


def _training(material: Material) -> dict[int, float]:
    """Wall seconds of training per round, one core each, from the log of runs here; else of the last round only."""
    spent: defaultdict[int, float] = defaultdict(float)
    for event in material.events:
        found = re.match(r"(?:train|no-spin) (\d+) ", event["job"]) if event["type"] == "train" else None
        if found:
            spent[int(found[1])] += event.get("seconds") or 0.0
    if not spent and material.evaluated:
        spent[material.evaluated["generation"]] = sum(m.get("seconds", 0.0) for m in material.evaluated["members"])
    return dict(spent)
