"""The label job: one configuration, one engine, one document."""

from __future__ import annotations

import errno
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jobflow import Job, job

from datastore.checksums import sealed
from datastore.schema import SpinConfig, point_id
from workflows.engines import Engine, LabelError
from workflows.engines.clock import Clock
from workflows.engines.interface import TryLaterError
from workflows.names import short_name

NAMESPACE = uuid.UUID("6d1f7c1e-57a3-4f0e-9d51-3a1f3a1a9c10")
"""Job uuids are uuid5 in this namespace, so the same work has the same uuid in every run. Never change it."""


def stable_uuid(*parts: str) -> str:
    """Uuid of the work described by ``parts``."""
    return str(uuid.uuid5(NAMESPACE, "|".join(parts)))


def label_uuid(config_id: str, level_id: str) -> str:
    """Uuid of the job that labels a configuration at a level of theory."""
    return stable_uuid("label", point_id(config_id, level_id))


@dataclass(frozen=True)
class Finished:
    """A label job that has run. Stands for it where labels are too many to be passed by reference."""

    uuid: str
    point_id: str

    @property
    def output(self) -> dict[str, str]:
        """As far as other jobs refer to it."""
        return {"point_id": self.point_id}


LabelJob = Job | Finished


def label_job(engine: Engine, config: SpinConfig, campaign: str = "") -> Job:
    """Job that labels ``config``; its uuid is that of the point, so no run computes it twice.

    ``campaign`` pays for it where another one asked for the configuration.
    """
    payer = {"calculated_by": campaign} if campaign and campaign != config.campaign else {}
    new: Job = label(engine, config, **payer)
    new.name = f"{engine.type} {config.formula} {short_name(config.ordering)} {config.deformation}"
    new.set_uuid(label_uuid(config.config_id, engine.level_id()))
    new.update_metadata({"kind": "label"}, dynamic=False)
    return new


@job
def label(engine: Engine, config: SpinConfig, calculated_by: str = "") -> dict[str, Any]:
    """SpinPoint document, or SpinFailure document where the calculation gave no label, with its checksum.

    A failure is an output like any other: it is recorded, and the campaign goes on.
    """
    clock = Clock(engine.cores())
    try:
        done = engine.label(config, workdir=Path.cwd()).to_document()
        return sealed({**done, "calculated_by": calculated_by})
    except LabelError as error:
        return sealed({**engine.failure(config, error).to_document(), "calculated_by": calculated_by})
    except TryLaterError:
        raise
    except Exception as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise  # a full disk says nothing about the configuration: stop, so that it is tried again
        crash = LabelError(f"{type(error).__name__}: {error}", "crashed", clock.spent())
        return sealed({**engine.failure(config, crash).to_document(), "calculated_by": calculated_by})


def crash_document(lost: Job, reason: str, seconds: float, workdir: Path | None = None) -> dict[str, Any]:
    """Job-store document of a label job whose process vanished after ``seconds``, as a recorded failure.

    Its files in ``workdir`` are tidied, as it can no longer do so.
    """
    engine, config = lost.function_args
    if workdir is not None:
        engine.tidy(workdir)
    spent = {"wall": seconds, "cores": float(engine.cores())}
    failure = engine.failure(config, LabelError(reason, "crashed", spent))
    completed = datetime.now().isoformat()  # as jobflow writes it; ingest tells a second crash from the first by it
    return {
        "output": sealed({**failure.to_document(), **lost.function_kwargs}),
        "name": lost.name,
        "metadata": lost.metadata,
        "hosts": lost.hosts,
        "completed_at": completed,
    }
