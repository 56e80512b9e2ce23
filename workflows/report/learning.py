"""Pictures of active learning: which candidates were chosen and why, and what the model learned from them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from workflows.report.collect import Document, Material
from workflows.report.images import GREY, INK, MARKERS, PALE, Picture, encode, new_figure, ordering_style, styled
from workflows.report.summary import DIGITS, TASKS, UNITS, Task

SPREAD_UNITS = {"energy": "meV/atom", "forces": "meV/Å", "moments": "μB"}
_TO_UNIT = {"energy": 1e3, "forces": 1e3, "moments": 1.0}
HONEST = "#D55E00"
BEFORE_AFTER = ("#9bb8d0", "#0b3c5d")
MOST_ORDERINGS = 5
"""Chosen orderings told apart in a picture; the rarest beyond them are one entry, OTHERS."""

OTHERS = "others"
LONGEST_NAME = 16
"""Characters of an ordering in a legend."""

MOST_LEVEL = 4
"""Kinds of deformation whose names fit side by side."""


def generation_figures(material: Material) -> list[Picture]:
    """Errors of every generation on its held-out labels, and of the last-but-one on labels made after it."""
    entries = generation_scores(material)
    if len(entries) < 2:
        return []
    return [picture for task in TASKS if (picture := _generations(entries, task)) is not None]


def generation_scores(material: Material) -> list[Document]:
    """``name``, ``kind`` (held-out or honest), ``overall`` per committee and test set, in the order of time.

    The generations' held-out sets can differ: later ones may hold more. Each entry carries its own counts.
    """
    entries: list[Document] = []
    last = material.evaluated.get("generation")
    for record in material.records:
        scores = material.results["model"]["overall"] if record.generation == last else record.scores.get("model")
        if scores:
            entries.append({"name": f"generation {record.generation}", "kind": "held-out", "overall": scores})
    honest = material.results.get("honest")
    if honest:
        before = f"generation {last - 1}" if last else "before"
        entries.append({"name": before, "kind": "new labels", "overall": honest["overall"]})
    return entries


def _generations(entries: list[Document], task: Task) -> Picture | None:
    entries = [entry for entry in entries if task in entry["overall"]]
    if len(entries) < 2:
        return None
    with styled():
        figure, axes = new_figure(3.6, 2.8)
        heights = [entry["overall"][task]["mae"] for entry in entries]
        tested = [entry for entry in entries if entry["kind"] == "held-out"]
        colours = [HONEST if e["kind"] != "held-out" else BEFORE_AFTER[e is tested[-1]] for e in entries]
        bars = axes.bar(range(len(entries)), heights, 0.6, color=colours)
        axes.bar_label(bars, fmt=f"%.{DIGITS[task]}f", padding=2, fontsize=8, color=INK)
        labels = [f"{e['name']}\non {e['kind']}\nn = {e['overall']['energy']['n']} labels" for e in entries]
        axes.set_xticks(range(len(entries)), labels, fontsize=7.5)
        axes.set_ylabel(f"MAE of {task} ({UNITS[task]})")
        axes.margins(y=0.15)
        pairs = zip(entries, heights, strict=True)
        alt = "; ".join(f"{e['name']} on {e['kind']} {height:.4g} {UNITS[task]}" for e, height in pairs)
        return encode(figure, f"Mean absolute error of {task}: {alt}", task)


def selection_figures(material: Material, selection: Document) -> list[Picture]:
    """Spread of the committee on every candidate, by deformation, the chosen ones marked; one picture per task.

    None of a task in which no candidate has a spread: one member has none, and some rules ask for none.
    """
    candidates = selection.get("candidates", [])
    return [_spreads(material, selection, task) for task in TASKS if any(c[task] > 0 for c in candidates)]


def _spreads(material: Material, selection: Document, task: Task) -> Picture:
    candidates, chosen = selection["candidates"], chosen_ids(selection)
    kinds = list(dict.fromkeys(c["deformation"] for c in candidates))
    x, y = _jittered(candidates, kinds), np.array([c[task] for c in candidates]) * _TO_UNIT[task]
    marked = np.array([c["config_id"] in chosen for c in candidates])
    with styled():
        figure, axes = new_figure(3.6, 3.6)
        axes.plot(x[~marked], y[~marked], ".", color=PALE, markersize=5, label=f"candidate ({(~marked).sum()})")
        names = np.array([c["ordering"] for c in candidates])
        style = _chosen_style(material, names[marked].tolist())
        for ordering, look in style.items():
            mine = marked & (names == ordering if ordering != OTHERS else ~np.isin(names, list(style)))
            label = f"{_fitting(ordering)} ({mine.sum()})"
            axes.plot(x[mine], y[mine], linestyle="", markersize=6, markeredgecolor="white", label=label, **look)
        axes.axhline(float(np.median(y)), color=INK, linewidth=0.8, linestyle=(0, (4, 3)), label="median")
        turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if len(kinds) > MOST_LEVEL else {}
        axes.set_xticks(range(len(kinds)), kinds, fontsize=8, **turned)
        axes.set_xlim(-0.5, len(kinds) - 0.5)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("deformation of the candidate")
        axes.set_ylabel(f"spread of {task} ({SPREAD_UNITS[task]})")
        figure.legend(loc="outside upper center", ncols=2, columnspacing=1.0, handletextpad=0.3)
        alt = f"Spread of {task} on {len(candidates)} candidates, {marked.sum()} chosen, median {np.median(y):.3g}"
        return encode(figure, f"{alt} {SPREAD_UNITS[task]}", task)


def _chosen_style(material: Material, chosen: list[str]) -> dict[str, dict[str, Any]]:
    """Look of each chosen ordering, as in the other pictures; of the rarest together where a legend cannot hold all."""
    most = [ordering for ordering, _ in Counter(sorted(chosen)).most_common()]
    shown = most[:MOST_ORDERINGS]
    known = list(dict.fromkeys([*material.orderings, *shown]))
    looks = ordering_style(known if len(known) <= len(MARKERS) else shown)
    others = {OTHERS: {"color": GREY, "marker": "X"}} if len(shown) < len(most) else {}
    return {ordering: looks[ordering] for ordering in shown} | others


def _fitting(ordering: str) -> str:
    """A name short enough for half the width of a picture."""
    return ordering if len(ordering) <= LONGEST_NAME else f"{ordering[: LONGEST_NAME - 1]}…"


def chosen_ids(selection: Document) -> set[str]:
    """config_ids of the configurations that were chosen."""
    return {choice["candidate"]["config_id"] for choice in selection.get("chosen", [])}


def _jittered(candidates: list[dict[str, Any]], kinds: list[str]) -> Any:
    """Positions on the x axis: the kind's number plus a fixed spread, so that points do not hide each other."""
    golden = (np.arange(len(candidates)) * 0.6180339887) % 1.0
    return np.array([kinds.index(c["deformation"]) for c in candidates]) + 0.55 * (golden - 0.5)
