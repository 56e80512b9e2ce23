"""Tables in Markdown from the rows of results."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import plan

Rows = Mapping[str, Mapping[str, Any]]
_MISSING = "-"

# What is asked of ours, for 64 atoms on two cores: task, quantity, program, least ratio.
BARS = (
    ("train", "step_s", "eager", 3.0),
    ("train", "step_s", "compiled", 1.5),
    ("infer", "step_s", "eager", 2.5),
    ("infer", "step_s", "compiled", 1.5),
    ("train", "peak_mib", "eager", 1 / 0.8),
    ("train", "peak_mib", "compiled", 1 / 0.8),
    ("infer", "peak_mib", "eager", 1 / 0.8),
    ("infer", "peak_mib", "compiled", 1 / 0.8),
)
_WORDS = {("train", "step_s"): "training step", ("infer", "step_s"): "energy + forces"} | {
    ("train", "peak_mib"): "peak memory, training",
    ("infer", "peak_mib"): "peak memory, energy + forces",
}


def markdown(settings: Mapping[str, Any], rows: Rows) -> str:
    """All tables. Ratios are those of a variant to ours: above 1, ours is the faster or the smaller."""
    sizes = sorted({int(k.split("/")[2]) for k in rows if not k.startswith(f"{plan.REFERENCE.name}/")} | {64})
    parts = [_heading(settings, rows)]
    for n in sizes:
        parts += [_peers(rows, n, settings), _bars(rows, n), _spin(rows, n)]
    return "\n\n".join([*parts, _scaling(rows), _failures(rows)]).replace("\n\n\n", "\n\n").strip() + "\n"


def _group(rows: Rows, variant: str, task: str, n: int) -> dict[int, Mapping[str, Any]]:
    """Rows by repeat, failures left out."""
    start = f"{variant}/{task}/{n}/"
    return {int(k.rsplit("/", 1)[1]): r for k, r in rows.items() if k.startswith(start) and "error" not in r}


def ratios(rows: Rows, variant: str, task: str, n: int, quantity: str) -> list[float]:
    """Quantity of a variant over ours, repeat by repeat."""
    ours = _group(rows, plan.REFERENCE.name, task, n)
    other = _group(rows, variant, task, n)
    return [other[k][quantity] / ours[k][quantity] for k in sorted(ours.keys() & other.keys())]


def spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    """Median (least-largest)."""
    if not values:
        return _MISSING
    middle = form(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({form(min(values))}-{form(max(values))})"


def _heading(settings: Mapping[str, Any], rows: Rows) -> str:
    loads = [r["load"] for r in rows.values() if "load" in r]
    return (
        f"{_processor()}, {os.cpu_count()} cores, {settings['threads']} threads; float32, cutoff {plan.CUTOFF:g} "
        f"Angstrom; {plan.N_STRUCTURES} structures of NiO in turn; state of our code {settings['source']}; load of the "
        f"machine after a measurement {spread(loads, '{:.1f}'.format)}. Medians, in brackets least and largest of the "
        "repeats. A training step "
        f"has {settings['batch']} structures, and times are per structure. Ratios are the other's over ours: above 1, "
        "ours is ahead."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), platform.processor())


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def _ms(structures: int) -> Callable[[float], str]:
    return lambda seconds: f"{1e3 * seconds / structures:.0f}"


def _cells(rows: Rows, v: plan.Variant, task: str, n: int, settings: Mapping[str, Any]) -> list[str]:
    """Time, its ratio, peak memory, its ratio."""
    if any(k.startswith(f"{v.name}/{task}/{n}/") and "error" in r for k, r in rows.items()):
        return ["failed"] * 4
    found = _group(rows, v.name, task, n).values()
    structures = settings["batch"] if task == "train" else 1
    return [
        spread([r["step_s"] for r in found], _ms(structures)),
        spread(ratios(rows, v.name, task, n, "step_s"), "{:.2f}".format),
        spread([r["peak_mib"] for r in found], "{:.0f}".format),
        spread(ratios(rows, v.name, task, n, "peak_mib"), "{:.2f}".format),
    ]


def _both(rows: Rows, v: plan.Variant, n: int, settings: Mapping[str, Any]) -> list[str]:
    return [cell for task in plan.TASKS for cell in _cells(rows, v, task, n, settings)]


def _parameters(rows: Rows, v: plan.Variant) -> str:
    counts = {r["n_parameters"] for k, r in rows.items() if k.startswith(f"{v.name}/") and r.get("n_parameters")}
    return f"{max(counts):,}" if counts else _MISSING


def _compile(rows: Rows, v: plan.Variant, n: int) -> str:
    """Seconds of the first training step, first without and then with what the compiler keeps; of the export."""
    if not v.compiled:
        return _MISSING
    first = [r["first_s"] for _, r in sorted(_group(rows, v.name, "train", n).items())]
    export = [r["compile_s"] for r in _group(rows, v.name, "prepare", n).values()]
    parts = [f"{first[0]:.0f}" if first else _MISSING, spread(first[1:], "{:.0f}".format)]
    return f"{parts[0]}, again {parts[1]}; export {spread(export, '{:.0f}'.format)}"


def _peers(rows: Rows, n: int, settings: Mapping[str, Any]) -> str:
    header = ["program", "parameters", "training step, ms", "ratio", "peak, MiB", "ratio"]
    header += ["energy + forces, ms", "ratio", "peak, MiB", "ratio", "compilation, s"]
    seen = {k.split("/")[0] for k in rows}
    lines = [
        [
            v.title,
            _parameters(rows, v),
            *_both(rows, v, n, settings),
            _compile(rows, v, n),
        ]
        for v in (plan.REFERENCE, *plan.PEERS)
        if v.name in seen
    ]
    return f"## Beside other programs, {n} atoms\n\n{_table(header, lines)}"


def _bars(rows: Rows, n: int) -> str:
    """What is asked against what is found, for every width of nequip."""
    lines = []
    for task, quantity, mode, wanted in BARS:
        for v in plan.PEERS:
            found = ratios(rows, v.name, task, n, quantity) if v.name.startswith("nequip") else []
            if found and v.name.endswith(mode):
                middle = statistics.median(found)
                verdict = "met" if middle >= wanted else f"missed by {100 * (1 - middle / wanted):.0f} %"
                words = _WORDS[task, quantity]
                lines.append([f"{words}, {v.title}", f"{wanted:.2f}", spread(found, "{:.2f}".format), verdict])
    return _table(["asked of ours", "least ratio", "found", "verdict"], lines) if lines else ""


def _spin(rows: Rows, n: int) -> str:
    """What spin costs: ours over our models without it."""
    lines = []
    for v in plan.NO_SPIN:
        cells = []
        for task in plan.TASKS:
            for quantity in ("step_s", "peak_mib"):
                inverse = [1 / x for x in ratios(rows, v.name, task, n, quantity)]
                cells.append(spread(inverse, "{:.2f}".format))
        if any(c != _MISSING for c in cells):
            lines.append([v.title, _parameters(rows, v), *cells])
    header = ["against ours with", "parameters", "training step", "peak", "energy + forces", "peak"]
    about = "Our model with spin over ours without: above 1, spin costs more."
    return f"## What spin costs, {n} atoms\n\n{about}\n\n{_table(header, lines)}" if lines else ""


def _scaling(rows: Rows) -> str:
    """Cost per atom of energy and forces by size; growth against the smallest from 256 atoms on."""
    start = f"{plan.REFERENCE.name}/infer/"
    sizes = sorted({int(k.split("/")[2]) for k in rows if k.startswith(start)})
    if len(sizes) < 2:
        return ""
    first = next((n for n in sizes if n >= 256), sizes[0])
    base = _group(rows, plan.REFERENCE.name, "infer", first)
    lines = []
    for n in sizes:
        found = _group(rows, plan.REFERENCE.name, "infer", n)
        growth = [found[k]["step_s"] / n / (base[k]["step_s"] / first) for k in sorted(found.keys() & base.keys())]
        peaks = [r["peak_mib"] for r in found.values()]
        above = [(r["peak_mib"] - r["loaded_mib"]) / n for r in found.values()]
        milliseconds = [1e3 * r["step_s"] / n for r in found.values()]
        cells = [spread(x, "{:.2f}".format) for x in (milliseconds, growth, above)]
        lines.append([str(n), *cells[:2], spread(peaks, "{:.0f}".format), cells[2]])
    header = ["atoms", "ms per atom", f"over that of {first}", "peak, MiB", "MiB per atom above the loaded program"]
    return f"## Size\n\nEnergy and forces of our model.\n\n{_table(header, lines)}"


def _failures(rows: Rows) -> str:
    lines = [f"- `{k}`: {r['error']}" for k, r in rows.items() if "error" in r]
    return "## Failed\n\n" + "\n".join(lines) if lines else ""
