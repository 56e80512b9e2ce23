"""Learning curves: errors on every frozen test set, and on labels before they were trained on, against their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workflows.report.collect import Material
from workflows.report.images import GREY, INK, MARKERS, PALETTE, Picture, encode, new_figure, styled
from workflows.report.summary import TASKS, UNITS, Task

TESTS = {
    "random": "random",
    "orderings": "held-out orderings",
    "compositions": "held-out compositions",
    "pairs": "energy differences of pairs",
}
"""Frozen test set -> name for people."""

LOOKS = dict(zip(TESTS, zip(PALETTE, MARKERS, strict=False), strict=False))
HONEST = "new labels, before training on them"
LEAST_MODELS = 3
"""With two, bars say it better (:func:`workflows.report.learning.generation_figures`)."""

DECADE = 3.0
"""Largest value over smallest from which on an axis is logarithmic."""


@dataclass(frozen=True)
class Curve:
    """One line: training labels and mean absolute errors, in the order of time."""

    name: str
    labels: list[int]
    errors: list[float]


def curves(material: Material, task: Task) -> dict[str, Curve]:
    """Test set (or ``honest``, at the number of labels before its batch) -> its curve, were it of one point."""
    found: dict[str, Curve] = {}
    for record in material.lineage:
        labels = material.sizes.get(record.snapshot_id)
        tests = record.scores.get("tests") or {"random": record.scores.get("model") or {}}
        for test, scores in tests.items():
            if labels and task in scores:
                _add(found, test, TESTS.get(test, test), labels, scores[task]["mae"])
    before = {record.generation + 1: material.sizes.get(record.snapshot_id) for record in material.lineage}
    for batch in material.honest:
        labels = before.get(batch["generation"])
        if labels and task in batch.get("overall", {}):
            _add(found, "honest", HONEST, labels, batch["overall"][task]["mae"])
    return {key: found[key] for key in [*TESTS, *sorted(set(found) - set(TESTS))] if key in found}


def _add(found: dict[str, Curve], key: str, name: str, labels: int, error: float) -> None:
    curve = found.setdefault(key, Curve(name, [], []))
    curve.labels.append(labels)
    curve.errors.append(error)


def curve_figures(material: Material) -> list[Picture]:
    """One picture per task, with the campaign's targets as lines; none before the third model."""
    return [picture for task in TASKS if (picture := _figure(material, task)) is not None]


def target_rows(material: Material) -> list[dict[str, Any]]:
    """The targets beside the errors of the model in use: ``test``, ``task``, ``target``, ``now``, ``met``."""
    model_id = material.promotions[-1].champion if material.promotions else material.evaluated.get("model_id", "")
    record = next((record for record in material.lineage if record.model_id == model_id), None)
    tests = record.scores.get("tests", {}) if record else {}
    rows = []
    for task in TASKS:
        for test, target in _targets(material, task).items():
            now = tests.get(test, {}).get(task, {}).get("mae")
            met = now is not None and now <= target
            row = {"test": TESTS[test], "task": task, "unit": UNITS[task], "target": target, "now": now, "met": met}
            rows.append(row)
    return rows


def _figure(material: Material, task: Task) -> Picture | None:
    lines = curves(material, task)
    if max((len(curve.labels) for key, curve in lines.items() if key != "honest"), default=0) < LEAST_MODELS:
        return None
    targets = _targets(material, task)
    with styled():
        figure, axes = new_figure(3.6, 3.4)
        axes.grid(which="both", color="#e5e7eb", linewidth=0.6)
        for key, curve in lines.items():
            axes.plot(curve.labels, curve.errors, label=curve.name, markersize=4.5, linewidth=1.2, **_look(key))
        for test, target in targets.items():
            axes.axhline(target, color=_look(test)["color"], linewidth=1.0, linestyle=(0, (1, 2)))
        if targets:
            axes.plot(
                [], [], color=GREY, linewidth=1.0, linestyle=(0, (1, 2)), label="target, in the colour of its set"
            )
        _scale(axes, lines, list(targets.values()))
        axes.set_xlabel("training labels")
        axes.set_ylabel(f"MAE of {task} ({UNITS[task]})")
        figure.legend(loc="outside upper left", ncols=1, handlelength=2.4)
        return encode(figure, _in_words(lines, targets, task), task)


def _look(key: str) -> dict[str, Any]:
    if key == "honest":
        return {"color": GREY, "marker": "x", "linestyle": (0, (4, 2)), "zorder": 2}
    colour, marker = LOOKS.get(key, (INK, "o"))
    return {"color": colour, "marker": marker, "zorder": 3}


def _targets(material: Material, task: Task) -> dict[str, float]:
    wanted = material.options.active_learning.stop.targets
    return {test: value for test, options in wanted.items() if (value := getattr(options, task)) is not None}


def _scale(axes: Any, lines: dict[str, Curve], targets: Sequence[float]) -> None:
    """Logarithmic where values differ by more than DECADE; plain numbers as ticks either way."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    labels = [n for curve in lines.values() for n in curve.labels]
    errors = [error for curve in lines.values() for error in curve.errors if error > 0] + list(targets)
    for axis, values, name in ((axes.xaxis, labels, "x"), (axes.yaxis, errors, "y")):
        if max(values) / min(values) > DECADE:
            getattr(axes, f"set_{name}scale")("log")
            wide = max(values) / min(values) > 300
            axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=12))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    if axes.get_xscale() != "log":
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if axes.get_yscale() != "log":
        axes.set_ylim(bottom=0)


def _in_words(lines: dict[str, Curve], targets: dict[str, float], task: Task) -> str:
    parts = [
        f"{c.name} {c.errors[0]:.3g} to {c.errors[-1]:.3g} at {c.labels[-1]} training labels" for c in lines.values()
    ]
    parts += [f"target of {TESTS.get(test, test)} {value:g}" for test, value in targets.items()]
    return f"Mean absolute error of {task} in {UNITS[task]} against the number of training labels: {'; '.join(parts)}"
