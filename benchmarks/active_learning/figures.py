"""Learning curves as PNG with few colours."""

from __future__ import annotations

from pathlib import Path

from benchmarks.active_learning.curves import QUANTITIES, Curves
from benchmarks.active_learning.statistics import mean_and_interval
from workflows.cli.output import whole_file

COLOURS = ("#1d4ed8", "#6b7280", "#c2410c", "#15803d", "#7e22ce")
SHOWN = ("seen/differences", "unseen/energy", "unseen/forces", "seen/energy", "seen/forces", "seen/moments")
COLOURS_KEPT = 64


def learning_curves(curves: Curves, names: list[str], path: Path) -> None:
    """Error against labels, both logarithmic, per quantity and strategy; bands are 95 % intervals of the mean."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(10.5, 6.2), layout="constrained")
    for axes, quantity in zip(figure.subplots(2, 3).flat, SHOWN, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            mean, low, high = mean_and_interval(curves.errors[name][quantity])
            axes.plot(curves.counts, mean, "o-", color=colour, label=name, markersize=4)
            axes.fill_between(curves.counts, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(xscale="log", yscale="log", xticks=curves.counts, xticklabels=[str(n) for n in curves.counts])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 6, 8)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_title(QUANTITIES[quantity], fontsize=9)
        axes.tick_params(labelsize=8)
    for axes in figure.axes[3:]:
        axes.set_xlabel("labels", fontsize=9)
    figure.axes[0].legend(fontsize=8)
    with whole_file(path) as temporary:
        _save(figure, temporary)


def _save(figure: object, path: Path) -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90, format="png")  # type: ignore[attr-defined]
    Image.open(buffer).convert("RGB").quantize(COLOURS_KEPT).save(path, format="png", optimize=True)
