"""The jobflow JobStore on top of the one store URI a campaign has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobflow import JobStore

from datastore import SpinStore, open_store
from workflows.trusted import check


class CampaignJobStore(JobStore):
    """JobStore whose documents live in the ``jobs`` collection of a :class:`SpinStore`.

    Documents are checked (:mod:`workflows.trusted`), because jobflow decodes outputs that jobs refer to.
    """

    spin_store: SpinStore

    def __init__(self, spin_store: SpinStore, **kwargs: Any):
        super().__init__(spin_store.jobs, **kwargs)
        self.spin_store = spin_store

    def query(self, *args: Any, **kwargs: Any) -> Iterator[dict[str, Any]]:
        """As jobflow's. Raises UntrustedError for a document that names what it should not."""
        for document in super().query(*args, **kwargs):
            check(document, f"output of job {document.get('uuid', 'in the store')}")
            yield document


def open_job_store(uri: str) -> CampaignJobStore:
    """Connected job store of a store URI such as ``local:PATH`` or ``mongodb://host/database``."""
    store = CampaignJobStore(open_store(uri))
    store.connect()
    return store
