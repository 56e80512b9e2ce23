"""A campaign on a cluster moves on: results are taken in, light jobs run here, heavy ones go to the queue.

``spinmultinet run CAMPAIGN --remote PROJECT`` does it once, by hand. After that the job :func:`advance` does, behind
each flow of the queue. All of it may be repeated at any time: what is done is found, what is in the queue stays there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from jobflow import Job, JobConfig, OnMissing, OutputReference, job

from datastore.locks import BusyError, Held
from workflows.campaign import CampaignOptions
from workflows.remote.campaign import RemoteCampaign, load
from workflows.remote.queue import ADVANCE
from workflows.submit import Event, RunError, RunResult, run_local

if TYPE_CHECKING:
    from workflows.remote.elsewhere import Queue

BUSY_PAUSE = 2.0
"""Seconds between two looks whether the campaign is free."""

PATIENCE = 300.0
"""Seconds that a job in the queue waits for its campaign. It has one of few slots, which other campaigns need."""

NEWS = "remote.news"
"""File in the campaign's folder: somebody who could not wait has news. Whoever advances it then looks once more."""

REPORT = "report.html"


@dataclass(frozen=True)
class Advanced:
    """What one advance did. ``in_queue``: heavy jobs of the campaign that are in the queue now.

    ``unwanted``: those of them that its flow has not, because the campaign file was edited.
    """

    run: RunResult
    submitted: int
    retried: int
    in_queue: int
    unwanted: int = 0

    @property
    def finished(self) -> bool:
        """Whether nothing of the campaign is left to do."""
        return not self.run.away


def advance_campaign(
    campaign: RemoteCampaign,
    watch: Callable[[Event], None] | None = None,
    asked: bool = False,
    patience: float = 0.0,
    first: Callable[[], None] | None = None,
) -> Advanced:
    """Take in, run light jobs until none is ready, hand over heavy ones.

    ``asked``: a person wants it, so failed jobs that wait for people are tried again. Waits up to ``patience`` seconds
    where something else works on the campaign, then raises BusyError. ``first`` is called when the campaign is held and
    its project fits. Raises RemoteSetupError for a project that does not fit, RunError where jobs failed for good.
    """
    done = None
    while True:
        try:
            new = _advance(campaign, watch or (lambda event: None), asked, patience, first)
            done = new if done is None else _both(done, new)
        except RunError:
            if not _news(campaign).exists():
                raise
        except BusyError:
            if done is None:
                raise
            return done  # that one has seen the news, or will
        if done is not None and not _news(campaign).exists():
            return done
        asked, first, patience = False, None, 0.0


def _advance(
    campaign: RemoteCampaign,
    watch: Callable[[Event], None],
    asked: bool,
    patience: float,
    first: Callable[[], None] | None,
) -> Advanced:
    from workflows.campaign_lock import watched
    from workflows.remote.control import held_back
    from workflows.remote.elsewhere import Queue
    from workflows.remote.queue import check_project, open_queue

    options = campaign.options
    with _lock(campaign, patience) as held, open_queue(campaign.project) as controller:
        check_project(controller, options.store, campaign.routing)
        _news(campaign).unlink(missing_ok=True)
        if first is not None:
            first()
        queue = Queue(controller, campaign.routing, options, tail_job, asked, lambda: load(campaign.maker.folder).held)
        try:
            result = _run(campaign, queue, watched(held, watch))
        finally:
            if how := load(campaign.maker.folder).held:  # by somebody, meanwhile
                held_back(controller, options.name, how)
        handed, again = queue.submission.submitted, len(queue.submission.retried)
        return Advanced(result, handed, again, queue.waiting(), queue.unwanted(result.uuids))


def _both(before: Advanced, after: Advanced) -> Advanced:
    after.run.executed += before.run.executed
    return replace(after, submitted=before.submitted + after.submitted, retried=before.retried + after.retried)


def _news(campaign: RemoteCampaign) -> Path:
    return campaign.maker.folder / NEWS


def _run(campaign: RemoteCampaign, queue: Queue, watch: Callable[[Any], None]) -> RunResult:
    """The graph of the campaign, again where the queue had results that were not looked for yet."""
    folder = Path(campaign.options.folder)
    while True:
        queue.tidy()  # here as well: jobs that failed end a run below
        queue.returned = False
        result = run_local(campaign.maker.make(), campaign.options.store, folder, watch=watch, elsewhere=queue)
        if not queue.returned:
            queue.tidy()
            return result


@contextmanager
def _lock(campaign: RemoteCampaign, patience: float) -> Iterator[Held]:
    """Hold the campaign; wait for whoever else does, so that the news of two jobs that end together is not lost.

    The news is left before the last try: where that fails, the holder ends later, and looks for it after its end.
    """
    from workflows.campaign_lock import campaign_lock

    until = time.monotonic() + patience
    last = False
    with ExitStack() as stack:
        while True:
            try:
                owner = f"spinmultinet run --remote {campaign.project}"
                held = stack.enter_context(campaign_lock(campaign.options, owner))
                break
            except BusyError:
                if last:
                    raise
                last = time.monotonic() >= until
                if last:
                    _news(campaign).touch()
                else:
                    time.sleep(BUSY_PAUSE)
        yield held


@job(config=JobConfig(resolve_references=False, on_missing_references=OnMissing.NONE))
def advance(folder: str, after: Sequence[OutputReference]) -> dict[str, Any]:
    """Advance the campaign in ``folder``, in the queue. ``after``: what it follows, done or failed; not looked at."""
    campaign = load(Path(folder))
    if campaign.held:
        return {"held": campaign.held}
    try:
        done = advance_campaign(campaign, patience=PATIENCE)
    except BusyError as error:
        return {"busy": str(error)}
    if done.finished:
        _report(campaign.options)
    return {"light": done.run.executed, "submitted": done.submitted, "retried": done.retried, "queue": done.in_queue}


def _report(options: CampaignOptions) -> None:
    """The report of a campaign that is at its end, as ``run`` leaves it."""
    from datastore import open_store
    from workflows.report import write_report
    from workflows.results import latest_evaluation

    path = Path(options.folder) / REPORT
    with open_store(options.store) as store:
        write_report(options, store, latest_evaluation(store, options.name), path)


def tail_job(options: CampaignOptions, uuids: Sequence[str]) -> Job:
    """The job that advances a campaign once those with these uuids have ended."""
    new: Job = advance(str(Path(options.folder).resolve()), [OutputReference(uuid) for uuid in uuids])
    new.set_uuid(str(uuid4()))
    new.name = f"advance {options.name}"
    new.update_metadata({"kind": ADVANCE, "campaign": options.name}, dynamic=False)
    return new
