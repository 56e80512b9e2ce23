"""A campaign on a cluster, as ``run --remote`` leaves it in the campaign's folder for its jobs in the queue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from workflows.campaign import CampaignOptions
from workflows.engines import get_engine
from workflows.flows import CampaignMaker
from workflows.jobs.files import write_atomically
from workflows.remote.routing import RemoteOptions, RemoteSetupError

FILE = "remote.json"
"""In the campaign's folder."""


@dataclass(frozen=True)
class RemoteCampaign:
    """A campaign that runs on a cluster: what to do, and where. ``held``: whether it is paused or cancelled."""

    project: str
    routing: RemoteOptions
    maker: CampaignMaker
    held: str = ""

    @property
    def options(self) -> CampaignOptions:
        """Of the campaign."""
        return self.maker.options

    def save(self) -> None:
        """Write it where the jobs in the queue find it; only its owner may read the store's URI."""
        maker = self.maker
        content = {
            "project": self.project,
            "held": self.held,
            "routing": self.routing.model_dump(mode="json"),
            "options": maker.options.model_dump(mode="json"),
            "engine": {**maker.engine.model_dump(mode="json", exclude_unset=True), "type": maker.engine.type},
            "hypers": maker.hypers,
            "baseline": maker.baseline,
        }
        write_atomically(maker.folder / FILE, json.dumps(content, indent=1), mode=0o600)


def load(folder: Path) -> RemoteCampaign:
    """What ``run --remote`` has written into a campaign's folder."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise RemoteSetupError(f"{path} is not there: start the campaign with spinmultinet run --remote") from None
    options = CampaignOptions.model_validate(content["options"])
    engine = get_engine(content["engine"])
    maker = CampaignMaker(options, engine, content["hypers"], content["baseline"])
    return RemoteCampaign(content["project"], RemoteOptions.model_validate(content["routing"]), maker, content["held"])
