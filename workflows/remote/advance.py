"""A campaign on a cluster moves on: results are taken in, light jobs run here, heavy ones go to the queue.

``spinmultinet run CAMPAIGN --remote PROJECT`` does it once, by hand. After that the job :func:`advance` does, behind
each flow of the queue. All of it may be repeated at any time: what is done is found, what is in the queue stays there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from jobflow import Job, JobConfig, OnMissing, OutputReference, job

from datastore.locks import BusyError, Held
from workflows.campaign import CampaignOptions
from workflows.remote.campaign import RemoteCampaign, load
from workflows.remote.queue import ADVANCE
from workflows.submit import Event, RunResult, run_local

if TYPE_CHECKING:
    from workflows.remote.elsewhere import Queue

BUSY_PAUSE = 2.0
"""Seconds between two looks whether the campaign is free."""

PATIENCE = 24 * 3600.0
"""Seconds that a job in the queue waits for its campaign; a retraining may take long."""


@dataclass(frozen=True)
class Advanced:
    """What one advance did. ``in_queue``: heavy jobs of the campaign that are in the queue now."""

    run: RunResult
    submitted: int
    retried: int
    in_queue: int

    @property
    def finished(self) -> bool:
        """Whether nothing of the campaign is left to do."""
        return not self.run.away


def advance_campaign(
    campaign: RemoteCampaign,
    watch: Callable[[Event], None] | None = None,
    asked: bool = False,
    patience: float = 0.0,
) -> Advanced:
    """Take in, run light jobs until none is ready, hand over heavy ones.

    ``asked``: a person wants it, so failed jobs that wait for people are tried again. Waits up to ``patience`` seconds
    where something else works on the campaign, then raises BusyError. Raises RemoteSetupError for a project that does
    not fit, RunError where jobs failed for good.
    """
    from workflows.campaign_lock import watched
    from workflows.remote.control import held_back
    from workflows.remote.elsewhere import Queue
    from workflows.remote.queue import check_project, open_queue

    options = campaign.options
    with _lock(campaign, patience) as held, open_queue(campaign.project) as controller:
        check_project(controller, options.store, campaign.routing)
        queue = Queue(controller, campaign.routing, options, tail_job, asked, lambda: load(campaign.maker.folder).held)
        try:
            result = _run(campaign, queue, watched(held, watch or (lambda event: None)))
        finally:
            if how := load(campaign.maker.folder).held:  # by somebody, meanwhile
                held_back(controller, options.name, how)
        return Advanced(result, queue.submission.submitted, len(queue.submission.retried), queue.waiting())


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
    """Hold the campaign; wait for whoever else does, so that the news of two jobs that end together is not lost."""
    from workflows.campaign_lock import campaign_lock

    until = time.monotonic() + patience
    with ExitStack() as stack:
        while True:
            try:
                owner = f"spinmultinet run --remote {campaign.project}"
                held = stack.enter_context(campaign_lock(campaign.options, owner))
                break
            except BusyError:
                if time.monotonic() > until:
                    raise
                time.sleep(BUSY_PAUSE)
        yield held


@job(config=JobConfig(resolve_references=False, on_missing_references=OnMissing.NONE))
def advance(folder: str, after: Sequence[OutputReference]) -> dict[str, Any]:
    """Advance the campaign in ``folder``, in the queue. ``after``: what it follows, done or failed; not looked at."""
    campaign = load(Path(folder))
    if campaign.held:
        return {"held": campaign.held}
    done = advance_campaign(campaign, patience=PATIENCE)
    return {"light": done.run.executed, "submitted": done.submitted, "retried": done.retried, "queue": done.in_queue}


def tail_job(options: CampaignOptions, uuids: Sequence[str]) -> Job:
    """The job that advances a campaign once those with these uuids have ended."""
    new: Job = advance(str(Path(options.folder).resolve()), [OutputReference(uuid) for uuid in uuids])
    new.set_uuid(str(uuid4()))
    new.name = f"advance {options.name}"
    new.update_metadata({"kind": ADVANCE, "campaign": options.name}, dynamic=False)
    return new
