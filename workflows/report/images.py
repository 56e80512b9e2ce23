"""Style of all pictures, and figures as data URIs: nothing in the report is loaded from anywhere else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, GREY, PALE = "#1f2937", "#6b7280", "#c3c9d1"
STYLE = {
    "font.size": 9.0,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "path",  # the same glyphs on every machine
    "svg.hashsalt": "spinmultinet",  # the same bytes in every run
}

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
_FIXED = {"AFM-II": 0, "FM": 1, "AFM-I": 2, "AFM-III": 3}
"""Okabe-Ito colours, told apart with every kind of colour vision; each ordering also has its own marker."""

PREDICTOR_COLOURS = {"model": "#0b3c5d", "no_spin": "#7fa6c9", "constant": "#cfd4da"}
"""Dark to light, so that they differ on paper without colour."""


@dataclass(frozen=True)
class Picture:
    """An image for the page: data URI, size in CSS pixels, words for those who cannot see it."""

    uri: str
    width: int
    height: int
    alt: str
    title: str = ""


def ordering_style(orderings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker per ordering, the same in every picture; built-in orderings have fixed ones."""
    free = [k for k in range(len(PALETTE)) if k not in {_FIXED[o] for o in orderings if o in _FIXED}] or [0]
    others = [ordering for ordering in orderings if ordering not in _FIXED]
    index = {o: _FIXED[o] for o in orderings if o in _FIXED} | {o: free[k % len(free)] for k, o in enumerate(others)}
    return {o: {"color": PALETTE[index[o]], "marker": MARKERS[index[o]]} for o in orderings}


def new_figure(width: float = 3.6, height: float = 3.0) -> tuple[Figure, Any]:
    """Figure (inches) and its one pair of axes, with light horizontal grid lines; call inside :func:`styled`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.7)
    return figure, axes


def styled() -> Any:
    """Context in which figures are made and drawn; leaves matplotlib's settings as they were."""
    return rc_context(STYLE)


def encode(figure: Figure, alt: str, title: str = "") -> Picture:
    """The figure as SVG or as PNG (220 dots per inch), whichever takes less room."""
    FigureCanvasAgg(figure)
    candidates = []
    for kind, mime in (("svg", "image/svg+xml"), ("png", "image/png")):
        buffer = io.BytesIO()
        options = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": 220}
        figure.savefig(buffer, format=kind, facecolor="white", **options)
        candidates.append((mime, buffer.getvalue()))
    mime, data = min(candidates, key=lambda candidate: len(candidate[1]))
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(f"data:{mime};base64,{base64.b64encode(data).decode()}", width, height, alt, title)
