"""Who works on a campaign: one run or one retraining at a time, on this machine and on all others.

Two locks. That of the folder (:mod:`workflows.run_lock`) the kernel releases at once, whatever happens to the holder.
That of the store (:mod:`datastore.locks`) is seen by other hosts, and lets a holder that lost it notice in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datastore import open_store
from datastore.locks import TTL, Held, lock
from workflows.campaign import CampaignOptions
from workflows.run_lock import run_lock


def lock_name(campaign: str) -> str:
    """Name of a campaign's lock in its store."""
    return f"campaign {campaign}"


@contextmanager
def campaign_lock(options: CampaignOptions, owner: str, ttl: float = TTL) -> Iterator[Held]:
    """Hold a campaign while the block runs; ``owner`` says what is done with it, for people.

    Raises BusyError, which names the holder, where something else runs on the campaign.
    """
    folder = Path(options.folder)
    with run_lock(folder), open_store(options.store) as store, lock(store, lock_name(options.name), owner, ttl) as held:
        yield held


def watched(held: Held, watch: Callable[[Any], None]) -> Callable[[Mapping[str, Any]], None]:
    """``watch`` of a run, which ends with LockLostError once its lock is lost: nothing is begun after that."""

    def guarded(event: Mapping[str, Any]) -> None:
        held.check()
        watch(event)

    return guarded
