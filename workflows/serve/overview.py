"""How a campaign stands, as far as its store, its file and the log of its runs on this machine tell. Read only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datastore import SpinStore
from datastore.costs import LOG_FILE, log_events
from datastore.locks import holder as lock_holder
from datastore.registry import champion, history
from datastore.select import count_by
from datastore.stores import explained
from workflows.campaign_lock import lock_name
from workflows.run_lock import holder
from workflows.serve.places import Campaign, Project
from workflows.status import Errors, Status, campaign_status, mean_errors

STATES = ("done", "failed", "running", "waiting")
Document = dict[str, Any]


@dataclass(frozen=True)
class Tally:
    """Calculations of one campaign by generation: accepted, rejected, failed."""

    generations: dict[int, dict[str, int]] = field(default_factory=dict)

    def total(self, *outcomes: str) -> int:
        """How many ended so, in all generations; with no ``outcomes``, all."""
        counts = self.generations.values()
        return sum(count for row in counts for name, count in row.items() if name in (outcomes or row))


@dataclass(frozen=True)
class Overview:
    """One campaign now; ``status`` is there where its file is."""

    campaign: str
    state: str
    at_work: str
    tally: Tally
    jobs: dict[str, dict[str, int]]
    """Kind -> done, failed, running, waiting; empty where neither file nor log is here."""
    errors: list[Errors]
    champion: str
    """model_id in use; empty without one."""
    promotion: Document | None
    status: Status | None = None

    @property
    def share(self) -> float | None:
        """Share of the jobs that ended; None where the campaign's file is not here, so nobody knows how many come."""
        if self.status is None:
            return None
        counts = Counter[str]()
        for row in self.jobs.values():
            counts.update(row)
        return (counts["done"] + counts["failed"]) / max(1, counts.total())


def overviews(project: Project, store: SpinStore | None) -> list[Overview]:
    """Every campaign of a store, those with a file first, in the order given, then by name."""
    tallies = {} if store is None else tally(store)
    listed = [known.options.name for known in project.campaigns]
    names = [*listed, *sorted(set(tallies) - set(listed))]
    return [_overview(project, store, name, tallies.get(name, Tally())) for name in names]


def tally(store: SpinStore) -> dict[str, Tally]:
    """Calculations in a store by campaign, generation and outcome."""
    counts: Counter[tuple[str, int, str]] = Counter()
    for (campaign, generation, verdict), number in count_by(store, ["campaign", "generation", "verdict"]).items():
        counts[str(campaign), int(generation or 0), str(verdict)] += number
    for (campaign, generation), number in count_by(store, ["campaign", "generation"], failures=True).items():
        counts[str(campaign), int(generation or 0), "failed"] += number
    found: dict[str, dict[int, dict[str, int]]] = {}
    for (campaign, generation, outcome), count in sorted(counts.items()):
        row = found.setdefault(campaign, {}).setdefault(
            generation, dict.fromkeys(("accepted", "rejected", "failed"), 0)
        )
        row[outcome] = count
    return {name: Tally(rows) for name, rows in found.items()}


def stamp(store: SpinStore) -> tuple[int, ...]:
    """Numbers that change when labels, failures, jobs, models, promotions or decisions arrive. Cheap to ask for."""
    with explained(store.uri):
        kinds = (store.points, store.failures, store.jobs, store.models, store.promotions, store.decisions)
        return tuple(int(kind.count()) for kind in kinds)


def _overview(project: Project, store: SpinStore | None, name: str, counts: Tally) -> Overview:
    known = project.campaign(name)
    if known is not None:
        return _with_file(known, counts, store)
    assert store is not None  # its labels are where the name comes from
    record = champion(store, name)
    log = history(store, name)
    at_work = lock_holder(store, lock_name(name))
    jobs, running = _logged(project.folder)
    return Overview(
        campaign=name,
        state="running" if at_work or running else "no file here",
        at_work=at_work,
        tally=counts,
        jobs=jobs,
        errors=_errors(store, name),
        champion=record.model_id if record else "",
        promotion={key: getattr(log[-1], key) for key in ("action", "model_id", "by", "reasons", "created")}
        if log
        else None,
    )


def _with_file(known: Campaign, counts: Tally, store: SpinStore | None) -> Overview:
    found = campaign_status(known.options, known.engine)
    errors = found.errors or ([] if store is None else _errors(store, found.campaign))  # of a campaign that was edited
    return Overview(
        campaign=found.campaign,
        state=found.state,
        at_work=found.at_work,
        tally=counts,
        jobs=found.jobs,
        errors=errors,
        champion=str(found.champion["model_id"]) if found.champion else "",
        promotion=found.promotion,
        status=found,
    )


def _errors(store: SpinStore, campaign: str) -> list[Errors]:
    """Errors of every model on its frozen tests, oldest first."""
    records = store.get_models(campaign=campaign)
    with explained(store.uri):
        wanted = {"snapshot_id": {"$in": [record.snapshot_id for record in records]}}
        found = store.snapshots.query(wanted, ["snapshot_id", "counts"]) if records else []
        counts = {document["snapshot_id"]: _sum(document.get("counts")) for document in found}
    tested = [(record, mean_errors(record.scores)) for record in records]
    return [Errors(r.generation, r.model_id, counts.get(r.snapshot_id), tests) for r, tests in tested if tests]


def _sum(counts: Any) -> int | None:
    return sum(counts.values()) if isinstance(counts, Mapping) else None


def _logged(folder: Path | None) -> tuple[dict[str, dict[str, int]], bool]:
    """Jobs by kind from the log of the runs in a campaign's folder, and whether a process here is at work."""
    if folder is None:
        return {}, False
    newest = {event["uuid"]: event for event in log_events(folder / LOG_FILE)}
    run = holder(folder)
    jobs: dict[str, dict[str, int]] = {}
    for event in newest.values():
        row = jobs.setdefault(str(event["type"]), dict.fromkeys(STATES, 0))
        begun = run is not None and event["time"] >= run[1]
        state = event["event"] if event["event"] != "started" else "running" if begun else "waiting"
        row[state if state in STATES else "waiting"] += 1
    return jobs, run is not None
