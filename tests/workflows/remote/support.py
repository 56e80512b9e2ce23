"""A campaign for the project ``desk``, and looks into its queue."""

from pathlib import Path

from jobflow import JobStore

from datastore import open_store
from datastore.ingest import ingest
from datastore.snapshot import make_snapshot
from datastore.splits import SplitOptions
from tests.support.cli import tiny_campaign
from workflows.campaign import load_campaign
from workflows.flows import CampaignMaker
from workflows.remote.advance import tail_job
from workflows.remote.campaign import RemoteCampaign
from workflows.remote.routing import RemoteOptions

WORKERS = {"label": "labels", "train": "train", "light": "light"}
SHARED = dict.fromkeys(WORKERS.values(), True)


def campaign_of(folder: Path, **routing) -> RemoteCampaign:
    """The campaign that is in ``folder``, on this project."""
    options, engine = load_campaign(folder / "tiny.yaml")
    options_of_workers = RemoteOptions.model_validate({"workers": WORKERS, "shared": SHARED, **routing})
    return RemoteCampaign("desk", options_of_workers, CampaignMaker(options, engine))


def labels_of(campaign: RemoteCampaign):
    """Its first twelve labels, in no flow of the queue."""
    return [job for job, _ in campaign.maker.make().iterflow() if job.metadata["kind"] == "label"]


def tail_of_other(campaign: RemoteCampaign):
    """Tails of another campaign."""

    def made(uuids):
        tail = tail_job(campaign.options, uuids)
        tail.update_metadata({"campaign": "other"}, dynamic=False)
        return tail

    return made


def queue_documents(controller, kind: str):
    return list(controller.jobs.find({"job.metadata.kind": kind}))


def tails_of(controller):
    return queue_documents(controller, "advance")


def small_snapshot(folder: Path) -> Path:
    """A snapshot of the twelve labels of a small campaign, in ``folder``."""
    options, engine = load_campaign(tiny_campaign(folder))
    labels = [job for job, _ in CampaignMaker(options, engine).make().iterflow() if job.metadata["kind"] == "label"]
    with open_store("memory:") as store:
        for job in labels:
            job.run(JobStore(store.jobs))
        ingest(store)
        split = SplitOptions(fractions=[0.6, 0.2, 0.2], min_test=2)
        return make_snapshot(store, folder / "snapshot", criteria={}, options=split).folder
