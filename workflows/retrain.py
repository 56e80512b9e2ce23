"""Retrain a campaign's model on this machine: look whether it is due, lock, run the flow, keep a record, tell others.

Looking takes no lock and writes nothing, so it may be done every minute by every host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastore import SpinStore, open_store
from datastore.locks import Held, require_held
from datastore.retraining import Outcome, Retraining
from datastore.retrainings import ended, get_retraining, put_retraining, retrainings
from datastore.schema import content_hash
from workflows.campaign import CampaignError, CampaignOptions
from workflows.campaign_lock import campaign_lock
from workflows.engines import Engine
from workflows.notify import notify
from workflows.retrain_state import Survey, reasons, survey, with_drift

if TYPE_CHECKING:
    from workflows.flows.retrain import RetrainMaker

Event = dict[str, Any]
Watch = Callable[[Event], None]

WORTH_TELLING: tuple[Outcome, ...] = ("promoted", "refused", "failed")
"""Outcomes that others are notified of."""


@dataclass(frozen=True)
class Looked:
    """What a look at the campaign found."""

    survey: Survey | None
    """None: no model is in use yet."""
    why: list[str] = field(default_factory=list)
    """Reasons to retrain; empty: nothing is due."""

    @property
    def has_work(self) -> bool:
        """Whether something has to be written: a retraining, labels to take in, or a notification."""
        return self.survey is not None and bool(self.why or self.survey.pending or self.survey.untold)


@dataclass(frozen=True)
class Retrained:
    """What :func:`retrain` did."""

    record: Retraining | None
    """Entry of the log of retrainings; None where nothing was due after all."""
    problems: list[str]
    """Of notifications, one line each."""


def look(options: CampaignOptions) -> Looked:
    """Whether a retraining is due. Writes nothing into the store; raises DataError where there is none."""
    with open_store(options.store, create=False) as store:
        return _look(store, options)


def retrain(
    options: CampaignOptions, engine: Engine, force: str = "", workers: int = 1, watch: Watch | None = None
) -> Retrained:
    """Finish an interrupted retraining, or make one where it is due or ``force`` gives a reason.

    ``watch`` receives the events of :func:`workflows.submit.run_local`. A failure is put on record and returned, with
    the model in use left as it is. Raises BusyError where something else works on the campaign, LockLostError where the
    lock was lost on the way, and CampaignError where no model is in use.
    """
    from workflows.flows.retrain import RetrainMaker

    with campaign_lock(options, "spinmultinet retrain") as held:
        maker = RetrainMaker(options, engine)
        _abandon(held.store, maker)
        looked = _look(held.store, options)
        if looked.survey is None:
            raise CampaignError(f"{options.name} has no model in use yet; finish it with: spinmultinet run CAMPAIGN")
        record = None
        if force or looked.why or looked.survey.pending:
            record = _run(maker, held, looked, force, workers, watch)
        return Retrained(record, _tell(held.store, options))


def _look(store: SpinStore, options: CampaignOptions) -> Looked:
    found = survey(store, options)
    if found is None:
        return Looked(None)
    found = with_drift(store, options, found)
    return Looked(found, reasons(found, options))


def _run(
    maker: RetrainMaker, held: Held, looked: Looked, force: str, workers: int, watch: Watch | None
) -> Retraining | None:
    """Run the flow, also where it turns out that nothing is due; returns what the log says of it."""
    from workflows.submit import RunError, run_local

    found, options = looked.survey, maker.options
    assert found is not None
    key = found.interrupted.key if found.interrupted else _key(found, looked.why, force)

    def guarded(event: Event) -> None:
        held.check()
        if watch is not None:
            watch(event)

    try:
        run_local(maker.make(key, force), options.store, Path(options.folder), workers, guarded)
    except RunError as error:
        require_held(held.store)
        begun = get_retraining(held.store, maker.retraining_id(key)) or maker.begun(
            key, found, [*([force] if force else []), *looked.why] or ["new labels to take in"]
        )
        put_retraining(held.store, ended(begun, "failed", [str(error)]))
    return get_retraining(held.store, maker.retraining_id(key))


def _key(found: Survey, why: list[str], force: str) -> str:
    """What stands for the work there is: the model in use, labels and what became of them, reasons, flags, failures.

    So a retraining that was decided is found done where it is asked for once more, and one that failed is tried again.
    """
    reason = [force] if force else why
    failures = sum(r.champion == found.champion.model_id and r.outcome == "failed" for r in found.log)
    flags = [flag.flag_id for flag in found.flags]
    labels = [found.unseen, found.pending, found.changed]
    return content_hash([found.champion.model_id, *labels, reason, flags, failures])


def _abandon(store: SpinStore, maker: RetrainMaker) -> None:
    """Close what was interrupted and cannot be continued, because the campaign file says something else now."""
    for record in retrainings(store, maker.options.name):
        if not record.outcome and record.fingerprint != maker.campaign.fingerprint:
            put_retraining(store, ended(record, "abandoned", ["the campaign file was changed on the way"]))


def _tell(store: SpinStore, options: CampaignOptions) -> list[str]:
    """Notify of every finished retraining that nobody was told of; each once, whatever comes of it."""
    wanted = options.active_learning.retrain
    problems = []
    for record in retrainings(store, options.name):
        if not record.outcome or record.notified:
            continue
        put_retraining(store, record.model_copy(update={"notified": True}))
        if record.outcome in WORTH_TELLING:
            problems += notify(told(record), wanted.notify, wanted.webhook)
    return problems


def told(record: Retraining) -> dict[str, Any]:
    """What others are told of a retraining: the entry of the log, without bookkeeping."""
    return record.model_dump(exclude={"schema_version", "key", "fingerprint", "notified", "flags"})
