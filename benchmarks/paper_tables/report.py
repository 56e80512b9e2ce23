"""Scores become Markdown tables beside the paper's, the ratios that its physics asks for, and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper_tables.rows import ROWS

Scores = Mapping[str, Mapping[str, Any]]
"""Name of a training (set/row/seed_N) -> its scores."""

LABELS = {
    "no-spin": "w/o spin",
    "single-task": "single-task",
    "multi-task": "SpinMultiNet (multi-task)",
    "invariant": "time-reversal invariant",
    "accurate-input": "accurate input spin",
}
PAPER: dict[int, dict[str, tuple[float, float, float | None]]] = {
    1: {
        "no-spin": (8.322, 9.956, None),
        "single-task": (2.262, 8.348, None),
        "multi-task": (2.229, 8.172, 0.0076),
    },
    2: {"no-spin": (26.632, 30.156, None), "multi-task": (0.403, 1.846, 0.0018)},
    4: {
        "invariant": (2.321, 8.417, 0.5840),
        "accurate-input": (1.257, 7.574, None),
        "multi-task": (2.229, 8.172, 0.0076),
    },
}
"""Energy (meV/atom), forces (meV/Angstrom), moments (muB): MAE in Tables 1, 2 and 4 of Ueno et al., SpinMultiNet."""

TASKS = ("energy", "forces", "moments")


@dataclass(frozen=True)
class Claim:
    """A ratio of errors, one row over another, that a table of the paper shows."""

    text: str
    table: int
    task: str
    over: str
    under: str
    least: float | None = None
    most: float | None = None

    def holds(self, ratio: float) -> bool:
        """Whether a measured ratio is as asked."""
        return ratio >= (self.least or 0.0) and (self.most is None or ratio <= self.most)

    @property
    def wanted(self) -> str:
        """The bar, as text."""
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"

    @property
    def paper(self) -> float:
        """The paper's ratio."""
        column = TASKS.index(self.task)
        over, under = (PAPER[self.table][row][column] for row in (self.over, self.under))
        assert over is not None
        assert under is not None
        return over / under


CLAIMS = (
    Claim("spin input lowers the energy error", 1, "energy", "no-spin", "multi-task", least=3),
    Claim("spin input lowers the energy error of pairs", 2, "energy", "no-spin", "multi-task", least=30),
    Claim("moments predicted as well do not cost energy", 1, "energy", "multi-task", "single-task", most=1),
    Claim("without odd features no sign of moments", 4, "moments", "invariant", "multi-task", least=10),
    Claim("accurate input is better than estimates", 4, "energy", "accurate-input", "multi-task", most=1),
)


class Report:
    """Scores of one run; ``sets`` says which data a table is of: table -> names of sets, as in the scores."""

    def __init__(self, scores: Scores, sets: Mapping[int, Sequence[str]]) -> None:
        self.scores, self.sets = scores, sets

    def values(self, table: int, row: str, key: str) -> dict[str, float]:
        """Seed -> score of a row, where it was trained and has one."""
        found = {}
        for name, scores in self.scores.items():
            data, its_row, seed = name.split("/")
            if data in self.sets[table] and its_row == row and scores.get(key) is not None:
                found[seed] = float(scores[key])
        return found

    def rows(self, table: int) -> list[str]:
        """Rows of a table that were trained."""
        return [row for row in ROWS if row in PAPER[table] and self.values(table, row, "energy")]

    def table(self, number: int) -> list[str]:
        """Lines of one table in Markdown; our MAE, over seeds, and the paper's."""
        lines = [
            "| model | seeds | parameters | energy, meV/atom | forces, meV/Angstrom | moments, muB | paper: energy "
            "| forces | moments |",
            "| --- " * 9 + "|",
        ]
        for row in self.rows(number):
            energies, parameters = self.values(number, row, "energy"), self.values(number, row, "parameters")
            ours = [_spread(self.values(number, row, task)) for task in TASKS]
            paper = ["-" if value is None else f"{value:g}" for value in PAPER[number][row]]
            cells = [LABELS[row], len(energies), f"{np.mean(list(parameters.values())):,.0f}", *ours, *paper]
            lines.append(f"| {' | '.join(map(str, cells))} |")
        return lines

    def ratio(self, claim: Claim) -> tuple[float, float, float] | None:
        """Ratio of the mean errors, and the extremes over the seeds that both rows have; None where a row is not there.

        Means are over the seeds that both have, so that one lucky seed of one row decides nothing.
        """
        over = self.values(claim.table, claim.over, claim.task)
        under = self.values(claim.table, claim.under, claim.task)
        seeds = sorted(over.keys() & under.keys())
        if not seeds:
            return None
        each = [over[s] / under[s] for s in seeds]
        return sum(over[s] for s in seeds) / sum(under[s] for s in seeds), min(each), max(each)

    def claims(self) -> list[str]:
        """Lines of the table of ratios in Markdown."""
        lines = ["| claim | ratio | wanted | measured | over seeds | paper | holds |", "| --- " * 7 + "|"]
        for claim in CLAIMS:
            found = self.ratio(claim) if claim.table in self.sets else None
            if found is not None:
                what = f"{claim.task}, {LABELS[claim.over]} / {LABELS[claim.under]}"
                seeds = f"{found[1]:.3g} to {found[2]:.3g}"
                verdict = "yes" if claim.holds(found[0]) else "**no**"
                cells = [claim.text, what, claim.wanted, f"{found[0]:.3g}", seeds, f"{claim.paper:.3g}", verdict]
                lines.append(f"| {' | '.join(cells)} |")
        return lines

    def further(self, table: int, keys: Mapping[str, str]) -> list[str]:
        """Lines of a table of other scores: row by ``keys``, score -> heading."""
        lines = [f"| model | {' | '.join(keys.values())} |", "| --- " * (len(keys) + 1) + "|"]
        for row in self.rows(table):
            cells = [_spread(self.values(table, row, key)) for key in keys]
            if any(cell != "-" for cell in cells):
                lines.append(f"| {LABELS[row]} | {' | '.join(cells)} |")
        return lines if len(lines) > 2 else []

    def markdown(self) -> str:
        """All tables of the run."""
        blocks = [["## Ratios", "", *self.claims()]]
        for number in self.sets:
            if self.rows(number):
                blocks.append([f"## Table {number}", "", *self.table(number)])
        blocks += [[f"### {title}", "", *lines] for title, lines in self._more() if lines]
        return "\n\n".join("\n".join(block) for block in blocks) + "\n"

    def _more(self) -> list[tuple[str, list[str]]]:
        pairs = {"pair_difference": "energy difference of pairs, meV/atom", "right_order": "fraction in right order"}
        signs = {"right_sign": "right signs", "right_sign_reversed": "right signs after reversal of all moments"}
        low = {"energy_high_spin": "energy, no low-spin Co", "energy_low_spin": "energy, with low-spin Co"}
        sections = [(f"Pairs of equal geometry (Table {n})", self.further(n, pairs)) for n in self.sets]
        sections += [(f"Signs of moments (Table {n})", self.further(n, signs)) for n in self.sets if n == 4]
        return sections + [(f"Spin states (Table {n})", self.further(n, low)) for n in self.sets if n == 1]


def _spread(found: Mapping[str, float]) -> str:
    """Mean, and the extremes where there are several."""
    values = list(found.values())
    if not values:
        return "-"
    mean = f"{np.mean(values):.3g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3g} to {max(values):.3g})"


def figure(report: Report, path: Path) -> None:
    """Bars of the ratios, measured and in the paper, with the bar that was set; nothing where there is no ratio."""
    claims = [c for c in CLAIMS if c.table in report.sets and report.ratio(c) is not None]
    if not claims:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    ratios = np.array([report.ratio(c) for c in claims])
    places = np.arange(len(claims))[::-1]
    fig, axes = plt.subplots(figsize=(8, 0.9 * len(claims) + 1), layout="constrained")
    error = np.abs(ratios[:, 1:].T - ratios[:, 0])
    bars = {"height": 0.36, "left": 1.0}
    axes.barh(places + 0.19, ratios[:, 0] - 1, label="here", color="#1b6ca8", **bars)
    axes.errorbar(ratios[:, 0], places + 0.19, xerr=error, fmt="none", ecolor="#444444", capsize=3)
    axes.barh(places - 0.19, [c.paper - 1 for c in claims], label="paper", color="#b8c4cc", **bars)
    for place, claim in zip(places, claims, strict=True):
        bar = claim.least if claim.least is not None else claim.most
        axes.plot([bar, bar], [place - 0.45, place + 0.45], color="#c0392b", lw=2, label="" if place else "wanted")
        side = "\u2192" if claim.least is not None else "\u2190"
        axes.annotate(side, (bar, place + 0.45), color="#c0392b", ha="left" if claim.least is not None else "right")
    axes.axvline(1, color="black", lw=0.8)
    axes.set(xscale="log", xlabel="ratio of mean absolute errors")
    axes.set_yticks(places, [f"{c.task}\n{LABELS[c.over]} /\n{LABELS[c.under]} (Table {c.table})" for c in claims])
    axes.tick_params(axis="y", labelsize=8)
    axes.legend(loc="lower right")
    fig.savefig(path, dpi=120)
    plt.close(fig)
