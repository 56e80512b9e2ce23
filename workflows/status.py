"""Where a campaign is, what it has cost and will cost, how good it is, and what it does next. Read only.

Everything comes from the campaign file, its store and the log of its runs, so it can be asked at any time: before the
first run, while one is at work, after a kill, at the end, and of a store that an earlier version has written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datastore import SpinStore, open_store
from datastore.costs import Cost, Work, estimate, ledger, total
from datastore.locks import holder as lock_holder
from datastore.registry import history
from datastore.retrainings import retrainings
from datastore.schema import ModelRecord
from datastore.stores import explained, mask
from workflows.campaign import CampaignOptions
from workflows.campaign_jobs import CampaignJob, campaign_jobs, error_of
from workflows.campaign_lock import lock_name
from workflows.costs import work, works
from workflows.engines import Engine
from workflows.flows import CampaignMaker
from workflows.learning import TargetOptions
from workflows.next_steps import Left, labels_later, next_steps
from workflows.parents import plan_parents
from workflows.results import champion_of
from workflows.run_lock import holder
from workflows.structures.generate import generate
from workflows.submit import JOBS

StateName = Literal["not started", "running", "stopped", "failed", "finished"]
Document = dict[str, Any]
TASKS = ("energy", "forces", "moments")
UNITS = {"energy": "meV/atom", "forces": "meV/Angstrom", "moments": "muB"}
ONLY = "random"
"""Name of the one test set of models from before there were several."""

MOST_FAILURES = 5


@dataclass(frozen=True)
class Errors:
    """Mean absolute errors of one generation. ``labels``: in its snapshot, held-out ones included; None if not known.

    ``tests``: test set -> task -> error, in UNITS.
    """

    generation: int
    model_id: str
    labels: int | None
    tests: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Target:
    """A bound that the campaign wants an error to reach, and the newest error; None before there is one."""

    test: str
    task: str
    target: float
    now: float | None

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.now is not None and self.now <= self.target


@dataclass(frozen=True)
class Failure:
    """A job that failed, or a calculation without a label. ``file``: details, empty where there are none here."""

    job: str
    error: str
    file: str = ""
    when: str = ""


@dataclass(frozen=True)
class Status:
    """A campaign now."""

    campaign: str
    folder: str
    store: str
    state: StateName
    process: str
    """Id of the process on this machine that runs it; empty where none does."""
    at_work: str
    """Who holds the campaign, on whatever host, since when and for what; empty where nobody does."""
    generation: int
    rounds: int
    stage: str
    """Kind of the job that comes next or is at work; empty at the end."""
    jobs: dict[str, dict[str, int]]
    """Kind -> done, failed, running, waiting; of labels, those without a result count as failed."""
    cost: Cost
    """Of the labels that this campaign paid for, core seconds."""
    training_seconds: float
    """Wall seconds of all finished trainings, one core each."""
    left: Left
    errors: list[Errors]
    targets: list[Target]
    champion: Document | None
    """``model_id``, ``generation`` and ``created`` of the model in use."""
    promotion: Document | None
    """Newest entry of the promotion log: ``action``, ``model_id``, ``generation``, ``by``, ``reasons``, ``created``."""
    stopped_because: str
    """Why no further round follows, as decided; empty before that."""
    retraining: Document | None
    """The newest retraining: ``why``, ``started``, ``ended``, ``outcome``, ``reasons``."""
    failures: list[Failure] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def campaign_status(options: CampaignOptions, engine: Engine) -> Status:
    """Status of a campaign. Nothing is written, and nothing is made where there is no store yet."""
    if options.store.startswith("local:") and not Path(options.store.removeprefix("local:")).is_dir():
        return _status(options, engine, None)
    with open_store(options.store, readonly=True) as store:
        return _status(options, engine, store)


def _status(options: CampaignOptions, engine: Engine, store: SpinStore | None) -> Status:
    folder = Path(options.folder)
    run = holder(folder)
    jobs = campaign_jobs(CampaignMaker(options, engine).make(), store, folder, run[1] if run else None)
    jobs = [*_not_written(options, engine, jobs), *jobs]
    errors = _errors(store, jobs)
    cost = _cost(store, options.name)
    champion = None if store is None else champion_of(store, options.name)
    targets = _targets(options.active_learning.stop.targets, _of_model(errors, champion))
    unfinished = [job for job in jobs if job.state != "done"]
    stopped = _stopped_because(jobs)
    left = _left(options, engine, store, jobs, cost, bool(stopped))
    at_work = "" if store is None else lock_holder(store, lock_name(options.name))
    state = _state(jobs, bool(run or at_work))
    return Status(
        campaign=options.name,
        folder=str(folder),
        store=mask(options.store),
        state=state,
        process=run[0] if run else "",
        at_work=at_work,
        generation=(unfinished or jobs)[0 if unfinished else -1].generation,
        rounds=options.active_learning.rounds,
        stage=_stage(unfinished),
        jobs=_counts(jobs),
        cost=cost,
        training_seconds=sum(job.seconds or 0.0 for job in jobs),
        left=left,
        errors=errors,
        targets=targets,
        champion=_told(champion, "model_id", "generation", "created"),
        promotion=None if store is None else _promotion(store, options.name),
        stopped_because=stopped,
        retraining=None if store is None else _retraining(store, options.name),
        failures=_failures(jobs, folder),
        next=next_steps(options, unfinished, left, stopped) if state != "finished" else [],
    )


def _state(jobs: Sequence[CampaignJob], running: bool) -> StateName:
    states = {job.state for job in jobs}
    if running:
        return "running"
    if "failed" in states:
        return "failed"
    if states == {"done"}:
        return "finished"
    return "stopped" if "done" in states else "not started"


def _stage(unfinished: Sequence[CampaignJob]) -> str:
    """Kind of a job at work, else of one that failed, else of the first that waits."""
    order = {"running": 0, "failed": 1, "waiting": 2}
    return min(unfinished, key=lambda job: order[job.state]).kind if unfinished else ""


def _counts(jobs: Sequence[CampaignJob]) -> dict[str, dict[str, int]]:
    counts = Counter((job.kind, "failed" if job.failure else job.state) for job in jobs)
    kinds = dict.fromkeys(job.kind for job in jobs)
    return {kind: {state: counts[kind, state] for state in ("done", "failed", "running", "waiting")} for kind in kinds}


def _cost(store: SpinStore | None, campaign: str) -> Cost:
    return Cost() if store is None else total(ledger(store, {"campaign": campaign}, ["campaign"]).values())


def _left(
    options: CampaignOptions,
    engine: Engine,
    store: SpinStore | None,
    jobs: Sequence[CampaignJob],
    cost: Cost,
    stopped: bool,
) -> Left:
    """What is still to be done, as far as it is known, and at most after that."""
    waiting = list(_waiting(jobs, engine))
    done = list(works(store, engine)) if store is not None and waiting else []
    found = estimate(waiting, done, engine.level_id(), engine.type)
    rounds, later = labels_later(options, jobs, stopped)
    made = cost.accepted + cost.rejected + cost.failed
    each = found.seconds / len(waiting) if waiting else cost.seconds / made if made else None
    trainings = [job for job in jobs if job.kind == "train"]
    untrained = sum(job.state != "done" for job in trainings)
    newest = [job.seconds for job in trainings if job.seconds is not None][-options.committee :]
    return Left(
        labels=len(waiting),
        seconds=found.seconds,
        low=found.low,
        high=found.high,
        rounds=rounds,
        labels_later=later,
        seconds_later=None if each is None else later * each,
        trainings=untrained,
        trainings_later=rounds * options.committee,
        training_each=sum(newest) / len(newest) if newest else None,
    )


def _not_written(options: CampaignOptions, engine: Engine, jobs: Sequence[CampaignJob]) -> Iterator[CampaignJob]:
    """Labels of a campaign whose first configurations are still to be written."""
    if {(job.kind, job.state == "done") for job in jobs} != {("structures", False)}:
        return
    if plan_parents(options.structures, engine):  # lattices come first, and are not known yet
        return
    for config in generate(options.structures, campaign=options.name):
        size = (config.formula, len(config.species), engine.seconds_estimate(config))
        yield CampaignJob("", f"label of {jobs[0].name}", "label", 0, "waiting", size=size)


def _waiting(jobs: Sequence[CampaignJob], engine: Engine) -> Iterator[Work]:
    """Labels to be calculated."""
    for job in jobs:
        if job.size is not None:
            yield Work(*job.size)
        elif job.state != "done" and job.config is not None:
            yield work(job.config, engine)


def _errors(store: SpinStore | None, jobs: Sequence[CampaignJob]) -> list[Errors]:
    """One entry per model that was evaluated, in the order of time."""
    outputs = {job.output["model_id"]: job.output for job in jobs if job.kind == "evaluate" and job.output}
    if store is None or not outputs:
        return []
    with explained(store.uri):
        ids = {"model_id": {"$in": list(outputs)}}
        snapshots = {d["model_id"]: d["snapshot_id"] for d in store.models.query(ids, ["model_id", "snapshot_id"])}
        wanted = {"snapshot_id": {"$in": list(snapshots.values())}}
        counts = {d["snapshot_id"]: d["counts"] for d in store.snapshots.query(wanted, ["snapshot_id", "counts"])}
    found = []
    for model_id, output in outputs.items():
        labels = counts.get(snapshots.get(model_id, ""))
        tests = mean_errors(output.get("scores") or {})
        found.append(Errors(output["generation"], model_id, sum(labels.values()) if labels else None, tests))
    return found


def mean_errors(scores: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Test set -> task -> mean absolute error, from the scores of an evaluation or of a ModelRecord."""
    tests = scores.get("tests") or {ONLY: scores.get("model") or {}}
    found = {name: {task: test[task]["mae"] for task in TASKS if task in test} for name, test in tests.items()}
    return {name: errors for name, errors in found.items() if errors}


def _of_model(errors: Sequence[Errors], champion: ModelRecord | None) -> Mapping[str, Mapping[str, float]]:
    """Errors of the model in use, which targets are about; of the newest model where none is."""
    if champion is not None:
        return mean_errors(champion.scores)
    return errors[-1].tests if errors else {}


def _targets(wanted: Mapping[Any, TargetOptions], errors: Mapping[str, Mapping[str, float]]) -> list[Target]:
    return [
        Target(str(test), task, bound, errors.get(test, {}).get(task))
        for test, options in wanted.items()
        for task in TASKS
        if (bound := getattr(options, task)) is not None
    ]


def _promotion(store: SpinStore, campaign: str) -> Document | None:
    """The newest entry of the promotion log; None in stores that have none."""
    log = history(store, campaign)
    if not log:
        return None
    record = store.get_model(log[-1].model_id)
    told = _told(log[-1], "action", "model_id", "by", "reasons", "created") or {}
    return {**told, "generation": record.generation if record else None}


def _retraining(store: SpinStore, campaign: str) -> Document | None:
    log = retrainings(store, campaign)
    return _told(log[-1] if log else None, "why", "started", "ended", "outcome", "reasons")


def _told(item: Any, *names: str) -> Document | None:
    """Those fields of a document; None for None."""
    return None if item is None else {name: getattr(item, name) for name in names}


def _stopped_because(jobs: Sequence[CampaignJob]) -> str:
    decisions = [job.output for job in jobs if job.kind in ("decide", "select") and job.output]
    last = decisions[-1] if decisions else {}
    return str(last.get("why", "")) if last.get("stop") else ""


def _failures(jobs: Sequence[CampaignJob], folder: Path) -> list[Failure]:
    """Jobs that failed, then the newest labels without a result."""
    lost = sorted((job for job in jobs if job.failure), key=lambda job: job.completed, reverse=True)
    return [*_broken(jobs, folder), *(_lost(job, folder) for job in lost)][:MOST_FAILURES]


def _broken(jobs: Sequence[CampaignJob], folder: Path) -> Iterator[Failure]:
    for job in jobs:
        if job.state == "failed":
            error, file = error_of(job, folder)
            yield Failure(job.name, error or "no details on this machine", file)


def _lost(job: CampaignJob, folder: Path) -> Failure:
    path = folder / JOBS / job.folder
    return Failure(job.name, job.failure, str(path) if path.is_dir() else "", job.completed)
