"""How far a committee's spread tells its error on the held-out labels."""

from __future__ import annotations

from typing import Any

from workflows.report.collect import Document, Material
from workflows.report.evaluation_figures import reliability_figure
from workflows.report.images import Picture, encode, styled


def calibration_figure(material: Material) -> Picture | None:
    """Reliability diagram of the last committee, a panel per task; None for a single model."""
    result = material.results.get("model", {})
    if not result.get("uncertainty"):
        return None
    figure = reliability_figure(result)
    if figure is None:
        return None
    words = [f"{row['task']} within one spread {row['within']} %" for row in calibration_rows(material)]
    with styled():
        return encode(figure, f"RMS error against spread of the committee, in bins: {', '.join(words)}", "calibration")


def calibration_rows(material: Material) -> list[dict[str, Any]]:
    """Per task: ``n``, RMS error and spread with ``unit``, their ``ratio``, rank correlation, per cent ``within``."""
    found: Document = material.results.get("model", {}).get("uncertainty") or {}
    rows = []
    for task, one in found.items():
        rank = one["rank_correlation"]
        rows.append(
            {
                "task": task.replace("_", " "),
                "unit": one["unit"].replace("Angstrom", "Å").replace("muB", "μB"),
                "n": one["n"],
                "error": f"{one['rms_error']:.3g}",
                "spread": f"{one['rms_spread']:.3g}",
                "ratio": "–" if one["ratio"] is None else f"{one['ratio']:.2f}",
                "rank": "–" if rank is None else f"{rank:.2f}",
                "within": f"{100 * one['within']['spread'][0]:.0f}",
                "ideal": f"{100 * one['within']['expected'][0]:.0f}",
            }
        )
    return rows
