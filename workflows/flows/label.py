"""A flow of independent label jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jobflow import Flow, Maker

from datastore.schema import SpinConfig
from workflows.engines import Engine
from workflows.jobs.label import label_job


@dataclass
class LabelFlowMaker(Maker):
    """Label every configuration with ``engine``, one job each.

    Parameters
    ----------
    engine
        Any engine of :func:`workflows.engines.get_engine`.
    name
        Name of the flows it makes.
    campaign
        Pays for the calculations, also of configurations that another campaign asked for.
    """

    engine: Engine
    name: str = "label"
    campaign: str = ""

    def make(self, configs: Iterable[SpinConfig]) -> Flow:
        """Flow whose jobs output one SpinPoint (or SpinFailure) document each; equal configurations give one job."""
        jobs = {job.uuid: job for job in (label_job(self.engine, config, self.campaign) for config in configs)}
        return Flow(list(jobs.values()), name=self.name)
