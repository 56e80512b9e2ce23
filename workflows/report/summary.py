"""A campaign in numbers: what was calculated, how good the model is, against which baselines."""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from importlib import metadata
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field
from rich.console import Console
from rich.table import Table

from datastore import SpinStore
from datastore.costs import core_seconds
from datastore.levels import CHANGED
from datastore.metastable import state_key
from datastore.schema import SpinFailure, SpinPoint, content_hash
from workflows import __version__
from workflows.campaign import CampaignOptions
from workflows.report.collect import Material, collect

Task = Literal["energy", "forces", "moments"]
TASKS: tuple[Task, ...] = ("energy", "forces", "moments")
UNITS = {"energy": "meV/atom", "forces": "meV/Å", "moments": "μB"}
DIGITS = {"energy": 2, "forces": 1, "moments": 4}
PREDICTORS = {"model": "SpinMultiNet", "no_spin": "same model without spin", "constant": "constant per ordering"}
"""Key in results.json -> name for people, best informed first."""


class Counts(BaseModel):
    """How many calculations, and what became of them."""

    calculated: int
    accepted: int
    rejected: int
    failed: int
    train: int = 0
    val: int = 0
    test: int = 0
    chosen: int = Field(0, description="labels the active-learning rounds asked for")
    restarted: int = Field(0, description="labels that looked metastable and were started again from other moments")
    lowered: int = Field(0, description="those of them that another start took to a lower state")
    core_hours: float = Field(
        description="core hours of all calculations, failed ones included, as `data costs` has them"
    )


class ErrorRow(BaseModel):
    """Mean absolute errors of one predictor on the held-out labels; None where it predicts no such thing."""

    predictor: str
    name: str
    energy: float | None = Field(description="meV/atom")
    forces: float | None = Field(description="meV/Angstrom, per component")
    moments: float | None = Field(description="muB, per magnetic site")
    beaten: dict[Task, bool] = Field(default_factory=dict, description="per task: is the model better than this one")


class OrderingEnergy(BaseModel):
    """Energy of an ordering above the reference ordering, over held-out geometries labelled in both. meV/atom."""

    ordering: str
    reference: str
    pairs: int
    engine: float = Field(description="mean over the pairs")
    model: float
    mae: float = Field(description="mean absolute error of the difference")
    right_sign: int = Field(description="pairs in which the model puts the two orderings in the engine's order")


class Timings(BaseModel):
    """Seconds."""

    labels_cpu: float = Field(description="core seconds of all calculations, failed ones included")
    label_median: float | None = Field(description="median wall time of one calculation")
    training: float | None = Field(description="sum over the members of the last generation")


class Summary(BaseModel):
    """What a campaign gave, JSON-able. Without a trained model ``errors`` and ``order`` are empty."""

    campaign: str
    formulas: list[str]
    engine: str = Field(description="the code's own name, such as GPAW")
    engine_version: str
    level_of_theory: dict[str, Any]
    levels: int = Field(description="different levels of theory that were asked for; more than 1 is a mistake")
    left_out: list[str] = Field(
        default_factory=list,
        description="accepted labels that no training set holds because corrections changed their level: how many, why",
    )
    counts: Counts
    generations: int
    members: int = 0
    held_out: int = 0
    errors: list[ErrorRow] = Field(default_factory=list)
    refused: int = Field(default=0, description="models that failed their checks, where none has passed them")
    right_moment_signs: float | None = None
    order: list[OrderingEnergy] = Field(default_factory=list)
    timings: Timings
    versions: dict[str, str]

    @property
    def beats_all(self) -> bool | None:
        """Whether the model beats every baseline in everything both predict; None without model or baselines."""
        verdicts = [better for row in self.errors for better in row.beaten.values()]
        return all(verdicts) if verdicts else None


def summarise(options: CampaignOptions, store: SpinStore, evaluated: dict[str, Any] | None) -> Summary:
    """Summary of a campaign; ``evaluated`` is the output of the last evaluation job (None: no model yet).

    Raises ReportError where the predictions that ``evaluated`` names cannot be read.
    """
    return summary_of(collect(options, store, evaluated))


def summary_of(material: Material) -> Summary:
    """Summary of material that is already gathered."""
    items, main = material.calculated, material.typical
    return Summary(
        campaign=material.options.name,
        formulas=sorted({item.formula for item in items}),
        engine=material.engine,
        engine_version=main.engine_version if main else "",
        level_of_theory=main.level_of_theory if main else {},
        levels=len({content_hash(_asked(item)) for item in items}),
        left_out=_left_out(material),
        counts=_counts(material),
        generations=len({item.generation for item in items}),
        members=len(material.evaluated.get("members", [])),
        held_out=material.results.get("model", {}).get("n_structures", 0),
        errors=error_rows(material.results),
        refused=_refused(material),
        right_moment_signs=material.results.get("model", {}).get("right_sign"),
        order=ordering_energies(material.results),
        timings=_timings(material),
        versions=_versions(material.engine if main else "", main.engine_version if main else ""),
    )


def _refused(material: Material) -> int:
    """Models that were judged while none was ever in use."""
    log = material.promotions
    return 0 if any(entry.champion for entry in log) else len({entry.model_id for entry in log})


def _counts(material: Material) -> Counts:
    verdicts = Counter(point.verdict for point in material.points)
    splits = Counter(material.split_of.values())
    return Counts(
        calculated=len(material.calculated),
        accepted=verdicts["accepted"],
        rejected=verdicts["rejected"],
        failed=len(material.failures),
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        chosen=sum(item.generation > 0 and not item.start for item in material.calculated),
        **_starts(material),
        core_hours=sum(map(cost_of, material.calculated)) / 3600,
    )


def _asked(item: SpinPoint | SpinFailure) -> dict[str, Any]:
    """The level of theory as the engine states it, whatever corrections made of it."""
    return {key: value for key, value in item.level_of_theory.items() if key != CHANGED}


def _left_out(material: Material) -> list[str]:
    """One line per way in which corrections changed a level, most frequent first."""
    changed = [p for p in material.points if p.verdict == "accepted" and CHANGED in p.level_of_theory]
    ways = Counter((", ".join(sorted(point.level_of_theory[CHANGED])), _found(point)) for point in changed)
    return [
        f"{count} label{'' if count == 1 else 's'} left out of training: corrections changed {settings}{found}"
        for (settings, found), count in sorted(ways.items(), key=lambda item: (-item[1], item[0]))
    ]


def _found(point: SpinPoint) -> str:
    """The errors that were corrected, by custodian's names, in brackets; empty where the history has none."""
    errors = {str(error) for entry in point.history if entry.get("handler") for error in entry.get("errors", [])}
    return f" (custodian: {', '.join(sorted(errors))})" if errors else ""


def _starts(material: Material) -> dict[str, int]:
    """How many labels were started again, and how many of them ended lower."""
    started = {state_key(item) for item in material.calculated if item.start}
    others = {point.point_id for point in material.points if point.start}
    usual = [item for item in material.calculated if not item.start and state_key(item) in started] if started else []
    lowered = [p for p in usual if isinstance(p, SpinPoint) and (p.excitation or 0.0) > 0 and p.ground in others]
    return {"restarted": len(usual), "lowered": len(lowered)}


def cost_of(item: SpinPoint | SpinFailure) -> float:
    """Core seconds of a calculation, by the rule of :mod:`datastore.costs`; 0 where it does not say."""
    return core_seconds({name: getattr(item, name, "") for name in ("timings", "salvaged_from", "error_type")}) or 0.0


def _timings(material: Material) -> Timings:
    walls = [item.timings["wall"] for item in material.calculated if "wall" in item.timings]
    members = material.evaluated.get("members", [])
    return Timings(
        labels_cpu=sum(map(cost_of, material.calculated)),
        label_median=float(np.median(walls)) if walls else None,
        training=sum(member.get("seconds", 0.0) for member in members) if members else None,
    )


def error_rows(results: dict[str, Any]) -> list[ErrorRow]:
    """One row per predictor in ``results`` (content of results.json), the model first."""
    rows = []
    model = _errors(results.get("model"))
    for predictor, name in PREDICTORS.items():
        if predictor not in results:
            continue
        errors = _errors(results[predictor])
        beaten: dict[Task, bool] = {}
        for task in TASKS:
            mine, other = model[task], errors[task]
            if predictor != "model" and mine is not None and other is not None:
                beaten[task] = mine < other
        rows.append(ErrorRow(predictor=predictor, name=name, **errors, beaten=beaten))
    return rows


def _errors(result: dict[str, Any] | None) -> dict[str, float | None]:
    overall = (result or {}).get("overall", {})
    return {task: overall[task]["mae"] if task in overall else None for task in TASKS}


def paired_energies(result: dict[str, Any], reference: str | None = None) -> dict[str, list[tuple[float, float]]]:
    """Per ordering: (engine, model) energy above the reference ordering of the same geometry, meV/atom, each pair.

    ``reference`` defaults to the ordering that is lowest in the engine, on the mean over complete geometries. The
    result's first key is the reference itself, with an empty list; it is empty where there are no pairs.
    """
    groups: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for item in result.get("structures", []):
        if item.get("pair_id") and "energy" in item:
            energy = item["energy"]
            groups[item["pair_id"]][item.get("ordering", "")] = (1e3 * energy["label"], 1e3 * energy["predicted"])
    pairs = [group for group in groups.values() if len(group) > 1]
    if not pairs:
        return {}
    reference = reference or _lowest(pairs)
    out: dict[str, list[tuple[float, float]]] = {reference: []}
    for group in pairs:
        for ordering, (label, predicted) in group.items():
            if reference in group and ordering != reference:
                base = group[reference]
                out.setdefault(ordering, []).append((label - base[0], predicted - base[1]))
    return out


def _lowest(pairs: list[dict[str, tuple[float, float]]]) -> str:
    """Ordering with the lowest engine energy relative to the mean of its geometry, averaged over geometries."""
    relative: dict[str, list[float]] = defaultdict(list)
    for group in pairs:
        mean = np.mean([label for label, _ in group.values()])
        for ordering, (label, _) in group.items():
            relative[ordering].append(label - float(mean))
    return min(sorted(relative), key=lambda ordering: float(np.mean(relative[ordering])))


def ordering_energies(results: dict[str, Any]) -> list[OrderingEnergy]:
    """Means of :func:`paired_energies` of the model, lowest in the engine first."""
    energies = paired_energies(results.get("model", {}))
    reference, *others = energies or [""]
    rows = []
    for ordering in others:
        engine, model = np.array(energies[ordering]).T
        rows.append(
            OrderingEnergy(
                ordering=ordering,
                reference=reference,
                pairs=len(engine),
                engine=float(engine.mean()),
                model=float(model.mean()),
                mae=float(np.abs(model - engine).mean()),
                right_sign=int(np.sum(engine * model > 0)),
            )
        )
    return sorted(rows, key=lambda row: row.engine)


def _versions(engine: str, engine_version: str) -> dict[str, str]:
    """Versions of what decides the numbers, here and now; the engine's as its labels say."""
    versions = {"spinmultinet-workflows": __version__} | ({engine: engine_version} if engine else {})
    versions["python"] = platform.python_version()
    for package in ("torch", "e3nn", "numpy", "ase", "pymatgen", "jobflow"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def shown(value: float | None, task: str) -> str:
    """A mean absolute error with the digits of its task; ``n/a`` where there is none."""
    return "n/a" if value is None else f"{value:.{DIGITS[task]}f}"


def headline(summary: Summary) -> str:
    """The campaign in one or two plain sentences with its numbers."""
    c = summary.counts
    labels = f"{c.calculated} {summary.engine} calculations of {', '.join(summary.formulas)}"
    fate = f"{c.accepted} accepted, {c.rejected} rejected, {c.failed} failed"
    again = f" {c.restarted} of them were started again, {c.lowered} ended lower." if c.restarted else ""
    text = (
        f"{labels}: {fate}, {core_time(summary.timings.labels_cpu)}.{again}"
        if c.calculated
        else "Nothing has been calculated yet."
    )
    if not summary.errors:
        return f"{text} {no_model(summary)}" if c.calculated else text
    return f"{text} {_model_sentence(summary)}"


def no_model(summary: Summary) -> str:
    """Why there are no errors of a model."""
    if summary.refused:
        return f"No model is in use: {summary.refused} trained, each refused because it failed its checks."
    return "No model has been trained on these labels yet."


def _model_sentence(summary: Summary) -> str:
    c, model = summary.counts, summary.errors[0]
    who = f"A committee of {summary.members}" if summary.members > 1 else "A model"
    how = f"trained on {c.train} labels ({c.val} more for validation)"
    errors = [
        f"{shown(value, task)} {UNITS[task]} in {task}" for task in TASKS if (value := getattr(model, task)) is not None
    ]
    found = f"has mean absolute errors of {', '.join(errors)}"
    return f"{who} {how} {found} on {summary.held_out} held-out labels. {verdict(summary)}"


def verdict(summary: Summary) -> str:
    """Whether the model beats the baselines, and in what it does not."""
    if summary.beats_all is None:
        return "There is no baseline to compare with."
    if summary.beats_all:
        return "It beats every baseline in everything they predict."
    lost = [f"the {row.name} in {task}" for row in summary.errors for task, better in row.beaten.items() if not better]
    return f"It does not beat {', '.join(lost)}."


def core_time(seconds: float) -> str:
    """Core time for people: ``12 core seconds``, ``3.4 core minutes``, ``1.8 core hours``."""
    for size, unit in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.1f} core {unit}"
    return f"{seconds:.2g} core seconds"


def print_summary(summary: Summary, console: Console) -> None:
    """Short tables for a terminal of 80 columns: errors beside the baselines, energies of the orderings."""
    console.print(headline(summary), markup=False, highlight=False)
    if summary.levels > 1:
        console.print(f"Warning: the calculations have {summary.levels} levels of theory.", style="bold")
    for text in summary.left_out:
        console.print(f"Warning: {text}.", style="bold", markup=False)
    if summary.errors:
        console.print(_error_table(summary))
    if summary.order:
        console.print(_order_table(summary))


def _error_table(summary: Summary) -> Table:
    table = Table(title=f"mean absolute error on {summary.held_out} held-out labels", title_justify="left")
    table.add_column("")
    for task in TASKS:
        table.add_column(f"{task}\n{UNITS[task]}", justify="right")
    table.add_column("beaten by\nthe model")
    for row in summary.errors:
        cells = [shown(getattr(row, task), task) for task in TASKS]
        table.add_row(row.name, *cells, beaten_text(row), style="bold" if row.predictor == "model" else "")
    return table


def beaten_text(row: ErrorRow) -> str:
    """``yes``, or the tasks in which the model is not better; empty for the model itself."""
    if not row.beaten:
        return ""
    lost = [task for task, better in row.beaten.items() if not better]
    return f"not in {', '.join(lost)}" if lost else "yes"


def _order_table(summary: Summary) -> Table:
    table = Table(title="energy of the orderings on held-out geometries, meV/atom", title_justify="left")
    for column in ("", "pairs", summary.engine, "model", "MAE", "right order"):
        table.add_column(column, justify="left" if not column else "right")
    for row in summary.order:
        cells = [f"{value:+.1f}" for value in (row.engine, row.model)]
        cells += [f"{row.mae:.1f}", f"{row.right_sign} of {row.pairs}"]
        table.add_row(f"{row.ordering} - {row.reference}", str(row.pairs), *cells)
    return table
