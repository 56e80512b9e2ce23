"""Pictures of accuracy on the held-out labels: parity, errors per group, energies of the orderings, verdicts, spins."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from datastore.quality import magnetic_sites
from datastore.schema import FloatArray, SpinFailure, SpinPoint
from workflows.report.collect import Material
from workflows.report.images import (
    GREY,
    INK,
    PALE,
    PREDICTOR_COLOURS,
    Picture,
    encode,
    new_figure,
    ordering_style,
    styled,
)
from workflows.report.parity import PARITY_UNITS, ends, parity_data
from workflows.report.summary import DIGITS, PREDICTORS, TASKS, UNITS, Task, paired_energies
from workflows.structures.draw import draw_structure

WHAT = {"energy": "energy", "forces": "force component", "moments": "moment"}
COUNTED = {"energy": "labels", "forces": "components", "moments": "sites"}
GHOSTS: dict[Task, tuple[str, ...]] = {
    "energy": ("no_spin", "constant"),
    "forces": ("no_spin",),  # the constant predicts none
    "moments": ("no_spin", "constant"),
}
GHOST_MARKERS = {"no_spin": "x", "constant": "."}
VERDICT_COLOURS = {"accepted": ("#009E73", "white"), "rejected": ("#E69F00", INK), "failed": ("#B03A2E", "white")}
"""Colour of the bar and of the number on it."""


def parity_figures(material: Material) -> list[Picture]:
    """Predicted against calculated on the held-out labels, one picture per task."""
    return [picture for task in TASKS if (picture := _parity(material, task)) is not None]


def _parity(material: Material, task: Task) -> Picture | None:
    model = parity_data(material.results.get("model", {}), task)
    if not model:
        return None
    score = material.results["model"]["overall"][task]
    what, unit = WHAT[task], PARITY_UNITS[task]
    limits = ends(np.concatenate([values.ravel() for values in model.values()]))
    with styled():
        figure, axes = new_figure(3.5, 3.9)
        axes.grid(color="#e5e7eb", linewidth=0.7)
        axes.plot(limits, limits, color=GREY, linewidth=0.8, zorder=1)
        _draw_parity(axes, material, task, model)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set_xlabel(f"{what} from {material.engine} ({unit})")
        axes.set_ylabel(f"{what} from model ({unit})")
        title = f"MAE {score['mae']:.{DIGITS[task]}f} {UNITS[task]}, n = {score['n']} {COUNTED[task]}"
        axes.set_title(title)
        figure.legend(loc="outside upper center", ncols=2, handletextpad=0.2, columnspacing=1.0)
        return encode(figure, f"Predicted against calculated {what}: {title}", task)


def _draw_parity(axes: Any, material: Material, task: Task, model: dict[str, FloatArray]) -> None:
    """Baselines pale and behind, the model's points by ordering on top."""
    style = ordering_style([*material.orderings, *(o for o in model if o not in material.orderings)])
    for ordering, look in style.items():
        if ordering in model:
            axes.plot(*model[ordering], linestyle="", markersize=4.8, alpha=0.85, label=ordering, zorder=3, **look)
    for baseline in GHOSTS[task]:
        data = parity_data(material.results.get(baseline, {}), task)
        for values in data.values():
            axes.plot(*values, linestyle="", marker=GHOST_MARKERS[baseline], markersize=4, color=PALE, zorder=2)
        if data:
            axes.plot([], [], linestyle="", marker=GHOST_MARKERS[baseline], color=PALE, label=PREDICTORS[baseline])


def group_figures(material: Material, group: str) -> list[Picture]:
    """Mean absolute error per ``per_ordering`` or ``per_deformation`` group, model beside baselines, one per task."""
    return [picture for task in TASKS if (picture := _bars(material, group, task)) is not None]


def _bars(material: Material, group: str, task: Task) -> Picture | None:
    results = material.results
    order = material.orderings if group == "per_ordering" else material.deformations
    model = results.get("model", {}).get(group, {})
    names = [*(n for n in order if n in model), *sorted(set(model) - set(order))]
    names = [n for n in names if task in model[n]]
    predictors = [p for p in PREDICTORS if any(task in results.get(p, {}).get(group, {}).get(n, {}) for n in names)]
    if not names:
        return None
    with styled():
        figure, axes = new_figure(3.6, 2.9)
        width = 0.8 / len(predictors)
        for k, predictor in enumerate(predictors):
            found = results[predictor].get(group, {})
            heights = [found.get(n, {}).get(task, {}).get("mae", np.nan) for n in names]
            at = np.arange(len(names)) + (k - (len(predictors) - 1) / 2) * width
            bars = axes.bar(at, heights, width * 0.92, color=PREDICTOR_COLOURS[predictor], label=PREDICTORS[predictor])
            turn = 90 if len(names) * len(predictors) > 6 else 0
            axes.bar_label(bars, fmt=f"%.{DIGITS[task]}f", fontsize=6.5, padding=1, color=INK, rotation=turn)
        axes.set_xticks(range(len(names)), [f"{n}\nn = {model[n]['n_structures']}" for n in names])
        axes.set_ylabel(f"MAE of {task} ({UNITS[task]})")
        axes.margins(y=0.2)
        figure.legend(loc="outside upper center", ncols=2, columnspacing=1.0, handlelength=1.2)
        alt = f"Mean absolute error of {task} by {group.removeprefix('per_')}: " + ", ".join(
            f"{n} {model[n][task]['mae']:.4g}" for n in names
        )
        return encode(figure, f"{alt} {UNITS[task]} (model)", task)


def order_figure(material: Material) -> Picture | None:
    """Energy of each ordering above the lowest one on every held-out geometry, from the engine and from the model."""
    energies = paired_energies(material.results.get("model", {}))
    if not energies:
        return None
    reference, *others = energies
    style = ordering_style(material.orderings)
    engine = material.engine
    with styled():
        figure, axes = new_figure(5.4, 3.0)
        axes.axhline(0, color=GREY, linewidth=0.8)
        start = 0
        for ordering in others:
            pairs = np.array(sorted(energies[ordering])).T
            at = start + np.arange(pairs.shape[1])
            colour = style.get(ordering, {"color": INK})["color"]
            axes.vlines(at, *pairs, color=PALE, linewidth=1.5)
            axes.plot(at, pairs[0], "o", color=colour, markersize=6, label=f"{ordering}: {engine}")
            look = {"markerfacecolor": "white", "markersize": 5, "label": f"{ordering}: model"}
            axes.plot(at, pairs[1], "D", color=colour, **look)
            start = int(at[-1]) + 2
        axes.set_xticks([])
        n = sum(len(energies[o]) for o in others)
        axes.set_xlabel(f"held-out geometries labelled in both orderings, n = {n}, sorted by {engine}")
        axes.set_ylabel(f"E(ordering) − E({reference}) (meV/atom)")
        axes.margins(y=0.12)
        figure.legend(loc="outside upper center", ncols=2)
        return encode(figure, f"Energies above {reference} in {n} held-out pairs, {engine} and model", "order")


def verdict_figure(material: Material) -> Picture | None:
    """Accepted, rejected and failed calculations per deformation."""
    if not material.calculated:
        return None
    counts = Counter((point.deformation, str(point.verdict)) for point in material.points)
    counts += Counter((failure.deformation, "failed") for failure in material.failures)
    names = material.deformations[::-1]
    with styled():
        figure, axes = new_figure(5.4, 0.9 + 0.32 * len(names))
        axes.grid(visible=False)
        left = np.zeros(len(names))
        for fate, (colour, text) in VERDICT_COLOURS.items():
            widths = np.array([counts[name, fate] for name in names])
            bars = axes.barh(names, widths, left=left, color=colour, height=0.65, label=f"{fate} ({int(widths.sum())})")
            texts = [str(w) if w else "" for w in widths]
            axes.bar_label(bars, texts, label_type="center", color=text, fontsize=8)
            left = left + widths
        axes.set_xlabel(f"calculations, n = {len(material.calculated)}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper center", ncols=3)
        return encode(figure, "Accepted, rejected and failed calculations per deformation", "verdicts")


def spin_figures(material: Material) -> list[Picture]:
    """The arrangement of moments in one cell per ordering: converged moments of a label, or else the input ones."""
    pictures = []
    for ordering in material.orderings:
        candidates = [item for item in material.calculated if item.ordering == ordering and item.magmoms_in.ndim == 1]
        if not candidates:
            continue  # arrows are drawn up and down only
        best = min(candidates, key=lambda i: (getattr(i, "verdict", "") != "accepted", i.deformation != "none"))
        pictures.append(_spin_figure(best))
    return pictures


def _spin_figure(item: SpinPoint | SpinFailure) -> Picture:
    """Arrows on magnetic sites only: the small moments of anions would be drawn much too long."""
    accepted = isinstance(item, SpinPoint) and item.verdict == "accepted"
    moments = item.magmoms_out if isinstance(item, SpinPoint) and accepted else item.magmoms_in
    sites = magnetic_sites(item)
    drawn = np.zeros(len(moments))
    drawn[sites] = moments[sites]
    structure = item.to_structure()
    structure.add_site_property("magmom", drawn.tolist())
    source = "calculated" if accepted else "input"
    title = f"{item.formula}, cell {item.cell}; {source} moments{_range(np.abs(moments[sites]))}"
    with styled():
        return encode(draw_structure(structure, title=item.ordering, size=2.7), f"{item.ordering}, {title}", title)


def _range(lengths: FloatArray) -> str:
    """`` of 1.78 to 1.80 μB``; nothing where there is no magnetic site."""
    ends = list(dict.fromkeys(f"{length:.2f}" for length in (lengths.min(), lengths.max()))) if len(lengths) else []
    return f" of {' to '.join(ends)} μB" if ends else ""
