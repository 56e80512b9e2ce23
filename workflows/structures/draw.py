"""Pictures of spin arrangements: shaded atoms, bonds, cell edges, and an arrow per moment.

Collinear moments are red up and blue down. Vectors point where they point in space, and fade from red to blue by
their angle to the first one, so that a spiral shows in any plane.

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

from datastore.quality import ANIONS

FloatArray = NDArray[np.float64]

COLOURS = {"Ni": "#4c9a6a", "Mn": "#8e6bbf", "Co": "#3f6fb5", "Fe": "#c07a3e", "O": "#e8a598"}
OTHER_COLOUR = "#8a8f98"
UP, LEVEL, DOWN = "#c81e1e", "#a8a29e", "#1d4ed8"
"""Arrow colours of positive and negative moments; of vectors along, normal to and against the first one."""

FORESHORTENED = 0.35
"""Arrows that appear shorter than this (relative to the largest) point at the viewer or away: a dot or a cross."""

ANION_RADIUS, CATION_RADIUS = 0.34, 0.5
BOND_LIMIT = 1.25
"""Bonds are drawn up to this factor of the shortest metal-oxygen distance."""

VIEW = (14.0, -68.0)
"""Elevation and azimuth of the viewer in degrees; Cartesian z points up."""


def draw_structure(structure: Structure, title: str = "", size: float = 4.2) -> Any:
    """Matplotlib Figure of one cell with its boundary atoms repeated; arrows show the ``magmom`` site property (muB).

    Moments are signed numbers, drawn along z, or Cartesian vectors. Arrow length grows with `|moment|` relative to the
    largest one. ``size`` is the width in inches. The figure belongs to no global state: save it with
    ``figure.savefig(path)``.
    """
    from matplotlib.figure import Figure

    symbols, positions, moments = shown_atoms(structure)
    collinear = not moments[:, :2].any()
    points, depth = project(positions)
    corners, _ = project(_corners(structure))
    span = np.vstack([points, corners])
    low, high = span.min(axis=0) - 1.3, span.max(axis=0) + (1.3 if collinear else np.array([2.6, 1.3]))
    figure = Figure(figsize=(size, size * (high[1] - low[1]) / (high[0] - low[0]) + 0.75), dpi=150)
    axes = figure.add_axes((0.0, 0.45 / figure.get_figheight(), 1.0, 1 - 0.8 / figure.get_figheight()))
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.axis("off")
    order = _depth_rank(depth)
    _draw_cell(axes, structure, depth)
    _draw_bonds(axes, symbols, positions, points, depth, order)
    _draw_atoms(axes, symbols, points, order, depth)
    _draw_arrows(axes, points, moments, order, collinear)
    if title:
        figure.suptitle(title, y=0.985, fontsize=10.5, color="#1f2937")
    _legend(figure, symbols, moments[:, 2] if collinear else np.zeros(1))
    if not collinear:
        _colour_bar(figure)
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


def shown_atoms(structure: Structure) -> tuple[list[str], FloatArray, FloatArray]:
    """Atoms of the cell and their images on its far faces: symbols, (N, 3) Angstrom, (N, 3) muB (0 where unset)."""
    moments = structure.site_properties.get("magmom", [0.0] * len(structure))
    symbols, fractional, shown = [], [], []
    for site, moment in zip(structure, moments, strict=True):
        frac = site.frac_coords - np.floor(site.frac_coords + 0.12)
        steps = [(0, 1) if x < 0.12 else (0,) for x in frac]
        for shift in itertools.product(*steps):
            symbols.append(site.specie.symbol)
            fractional.append(frac + shift)
            shown.append(_vector(moment))
    return symbols, np.array(fractional) @ structure.lattice.matrix, np.array(shown)


def _vector(moment: Any) -> list[float]:
    """(3,) muB; a signed number is along z."""
    values = np.atleast_1d(0.0 if moment is None else moment).astype(float).tolist()
    return values if len(values) == 3 else [0.0, 0.0, values[0]]


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
    metals = [i for i, symbol in enumerate(symbols) if symbol not in ANIONS]
    oxygens = [i for i, symbol in enumerate(symbols) if symbol in ANIONS]
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
        radius = ANION_RADIUS if symbol in ANIONS else CATION_RADIUS
        axes.add_patch(Circle(point, radius, facecolor=base * 0.78, edgecolor=base * 0.5, linewidth=0.6, zorder=zorder))
        for step in range(1, 7):
            light = base * 0.78 + (1 - base * 0.78) * 0.11 * step
            centre = point + radius * 0.06 * step * np.array([-1.0, 1.0])
            axes.add_patch(Circle(centre, radius * (0.92 - 0.13 * step), color=light, linewidth=0, zorder=zorder))


def _draw_arrows(axes: Any, points: FloatArray, moments: FloatArray, order: FloatArray, collinear: bool) -> None:
    """An arrow through every site with a moment, white-rimmed so that it shows on any colour.

    ``moments`` (N, 3). Collinear ones are drawn straight up and down, vectors in projection.
    """
    lengths = np.linalg.norm(moments, axis=1)
    largest = float(lengths.max()) if len(moments) else 0.0
    colours = arrow_colours(moments)
    for point, moment, length, zorder, colour in zip(points, moments, lengths, order, colours, strict=True):
        if not colour:
            continue
        half = 0.95 * (0.45 + 0.55 * length / largest)
        if collinear:
            _arrow(axes, point, np.array([0.0, math.copysign(half, moment[2])]), colour, zorder)
            continue
        flat, depth = project(moment / length)
        if np.linalg.norm(flat) < FORESHORTENED:
            _arrow_head_on(axes, point, float(depth) > 0, colour, zorder)
        else:
            _arrow(axes, point, half * flat, colour, zorder)


def _arrow(axes: Any, point: FloatArray, half: FloatArray, colour: Any, zorder: float) -> None:
    from matplotlib.patches import FancyArrow

    # A short arrow needs a short head, or it would be all head.
    head = min(0.5, 0.9 * float(np.linalg.norm(half)))
    arrow = FancyArrow(
        *(point - half),
        *(2 * half),
        width=0.16,
        head_width=0.5,
        head_length=head,
        length_includes_head=True,
        facecolor=colour,
        edgecolor="white",
        linewidth=0.7,
        zorder=zorder + 0.4,
    )
    axes.add_patch(arrow)


def _arrow_head_on(axes: Any, point: Any, towards: bool, colour: Any, zorder: float) -> None:
    """Seen along its axis: a disc with a dot (its tip) or a cross (its feathers)."""
    from matplotlib.patches import Circle

    axes.add_patch(Circle(point, 0.3, facecolor="white", edgecolor=colour, linewidth=1.6, zorder=zorder + 0.4))
    if towards:
        axes.add_patch(Circle(point, 0.1, color=colour, linewidth=0, zorder=zorder + 0.5))
        return
    for slope in (1, -1):
        x, y = point[0] + 0.2 * np.array([-1, 1]), point[1] + 0.2 * slope * np.array([-1, 1])
        axes.plot(x, y, color=colour, linewidth=1.4, zorder=zorder + 0.5)


def arrow_colours(moments: FloatArray) -> list[str]:
    """A colour per moment, (N, 3) muB; empty where it is too small to be drawn.

    UP and DOWN for moments along z; other sets fade from UP to DOWN by the angle to their first moment.
    """
    from matplotlib.colors import to_hex

    lengths = np.linalg.norm(moments, axis=1)
    drawn = lengths > 0.02 * lengths.max(initial=0.0)
    if not moments[:, :2].any():
        return [(UP if z > 0 else DOWN) if seen else "" for z, seen in zip(moments[:, 2], drawn, strict=True)]
    first = moments[int(np.argmax(drawn))]
    cosines = (moments @ first) / np.maximum(lengths * np.linalg.norm(first), 1e-12)
    return [to_hex(_along()((1 + cosine) / 2)) if seen else "" for cosine, seen in zip(cosines, drawn, strict=True)]


def _along() -> Any:
    """Colours of the cosine to the first moment, from -1 to 1 mapped to 0 to 1."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("along", [DOWN, LEVEL, UP])


def _colour_bar(figure: Any) -> None:
    """What the colours of vectors mean, at the right edge."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), _along()), cax=figure.add_axes((0.95, 0.35, 0.018, 0.3)), ticks=[-1, 0, 1]
    )
    bar.ax.set_yticklabels(["$180\\degree$", "$90\\degree$", "$0\\degree$"], fontsize=8)
    bar.ax.yaxis.set_ticks_position("left")
    bar.outline.set_linewidth(0.4)


def _legend(figure: Any, symbols: Sequence[str], moments: FloatArray) -> None:
    """Elements present and, where there are moments, the two arrow colours."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=8 if s in ANIONS else 10, label=s, markeredgewidth=0.5,
               markeredgecolor="#374151", markerfacecolor=COLOURS.get(s, OTHER_COLOUR))
        for s in dict.fromkeys(symbols)
    ]  # fmt: skip
    for colour, marker, label, present in (
        (UP, "$\\uparrow$", "up", np.any(moments > 0)),
        (DOWN, "$\\downarrow$", "down", np.any(moments < 0)),
    ):
        if present:
            handles.append(Line2D([], [], marker=marker, linestyle="", markersize=10, color=colour, label=label))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=9, handletextpad=0.2)
