"""Parity plots as options of ECharts: one panel per task, one series per ordering, a click opens the label."""

from __future__ import annotations

from typing import Any

import numpy as np

from workflows.names import short_name
from workflows.report.images import GREY, ordering_style
from workflows.report.parity import PARITY_UNITS, ends, parity_data

TITLES = {"energy": "Energy", "pairs": "Energy differences of pairs", "forces": "Forces", "moments": "Moments"}
SYMBOLS = {"o": "circle", "s": "rect", "^": "triangle", "D": "diamond", "v": "pin", "P": "roundRect"}
MOST_DOTS = 4000
"""Per ordering and task; of more, evenly spread ones are drawn."""

Options = dict[str, Any]


def parity_charts(result: dict[str, Any]) -> dict[str, Options]:
    """Task -> options of its chart, for the tasks that a result of an evaluation has."""
    orderings = sorted({str(item.get("ordering", "unknown")) for item in result.get("structures", [])})
    looks = ordering_style(orderings)
    charts = {}
    for task in TITLES:
        data = _pairs(result) if task == "pairs" else parity_data(result, task)
        if data:
            charts[task] = _chart(task, data, looks, _score(result, task))
    return charts


def _pairs(result: dict[str, Any]) -> dict[str, Any]:
    parts: dict[str, list[list[float]]] = {}
    for row in (result.get("pairs") or {"rows": []})["rows"]:
        parts.setdefault(str(row["orderings"][0]), []).append([row["label"], row["predicted"]])
    return {ordering: np.array(rows).T for ordering, rows in sorted(parts.items())}


def _score(result: dict[str, Any], task: str) -> str:
    found = (result.get("pairs") if task == "pairs" else result.get("overall", {}).get(task)) or {}
    unit = found.get("unit") if task == "pairs" else result.get("units", {}).get(task, "")
    if "mae" not in found:
        return ""
    plain = str(unit).replace("Angstrom", "Å").replace("muB", "μB")
    return f"MAE {found['mae']:.3g}, RMSE {found['rmse']:.3g} {plain}, n = {found['n']}"


def _chart(task: str, data: dict[str, Any], looks: dict[str, Any], score: str) -> Options:
    low, high = ends(np.concatenate([values.ravel() for values in data.values()]))
    unit = PARITY_UNITS.get(task, "meV/atom")
    axis = {"type": "value", "min": low, "max": high, "axisLabel": {"showMinLabel": False, "showMaxLabel": False}}
    axis |= {
        "axisLine": {"onZero": False},
        "nameLocation": "middle",
        "splitNumber": 4,
        "splitLine": {"lineStyle": {"color": "#eef0f3"}},
    }
    line = {"type": "line", "data": [[low, low], [high, high]], "symbol": "none", "silent": True, "name": "ideal"}
    return {
        "animation": False,
        "title": {"text": TITLES[task], "subtext": score, "textStyle": {"fontSize": 14}, "left": 8},
        "legend": {"bottom": 0, "itemWidth": 12, "itemHeight": 10, "data": [short_name(name) for name in data]},
        "grid": {"left": 68, "right": 18, "top": 62, "bottom": 74},
        "tooltip": {"renderMode": "richText"},
        "xAxis": {**axis, "name": f"calculated ({unit})", "nameGap": 26},
        "yAxis": {**axis, "name": f"predicted ({unit})", "nameGap": 50},
        "series": [
            {**line, "lineStyle": {"color": GREY, "width": 1}},
            *(_series(name, values, looks.get(name, {})) for name, values in data.items()),
        ],
    }


def _series(name: str, values: Any, look: dict[str, Any]) -> Options:
    step = max(1, -(-values.shape[1] // MOST_DOTS))
    return {
        "type": "scatter",
        "name": short_name(name),
        "data": [[float(f"{x:.6g}"), float(f"{y:.6g}")] for x, y in values[:, ::step].T],
        "symbol": SYMBOLS.get(str(look.get("marker")), "circle"),
        "symbolSize": 7,
        "itemStyle": {"color": look.get("color", GREY), "opacity": 0.75},
    }
