"""Pictures of collinear spin arrangements: shaded atoms, bonds, cell edges, arrows up and down.

An own orthographic projection onto flat axes: matplotlib's 3D axes sort whole artists by one depth and draw arrows
through atoms. Matplotlib is imported inside the functions; it is slow and most callers never draw.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from workflows.structures.rocksalt import ANION

FloatArray = NDArray[np.float64]

COLOURS = {"Ni": "#4c9a6a", "Mn": "#8e6bbf", "Co": "#3f6fb5", "Fe": "#c07a3e", "O": "#e8a598"}
OTHER_COLOUR = "#8a8f98"
UP, DOWN = "#c81e1e", "#1d4ed8"
"""Arrow colours of positive and negative moments."""

RADIUS = {ANION: 0.34}
CATION_RADIUS = 0.5
BOND_LIMIT = 1.25
"""Bonds are drawn up to this factor of the shortest metal-oxygen distance."""

VIEW = (14.0, -68.0)
"""Elevation and azimuth of the viewer in degrees; Cartesian z points up."""


def draw_structure(structure: Structure, title: str = "", size: float = 4.2) -> Any:
    """Matplotlib Figure of one cell with its boundary atoms repeated; arrows show the ``magmom`` site property (muB).

    Arrow length grows with |moment| relative to the largest one. ``size`` is the width in inches. The figure belongs
    to no global state: save it with ``figure.savefig(path)``.
    """
    from matplotlib.figure import Figure

    symbols, positions, moments = _shown_atoms(structure)
    points, depth = project(positions)
    corners, _ = project(_corners(structure))
    span = np.vstack([points, corners])
    low, high = span.min(axis=0) - 1.3, span.max(axis=0) + 1.3
    figure = Figure(figsize=(size, size * (high[1] - low[1]) / (high[0] - low[0]) + 0.75), dpi=150)
    axes = figure.add_axes((0.0, 0.45 / figure.get_figheight(), 1.0, 1 - 0.8 / figure.get_figheight()))
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.axis("off")
    order = _depth_rank(depth)
    _draw_cell(axes, structure, depth)
    _draw_bonds(axes, symbols, positions, points, depth, order)
    _draw_atoms(axes, symbols, points, order, depth)
    _draw_arrows(axes, points, moments, order)
    if title:
        figure.suptitle(title, y=0.985, fontsize=10.5, color="#1f2937")
    _legend(figure, symbols, moments)
    return figure


def project(positions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(N, 3) Cartesian -> (N, 2) on the page and (N,) depth towards the viewer, Angstrom."""
    elevation, azimuth = (math.radians(angle) for angle in VIEW)
    towards = np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
    up = np.cross(towards, right)
    return positions @ np.stack([right, up], axis=1), positions @ towards


def _shown_atoms(structure: Structure) -> tuple[list[str], FloatArray, FloatArray]:
    """Atoms of the cell and their images on its far faces: symbols, (N, 3) Angstrom, (N,) muB (0 where unset)."""
    moments = structure.site_properties.get("magmom", [0.0] * len(structure))
    symbols, fractional, shown = [], [], []
    for site, moment in zip(structure, moments, strict=True):
        frac = site.frac_coords - np.floor(site.frac_coords + 0.12)
        steps = [(0, 1) if x < 0.12 else (0,) for x in frac]
        for shift in itertools.product(*steps):
            symbols.append(site.specie.symbol)
            fractional.append(frac + shift)
            shown.append(float(moment or 0.0))
    return symbols, np.array(fractional) @ structure.lattice.matrix, np.array(shown)


def _corners(structure: Structure) -> FloatArray:
    return np.array(list(itertools.product((0, 1), repeat=3))) @ structure.lattice.matrix


def _depth_rank(depth: FloatArray) -> FloatArray:
    """Drawing order per atom: 10 and up, nearer atoms later."""
    rank = np.empty(len(depth))
    rank[np.argsort(depth, kind="stable")] = np.arange(len(depth))
    return 10 + rank


def _draw_cell(axes: Any, structure: Structure, depth: FloatArray) -> None:
    """Twelve edges; those that meet the farthest corner are dashed, as they lie behind everything."""
    points, corner_depth = project(_corners(structure))
    fractions = list(itertools.product((0, 1), repeat=3))
    hidden = int(np.argmin(corner_depth))
    for i, j in itertools.combinations(range(8), 2):
        if sum(a != b for a, b in zip(fractions[i], fractions[j], strict=True)) != 1:
            continue
        behind = hidden in (i, j)
        axes.plot(
            *points[[i, j]].T,
            color="#9ca3af" if behind else "#4b5563",
            linewidth=0.9,
            linestyle=(0, (4, 3)) if behind else "-",
            zorder=1 if behind else 9.5,
        )


def _draw_bonds(
    axes: Any, symbols: Sequence[str], positions: FloatArray, points: FloatArray, depth: FloatArray, order: FloatArray
) -> None:
    """Metal-oxygen sticks, below the nearer of their two atoms."""
    metals = [i for i, symbol in enumerate(symbols) if symbol != ANION]
    oxygens = [i for i, symbol in enumerate(symbols) if symbol == ANION]
    if not metals or not oxygens:
        return
    distance = np.linalg.norm(positions[metals][:, None] - positions[oxygens][None], axis=-1)
    for m, o in np.argwhere(distance < BOND_LIMIT * distance.min()):
        pair = [metals[m], oxygens[o]]
        for width, colour in ((3.4, "#9aa1ab"), (1.6, "#d5d9de")):
            axes.plot(*points[pair].T, color=colour, linewidth=width, zorder=order[pair].min() + 0.2)


def _draw_atoms(axes: Any, symbols: Sequence[str], points: FloatArray, order: FloatArray, depth: FloatArray) -> None:
    """Balls with a soft highlight; far ones are paler."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Circle

    span = float(np.ptp(depth)) or 1.0
    for symbol, point, zorder, far in zip(symbols, points, order, (depth.max() - depth) / span, strict=True):
        base = np.array(to_rgb(COLOURS.get(symbol, OTHER_COLOUR)))
        base = base + (1 - base) * 0.4 * far
        radius = RADIUS.get(symbol, CATION_RADIUS)
        axes.add_patch(Circle(point, radius, facecolor=base * 0.78, edgecolor=base * 0.5, linewidth=0.6, zorder=zorder))
        for step in range(1, 7):
            light = base * 0.78 + (1 - base * 0.78) * 0.11 * step
            centre = point + radius * 0.06 * step * np.array([-1.0, 1.0])
            axes.add_patch(Circle(centre, radius * (0.92 - 0.13 * step), color=light, linewidth=0, zorder=zorder))


def _draw_arrows(axes: Any, points: FloatArray, moments: FloatArray, order: FloatArray) -> None:
    """A vertical arrow through every site with a moment, white-rimmed so that it shows on any colour."""
    from matplotlib.patches import FancyArrow

    largest = float(np.abs(moments).max()) if len(moments) else 0.0
    for point, moment, zorder in zip(points, moments, order, strict=True):
        if largest == 0 or abs(moment) < 0.02 * largest:
            continue
        half = 0.95 * (0.45 + 0.55 * abs(moment) / largest) * (1 if moment > 0 else -1)
        axes.add_patch(
            FancyArrow(
                point[0],
                point[1] - half,
                0,
                2 * half,
                width=0.16,
                head_width=0.5,
                head_length=0.5,
                length_includes_head=True,
                facecolor=UP if moment > 0 else DOWN,
                edgecolor="white",
                linewidth=0.7,
                zorder=zorder + 0.4,
            )
        )


def _legend(figure: Any, symbols: Sequence[str], moments: FloatArray) -> None:
    """Elements present and, where there are moments, the two arrow colours."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=8 if s == ANION else 10, label=s, markeredgecolor="#374151",
               markeredgewidth=0.5, markerfacecolor=COLOURS.get(s, OTHER_COLOUR))
        for s in dict.fromkeys(symbols)
    ]  # fmt: skip
    for colour, marker, label, present in (
        (UP, "$\\uparrow$", "up", np.any(moments > 0)),
        (DOWN, "$\\downarrow$", "down", np.any(moments < 0)),
    ):
        if present:
            handles.append(Line2D([], [], marker=marker, linestyle="", markersize=10, color=colour, label=label))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=9, handletextpad=0.2)
