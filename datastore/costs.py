"""What labels have cost, and what further ones will: pure functions on stored documents.

Core hours are wall time times cores (one core where a label does not say), and CPU time where there is no wall time.
Counted is every calculation that the store knows: labels, accepted or not, and failures. Not counted are calculations
cut off together with the process that started them, and failures that a later try has replaced; the log of a campaign's
runs (:func:`read_log`) tells how many there were. A salvaged label was paid for with the label it comes from.
"""

from __future__ import annotations

import difflib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datastore.errors import DataError
from datastore.schema import FloatArray
from datastore.stores import SpinStore, explained
from datastore.upgrade import checked

GROUPING = ("campaign", "level_id", "formula", "atoms")
"""By what costs are told where nothing else is asked for."""

GROUPS = (*GROUPING, "engine", "cell", "ordering", "deformation", "generation", "moment_role", "parent")

LOG_FILE = "calculations.jsonl"
"""In the folder of a campaign: one line for each start and each end of a job."""

MIN_SAMPLES = 3
"""Fewer calculations say nothing about the scatter, so a wider choice is taken, and in the end the engine's guess."""

DRAWS = 400
"""Bootstrap repetitions behind a range."""

_FIELDS = [
    "point_id",
    "calculated_by",
    "timings",
    "verdict",
    "error_type",
    "species",
    "salvaged_from",
    *(g for g in GROUPS if g != "atoms"),
]


@dataclass
class Cost:
    """Calculations of one group and their core seconds."""

    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    untimed: int = 0
    """Calculations among these that do not say how long they took; they count as nothing."""
    seconds: float = 0.0
    """Core seconds of all calculations."""
    wasted: float = 0.0
    """Core seconds of rejected labels and failures; not of a flipped label that is of use as a salvaged one."""

    @property
    def per_accepted(self) -> float | None:
        """Core seconds of all calculations per accepted label; None where none was accepted."""
        return self.seconds / self.accepted if self.accepted else None

    def add(self, document: Mapping[str, Any]) -> None:
        """Count one stored label or failure."""
        verdict = document.get("verdict", "failed")
        setattr(self, verdict, getattr(self, verdict) + 1)
        seconds = core_seconds(document)
        self.untimed += seconds is None
        self.seconds += seconds or 0.0
        self.wasted += 0.0 if verdict == "accepted" or document.get("of_use") else seconds or 0.0


@dataclass
class LogEntry:
    """Jobs of one kind in a campaign's log of its runs."""

    started: int = 0
    finished: int = 0
    seconds: float = 0.0
    """Wall seconds of the finished ones, on one core each."""

    @property
    def cut_off(self) -> int:
        """Starts without an end: a stop, a kill or a power cut. What they cost is not known."""
        return self.started - self.finished


@dataclass(frozen=True)
class Work:
    """A calculation, done or to be done, as far as its cost depends on it."""

    formula: str
    atoms: int
    guess: float
    """The engine's own estimate, core seconds."""
    level_id: str = ""
    engine: str = ""
    seconds: float = math.nan
    """Core seconds it took; NaN where it is still to be done."""


@dataclass(frozen=True)
class Basis:
    """What an estimate for one formula rests on."""

    formula: str
    calculations: int
    """Still to be done."""
    rests_on: str
    """In words."""
    samples: int
    exponent: float | None
    """Of the number of atoms, where sizes differ; None where the engine's own law was used."""


@dataclass(frozen=True)
class Estimate:
    """Core seconds of calculations still to be done."""

    seconds: float
    low: float
    high: float
    """10 % and 90 % of what the scatter of the samples, and their small number, make likely."""
    bases: list[Basis] = field(default_factory=list)


def core_seconds(document: Mapping[str, Any]) -> float | None:
    """Core seconds of a stored calculation; None where it does not say.

    Zero for refused configurations and for salvaged labels.
    """
    timings = document.get("timings") or {}
    if document.get("salvaged_from"):
        return 0.0
    # A store that was written before negative times were refused may hold some; they say nothing.
    known = {name: value for name, value in timings.items() if value is not None and value >= 0}
    if "wall" in known:
        return float(known["wall"]) * float(known.get("cores", 1.0))
    if "cpu" in known:
        return float(known["cpu"])
    return 0.0 if document.get("error_type") == "refused" else None


def ledger(
    store: SpinStore, criteria: Mapping[str, Any] | None = None, by: Sequence[str] = GROUPING
) -> dict[tuple[Any, ...], Cost]:
    """Costs by the values of the fields ``by`` (of GROUPS), the dearest first. Raises DataError for any other field."""
    for name in by:
        if name not in GROUPS:
            near = difflib.get_close_matches(name, GROUPS, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(GROUPS)}"
            raise DataError(f"costs cannot be told by {name!r}; {hint}")
    found: defaultdict[tuple[Any, ...], Cost] = defaultdict(Cost)
    for document in calculations(store, criteria):
        found[tuple(document.get(name, "") for name in by)].add(document)
    return dict(sorted(found.items(), key=lambda item: -item[1].seconds))


def total(costs: Iterable[Cost]) -> Cost:
    """The sum."""
    result = Cost()
    for cost in costs:
        for name, value in vars(cost).items():
            setattr(result, name, getattr(result, name) + value)
    return result


def calculations(store: SpinStore, criteria: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Labels, then failures, with what costs depend on, ``atoms``, and ``of_use`` (an accepted salvaged copy exists).

    ``campaign`` is the one that paid, in the criteria too.
    """
    with explained(store.uri):
        copies = store.points.query({"salvaged_from": {"$gt": ""}, "verdict": "accepted"}, ["salvaged_from"])
        of_use = {document["salvaged_from"] for document in copies}
        for collection in (store.points, store.failures):
            for document in collection.query(_by_payer(criteria or {}), _FIELDS):
                atoms = len(checked(document, species=list, timings=dict)["species"])
                campaign = document.get("calculated_by") or document.get("campaign", "")
                yield {
                    **document,
                    "atoms": atoms,
                    "campaign": campaign,
                    "of_use": document.get("point_id") in of_use and "verdict" in document,
                }


def _by_payer(criteria: Any) -> Any:
    """The criteria with ``campaign`` meaning the one that paid: ``calculated_by`` where it is stated."""
    if isinstance(criteria, list):
        return [_by_payer(part) for part in criteria]
    if not isinstance(criteria, Mapping):
        return criteria
    terms = [
        {key: _by_payer(part) if key.startswith("$") else part} for key, part in criteria.items() if key != "campaign"
    ]
    if "campaign" in criteria:
        unstated = {"calculated_by": {"$in": ["", None]}, "campaign": criteria["campaign"]}
        stated = [{"calculated_by": {"$gt": ""}}, {"calculated_by": criteria["campaign"]}]
        terms.append({"$or": [unstated, {"$and": stated}]})
    return {"$and": terms} if len(terms) > 1 else terms[0] if terms else {}


def read_log(path: Path) -> dict[str, LogEntry]:
    """Kind of job -> starts, ends and seconds in a LOG_FILE; empty where there is no such file."""
    found: defaultdict[str, LogEntry] = defaultdict(LogEntry)
    for event in log_events(path):
        entry = found[event["type"]]
        entry.started += event["event"] == "started"
        entry.finished += event["event"] != "started"
        entry.seconds += event.get("seconds") or 0.0
    return dict(found)


def log_events(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a LOG_FILE: ``time`` (Unix), ``event`` (started, done, failed), type, job, uuid, ``seconds``.

    Nothing where there is no such file. A last line that a kill has cut off is passed over.
    """
    if not path.is_file():
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue


def estimate(todo: Sequence[Work], done: Sequence[Work], level_id: str, engine: str) -> Estimate:
    """Core seconds of ``todo`` from what was ``done``, formula by formula.

    Samples are the calculations of that formula at ``level_id``; where there are fewer than MIN_SAMPLES, all at that
    level; then those at the level of the same ``engine`` with most of them; else there is only the engine's guess,
    which has no range. Over samples of several sizes a power law of the number of atoms is fitted to log(seconds); over
    one size, the ratio to the guess carries over to others. The range is a bootstrap of fit and scatter.
    """
    rng = np.random.default_rng(0)
    totals = np.zeros(DRAWS)
    bases = []
    for formula in sorted({work.formula for work in todo}):
        wanted = [work for work in todo if work.formula == formula]
        samples, rests_on = _samples(formula, [w for w in done if w.seconds > 0], level_id, engine)
        if not samples:
            totals += sum(work.guess for work in wanted)
        exponent = _exponent(samples)
        if samples:
            totals += _draws(wanted, samples, exponent is not None, rng)
        bases.append(Basis(formula, len(wanted), rests_on, len(samples), exponent))
    low, high = np.quantile(totals, [0.1, 0.9])
    return Estimate(float(totals.mean()), float(low), float(high), bases)


def _samples(formula: str, done: Sequence[Work], level_id: str, engine: str) -> tuple[list[Work], str]:
    """The narrowest choice of finished calculations that is large enough, and its name."""
    here = [work for work in done if work.level_id == level_id]
    same = [work for work in here if work.formula == formula]
    if len(same) >= MIN_SAMPLES:
        return same, f"calculations of {formula} at this level of theory"
    if len(here) >= MIN_SAMPLES:
        return here, "calculations of other formulas at this level of theory"
    others: defaultdict[str, list[Work]] = defaultdict(list)
    for work in done:
        if work.engine == engine and work.level_id != level_id:
            others[work.level_id].append(work)
    nearest = max(others.values(), key=lambda w: (sum(x.formula == formula for x in w), len(w)), default=[])
    if len(nearest) < MIN_SAMPLES:
        return [], "the engine's own estimate"
    of_formula = [work for work in nearest if work.formula == formula]
    chosen = of_formula if len(of_formula) >= MIN_SAMPLES else nearest
    what = formula if chosen is of_formula else "other formulas"
    return chosen, f"calculations of {what} at another level of theory of {engine}, {nearest[0].level_id}"


def _exponent(samples: Sequence[Work]) -> float | None:
    """Fitted power of the number of atoms; None where all samples have one size."""
    sizes = np.log([work.atoms for work in samples])
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(sizes, np.log([work.seconds for work in samples]), 1)[0])


def _draws(wanted: Sequence[Work], samples: Sequence[Work], fitted: bool, rng: np.random.Generator) -> FloatArray:
    """(DRAWS,) totals, each from samples drawn with replacement, and a residual drawn for every calculation."""
    sizes, times = (np.log([getattr(work, name) for work in samples]) for name in ("atoms", "seconds"))
    targets = np.log([work.atoms for work in wanted])
    if not fitted:  # relative to the guess
        times = times - np.log([work.guess for work in samples])
    exponent = _exponent(samples) or 0.0
    totals = np.empty(DRAWS)
    for draw in range(DRAWS):
        chosen = rng.integers(len(samples), size=len(samples))
        slope = exponent
        if fitted and len(set(sizes[chosen])) > 1:
            slope = float(np.polyfit(sizes[chosen], times[chosen], 1)[0])
        intercepts = times[chosen] - slope * sizes[chosen]
        # The scatter about the drawn line; a drawn intercept carries line and scatter at once.
        logs = slope * targets + rng.choice(intercepts, size=len(wanted))
        totals[draw] = np.exp(logs if fitted else logs + np.log([work.guess for work in wanted])).sum()
    return totals
