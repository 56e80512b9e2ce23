"""The report as one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from jinja2 import Environment, StrictUndefined

from datastore import SpinStore
from datastore.schema import SpinFailure, SpinPoint
from datastore.stores import mask
from workflows.campaign import CampaignOptions
from workflows.engines import get_engine
from workflows.jobs.files import write_atomically
from workflows.names import short_name
from workflows.report import figures, learning
from workflows.report.calibration import calibration_figure, calibration_rows
from workflows.report.champions import champion_rows
from workflows.report.choices import choice_row, cost_words, group_tables, price_words, rule_words
from workflows.report.collect import Document, Material, collect
from workflows.report.curves import curve_figures, target_rows
from workflows.report.summary import (
    TASKS,
    UNITS,
    Summary,
    beaten_text,
    core_time,
    headline,
    no_model,
    shown,
    summary_of,
)
from workflows.report.timeline import course_figure, round_rows

MOST_ROWS = 200
"""Rows of a list in the report; the store has the rest."""

MOST_PICTURED = 8
"""Rounds whose candidates are drawn; the tables have all rounds."""


def write_report(options: CampaignOptions, store: SpinStore, evaluated: Document | None, path: Path) -> Path:
    """Write the report of a campaign to ``path`` and return it; the file is there as a whole or not at all.

    ``evaluated`` is the output of the last evaluation job, None while there is no model. Raises ReportError.
    """
    path = Path(path)
    write_atomically(path, render(collect(options, store, evaluated)))
    return path


def render(material: Material) -> str:
    """The page as text. Everything that comes from campaigns, engines and errors is escaped."""
    template = files("workflows.report").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters.update(readable=readable, shown=shown, short_name=short_name, short_time=cost_words)
    return environment.from_string(template).render(**_content(material))


def _content(material: Material) -> dict[str, Any]:
    summary = summary_of(material)
    return {
        "s": summary,
        "headline": headline(summary),
        "no_model": no_model(summary),
        "engine": summary.engine,
        "core_time": core_time(summary.timings.labels_cpu).split(" core "),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "tasks": TASKS,
        "units": UNITS,
        "beaten_text": beaten_text,
        "most": MOST_ROWS,
        **_calculations(material),
        **_pictures(material),
        "rounds": _rounds(material),
        "course_rows": round_rows(material),
        "targets": target_rows(material),
        "calibration_rows": calibration_rows(material),
        "champions": champion_rows(material),
        **_settings(material, summary),
    }


def _calculations(material: Material) -> dict[str, Any]:
    return {
        "orderings": material.orderings,
        "table": verdict_table(material),
        "failures": material.failures[:MOST_ROWS],
        "rejected": [point for point in material.points if point.verdict == "rejected"][:MOST_ROWS],
    }


def _pictures(material: Material) -> dict[str, Any]:
    return {
        "spins": figures.spin_figures(material),
        "verdicts": figures.verdict_figure(material),
        "parity": figures.parity_figures(material),
        "by_ordering": figures.group_figures(material, "per_ordering"),
        "by_deformation": figures.group_figures(material, "per_deformation"),
        "order_picture": figures.order_figure(material),
        "learned": learning.generation_figures(material),
        "curves": curve_figures(material),
        "course_picture": course_figure(material),
        "calibration": calibration_figure(material),
    }


def verdict_table(material: Material) -> list[tuple[str, list[str]]]:
    """Rows deformation -> cell per ordering and a total, each as ``accepted``, ``+ rejected``, ``+ failed``."""
    counts = Counter((i.deformation, i.ordering, fate_of(i)) for i in material.calculated)
    rows = []
    for deformation in [*material.deformations, "all"]:
        cells = []
        for ordering in [*material.orderings, "all"]:
            cell: Counter[str] = Counter()
            for (d, o, fate), n in counts.items():
                if deformation in (d, "all") and ordering in (o, "all"):
                    cell[fate] += n
            cells.append(_cell(cell))
        rows.append((deformation, cells))
    return rows


def _cell(counts: Counter[str]) -> str:
    parts = [f"{counts[fate]} {fate}" for fate in ("rejected", "failed") if counts[fate]]
    return ", ".join([str(counts["accepted"]) if counts else "–", *parts])


def fate_of(item: SpinPoint | SpinFailure) -> str:
    """``accepted``, ``rejected`` or ``failed``."""
    return item.verdict if isinstance(item, SpinPoint) else "failed"


def _rounds(material: Material) -> list[dict[str, Any]]:
    """The rounds, oldest first; pictures of the newest MOST_PICTURED only, and of several the last is unfolded."""
    last = len(material.selections) - 1
    return [
        {**_round(material, selection, k > last - MOST_PICTURED), "open": k == last}
        for k, selection in enumerate(material.selections)
    ]


def _round(material: Material, selection: Document, pictured: bool) -> dict[str, Any]:
    """One active-learning round: its pictures, and each choice with what became of it."""
    fates = {item.config_id: fate_of(item) for item in material.calculated}
    choices = [
        choice_row(choice, fates.get(choice["candidate"]["config_id"], "not calculated yet"))
        for choice in selection.get("chosen", [])
    ]
    return {
        "number": selection.get("generation", 0),
        "candidates": len(selection.get("candidates", [])),
        "choices": choices,
        "how": rule_words(selection.get("rule", "spread"), material.options.active_learning.select),
        "price": price_words(selection),
        "tables": group_tables(selection),
        "pictures": learning.selection_figures(material, selection) if pictured else [],
    }


def _settings(material: Material, summary: Summary) -> dict[str, Any]:
    """Level of theory with explanations, options, and what is needed to do it again."""
    options = material.options
    record = material.records[-1] if material.records else None
    explained = {name: field.description or "" for name, field in type(get_engine(options.engine)).model_fields.items()}
    return {
        "level": [(key, readable(value), explained.get(key, "")) for key, value in summary.level_of_theory.items()],
        "record": record,
        "hypers": yaml.safe_dump(record.hypers, sort_keys=False, default_flow_style=None) if record else "",
        "campaign_file": _campaign_file(options),
        "model_files": [member.get("path", "") for member in material.evaluated.get("members", [])],
    }


def _campaign_file(options: CampaignOptions) -> str:
    """The campaign as YAML; folder and store only where they are not the default ones of some working folder.

    Reports are passed on, so what may be secret is left out: passwords, the path of the webhook, the program notified.
    """
    content = options.model_dump(mode="json", exclude_defaults=True)
    if options.store == f"local:{options.folder}/store":
        content.pop("store", None)
    for place in {"store", "models"} & content.keys():
        content[place] = mask(content[place])
    retrain = content.get("active_learning", {}).get("retrain", {})
    retrain.pop("notify", None)
    if webhook := retrain.get("webhook"):
        parts = urlsplit(webhook)
        retrain["webhook"] = f"{parts.scheme}://{parts.hostname}/..."
    if Path(options.folder).parts[-2:] == ("runs", options.name):
        content.pop("folder", None)
    return str(yaml.safe_dump(content, sort_keys=False, default_flow_style=None))


def readable(value: Any) -> str:
    """A setting in one line: ``Co 3.32, Ni 6.2`` for a dict, ``4 × 4 × 2`` for a list of whole numbers."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {readable(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        separator = " × " if value and all(isinstance(entry, int) for entry in value) else ", "
        return separator.join(readable(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
