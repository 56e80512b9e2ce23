"""Two levels of theory in one picture: differences between orderings, and forces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from datastore.compare import REFERENCE, Comparison, Parity
from datastore.schema import FloatArray
from workflows.report.images import GREY, PREDICTOR_COLOURS, ordering_style, styled

MILLI = 1000.0
MOST = 20_000
"""Force components drawn; more cannot be told apart."""


def draw_comparison(comparison: Comparison, parity: Parity, path: Path, kind: str) -> None:
    """Write a picture of ``kind`` (png, pdf or svg): E(FM) - E(other) and forces, level B against level A."""
    with styled():
        figure = Figure(figsize=(7.6, 3.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        pairs = {ordering: MILLI * values for ordering, values in parity.pairs.items()}
        _frame(left, list(pairs.values()), comparison, f"E({REFERENCE}) − E(ordering) (meV/atom)")
        for ordering, style in ordering_style(sorted(pairs)).items():
            left.scatter(*pairs[ordering].T, s=22, label=f"{ordering} ({len(pairs[ordering])})", linewidths=0, **style)
        if pairs:
            left.legend(loc="upper left")
        else:
            left.text(0.5, 0.5, f"no pairs with {REFERENCE}", ha="center", transform=left.transAxes, color=GREY)
        forces = parity.forces[:: 1 + len(parity.forces) // MOST]
        _frame(right, [forces], comparison, "force component (eV/Å)")
        right.scatter(*forces.T, s=5, color=PREDICTOR_COLOURS["model"], alpha=0.5, linewidths=0, rasterized=True)
        FigureCanvasAgg(figure)
        figure.savefig(path, format=kind, dpi=200, facecolor="white")


def _frame(axes: Any, values: list[FloatArray], comparison: Comparison, what: str) -> None:
    """Equal axes with the line of agreement."""
    everything = np.concatenate([np.zeros((1, 2)), *values]).ravel()
    margin = 0.07 * float(np.ptp(everything)) or 1.0
    limits = (float(everything.min()) - margin, float(everything.max()) + margin)
    axes.grid(color="#e5e7eb", linewidth=0.7)
    axes.plot(limits, limits, color=GREY, linewidth=0.8, zorder=1)
    axes.set(xlim=limits, ylim=limits, aspect="equal", title=what)
    axes.set_xlabel(comparison.name_a)
    axes.set_ylabel(comparison.name_b)
