"""The jobflow JobStore on top of the one store URI a campaign has."""

from __future__ import annotations

from typing import Any

from jobflow import JobStore

from datastore import SpinStore, open_store


class CampaignJobStore(JobStore):
    """JobStore whose documents live in the ``jobs`` collection of a :class:`SpinStore`."""

    spin_store: SpinStore

    def __init__(self, spin_store: SpinStore, **kwargs: Any):
        super().__init__(spin_store.jobs, **kwargs)
        self.spin_store = spin_store


def open_job_store(uri: str) -> CampaignJobStore:
    """Connected job store of a store URI such as ``local:PATH`` or ``mongodb://host/database``."""
    store = CampaignJobStore(open_store(uri))
    store.connect()
    return store
