"""Pictures of one evaluation: parity of every task, and how far a committee's spread tells its error."""

from __future__ import annotations

import os
from collections import Counter
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from datastore.schema import FloatArray
from workflows.names import short_name
from workflows.report.images import GREY, INK, PALE, PALETTE, ordering_style, styled
from workflows.report.parity import PARITY_UNITS, ends, parity_data

WHAT = {
    "energy": "energy",
    "pairs": "energy difference",
    "forces": "force component",
    "stress": "stress component",
    "moments": "moment",
    "magnetic_forces": "magnetic force",
}
MOST_ORDERINGS = 6
"""Orderings with a colour of their own; the rarer ones share grey."""
WIDE = 100.0
"""Largest over smallest value from which on powers of ten are ticks enough."""

OTHERS = "other orderings"


def write_figures(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``parity.png``, and ``reliability.png`` for a committee, into a folder; returns the paths.

    ``result``: of :func:`spinmultinet.evaluate.evaluate`.
    """
    figures = {"parity.png": parity_figure(result), "reliability.png": reliability_figure(result)}
    folder.mkdir(parents=True, exist_ok=True)
    return [_save(figure, folder / name) for name, figure in figures.items() if figure is not None]


def _save(figure: Figure, path: Path) -> Path:
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with styled():
            FigureCanvasAgg(figure)
            figure.savefig(temporary, dpi=200, facecolor="white")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def parity_figure(result: dict[str, Any]) -> Figure | None:
    """Predicted against calculated, a panel for each task and one for energy differences of pairs."""
    panels = {task: data for task in PARITY_UNITS if (data := parity_data(result, task))}
    pairs = _pair_data(result)
    if pairs:
        panels["pairs"] = pairs
    if not panels:
        return None
    looks = _looks(result)
    with styled():
        figure, places = _grid(len(panels))
        for axes, task in zip(places, [t for t in WHAT if t in panels], strict=True):
            _draw_parity(axes, task, panels[task], looks, _score(result, task))
        shown: dict[str, Any] = {}
        for axes in places:
            shown |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        figure.legend(shown.values(), shown.keys(), loc="outside upper center", ncols=4, handletextpad=0.2)
    return figure


def _grid(count: int) -> tuple[Figure, list[Any]]:
    """Panels of equal size, at most three in a row."""
    columns = min(count, 3)
    rows = ceil(count / columns)
    figure = Figure(figsize=(3.4 * columns, 3.8 * rows + 0.3), layout="constrained")
    places = [figure.add_subplot(rows, columns, k + 1) for k in range(count)]
    for axes in places:
        axes.grid(color="#e5e7eb", linewidth=0.7)
    return figure, places


def _pair_data(result: dict[str, Any]) -> dict[str, FloatArray]:
    parts: dict[str, list[list[float]]] = {}
    for row in (result["pairs"] or {"rows": []})["rows"]:
        parts.setdefault(row["orderings"][0], []).append([row["label"], row["predicted"]])
    return {ordering: np.array(rows).T for ordering, rows in parts.items()}


def _looks(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each ordering."""
    counts = Counter(item.get("ordering", "unknown") for item in result["structures"])
    common = sorted(name for name, _ in counts.most_common(MOST_ORDERINGS))
    return ordering_style(common) | {OTHERS: {"color": GREY, "marker": "."}}


def _score(result: dict[str, Any], task: str) -> str:
    found = result["pairs"] if task == "pairs" else result["overall"][task]
    unit = found["unit"] if task == "pairs" else result["units"][task]
    return f"MAE {found['mae']:.3g}, RMSE {found['rmse']:.3g}\n{_plain(unit)}, n = {found['n']}"


def _plain(unit: str) -> str:
    return unit.replace("Angstrom^3", "Å³").replace("Angstrom", "Å").replace("muB", "μB")


def _draw_parity(axes: Any, task: str, data: dict[str, FloatArray], looks: dict[str, Any], title: str) -> None:
    limits = ends(np.concatenate([values.ravel() for values in data.values()]))
    axes.plot(limits, limits, color=GREY, linewidth=0.8, zorder=1)
    size = 4.5 if sum(values.shape[1] for values in data.values()) < 2000 else 2.5
    for ordering in sorted(data, key=lambda name: name in looks):  # the rare ones behind
        name = ordering if ordering in looks else OTHERS
        axes.plot(*data[ordering], linestyle="", markersize=size, alpha=0.7, label=short_name(name), **looks[name])
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    unit = PARITY_UNITS.get(task, "meV/atom")
    axes.set_xlabel(f"{WHAT[task]}, calculated ({unit})")
    axes.set_ylabel("predicted")
    axes.set_title(title)


def reliability_figure(result: dict[str, Any]) -> Figure | None:
    """RMS error against spread in bins of equal size, as predicted and calibrated; None without a committee."""
    found = result["uncertainty"]
    if not found:
        return None
    with styled():
        figure, places = _grid(len(found))
        for colour, axes, (task, one) in zip(PALETTE, places, found.items(), strict=False):
            _draw_reliability(axes, task, one, colour)
        handles, names = places[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=3)
    return figure


def _draw_reliability(axes: Any, task: str, found: dict[str, Any], colour: str) -> None:
    spread, rmse, low, high = (np.array([b[k] for b in found["bins"]]) for k in ("spread", "rmse", "low", "high"))
    factor = found["rms_sigma"] / found["rms_spread"] if "rms_sigma" in found else None
    looks = [(1.0, "spread of members", {"color": GREY, "markerfacecolor": "white"})]
    if factor is not None:
        looks.append((factor, "calibrated", {"color": colour}))
    error = np.maximum([rmse - low, high - rmse], 0)
    drawn = spread > 0
    for scale, name, look in looks:
        axes.errorbar(
            *((scale * spread)[drawn], rmse[drawn]), yerr=error[:, drawn], fmt="o", ms=5, lw=1, label=name, **look
        )
    axes.set(xscale="log", yscale="log")
    around = np.concatenate([low[drawn], high[drawn], *(scale * spread[drawn] for scale, _, _ in looks)])
    limits = (0.7 * around[around > 0].min(), 1.4 * around.max())
    axes.plot(limits, limits, color=PALE, linewidth=1, zorder=1, label="error = spread")
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    _few_ticks(axes, limits[1] / limits[0] > WIDE)
    unit = _plain(found["unit"])
    axes.set_xlabel(f"spread of {task} ({unit})")
    axes.set_ylabel(f"RMS error ({unit})")
    axes.set_title(_coverage(found), color=INK)


def _few_ticks(axes: Any, wide: bool) -> None:
    """Plain numbers that do not run into each other, as matplotlib's own on logarithmic axes do."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 3.0), numticks=4 if wide else 8))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _coverage(found: dict[str, Any]) -> str:
    within, rank = found["within"], found["rank_correlation"]
    steps = [within["spread"][0], *([within["sigma"][0]] if "sigma" in within else [])]
    told = " → ".join(f"{100 * share:.0f} %" for share in steps)
    order = "" if rank is None else f"\nrank correlation {rank:.2f}, n = {found['n']}"
    return f"within one: {told} (ideal {100 * within['expected'][0]:.0f} %){order}"
