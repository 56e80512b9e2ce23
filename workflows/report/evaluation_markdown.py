"""One evaluation as a page of Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from workflows.names import short_name

GROUPS = {"per_ordering": "ordering", "per_deformation": "deformation", "per_element": "element"}


def evaluation_markdown(result: dict[str, Any], about: dict[str, str], pictures: Sequence[str] = ()) -> str:
    """The page: what was evaluated (``about``), errors in all and by group, pairs, spin states, uncertainty, pictures.

    ``result``: of :func:`spinmultinet.evaluate.evaluate`; ``pictures``: paths as the page should name them.
    """
    parts = [
        "# Evaluation",
        "\n".join(f"- {name}: {value}" for name, value in about.items()),
        "## Errors",
        _overall(result),
        *(_group(result, key, name) for key, name in GROUPS.items() if set(result[key]) != {"unknown"}),
        *_pairs(result["pairs"]),
        *_moments(result),
        *_uncertainty(result["uncertainty"]),
        *(f"![{name}]({name})" for name in pictures),
    ]
    return "\n\n".join(parts) + "\n"


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|")


def _overall(result: dict[str, Any]) -> str:
    rows = [[task, unit, *_scores(result["overall"][task])] for task, unit in _tasks(result).items()]
    return _table(["task", "unit", "MAE", "RMSE", "n"], rows)


def _scores(found: dict[str, Any]) -> list[Any]:
    return [found["mae"], found["rmse"], found["n"]]


def _tasks(result: dict[str, Any]) -> dict[str, str]:
    return {task: unit for task, unit in result["units"].items() if task in result["overall"]}


def _group(result: dict[str, Any], key: str, name: str) -> str:
    """MAE / RMSE of each task that the groups have."""
    groups = result[key]
    tasks = [task for task in _tasks(result) if any(task in scores for scores in groups.values())]
    rows = [
        [short_name(group), scores.get("n_structures"), *(_both(scores.get(task)) for task in tasks), _sign(scores)]
        for group, scores in groups.items()
    ]
    units = _tasks(result)
    table = _table([name, "structures", *(f"{t} ({units[t]})" for t in tasks), "right sign"], rows)
    return f"MAE / RMSE by {name}:\n\n{table}"


def _both(found: dict[str, Any] | None) -> str:
    return "" if found is None else f"{found['mae']:.4g} / {found['rmse']:.4g}"


def _sign(scores: dict[str, Any]) -> str:
    return _percent(scores["right_sign"]) if "right_sign" in scores else ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _pairs(pairs: dict[str, Any] | None) -> list[str]:
    if pairs is None:
        return []
    rows = [("all", pairs), *pairs["per_orderings"].items()]
    columns = ["difference", "MAE", "RMSE", "pairs", "right order", "mean calculated", "mean predicted"]
    lines = [
        [name, *_scores(found), _percent(found["right_order"]), found.get("label"), found.get("predicted")]
        for name, found in rows
    ]
    return [f"## Energy differences at equal geometry ({pairs['unit']})", _table(columns, lines)]


def _moments(result: dict[str, Any]) -> list[str]:
    if result["right_sign"] is None:
        return []
    parts = ["## Spin states", f"Magnetic sites with the right sign: {_percent(result['right_sign'])}."]
    states = result["spin_states"]
    if states is None:
        return [*parts, "No labels of an element with more than one spin state: none to tell apart."]
    parts.append(
        f"With the right sign and spin state: {_percent(states['right'])} of {states['n']} sites; always naming the "
        f"commonest state would score {_percent(states['commonest'])}."
    )
    rows = [
        [element, f"{state['from']:.2f}-{state['to']:.2f}", state["n"], _percent(state["right"])]
        for element, found in states["per_element"].items()
        for state in found["states"]
    ]
    return [*parts, _table(["element", "calculated moments (muB)", "sites", "right"], rows)]


def _uncertainty(found: dict[str, Any]) -> list[str]:
    if not found:
        return []
    calibrated = any("sigma" in one["within"] for one in found.values())
    columns = ["task", "unit", "RMS error", "RMS spread", "rank correlation", "within 1", "within 2", "ideal"]
    columns += ["calibrated spread", "within 1", "within 2"] if calibrated else []
    rows = [[task, *_one_task(one, calibrated)] for task, one in found.items()]
    return ["## Spread of the committee", _table(columns, rows)]


def _one_task(one: dict[str, Any], calibrated: bool) -> list[Any]:
    within = one["within"]
    ideal = " / ".join(_percent(share) for share in within["expected"])
    row = [one["unit"], one["rms_error"], one["rms_spread"], one["rank_correlation"]]
    row += [*map(_percent, within["spread"]), ideal]
    if calibrated:
        row += [one.get("rms_sigma"), *map(_percent, within["sigma"])] if "sigma" in within else ["", "", ""]
    return row
