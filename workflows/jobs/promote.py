"""The job that decides whether a new model takes the place of the one in use."""

from __future__ import annotations

from typing import Any

from jobflow import Job, job

from datastore import SpinStore, open_store
from datastore.errors import DataError
from datastore.model_files import open_model_store
from datastore.registry import champion, promote, settle_status, standing
from workflows.campaign import CampaignOptions
from workflows.jobs.label import stable_uuid
from workflows.progress import report
from workflows.registry.errors import UnfitModelError
from workflows.registry.files import in_use, keep_files


def promote_job(options: CampaignOptions, evaluated: Job) -> Job:
    """Job that judges the model of ``evaluated`` beside the one in use, on the same frozen tests."""
    new: Job = promote_model(options, evaluated.output)
    new.name = "promote"
    new.set_uuid(stable_uuid("promote", evaluated.uuid))
    new.update_metadata({"kind": "promote"}, dynamic=False)
    return new


@job
def promote_model(options: CampaignOptions, evaluated: dict[str, Any]) -> dict[str, Any]:
    """``evaluated`` with ``promoted``, ``reasons`` and the ``champion`` from here on, whichever model that is.

    Run again after a kill it finds its entry in the promotion log and writes no second one.
    """
    from workflows.registry.judging import decide

    with open_store(options.store) as store:
        record = store.get_model(evaluated["model_id"])
        if record is None:
            raise DataError(f"no model {evaluated['model_id']} in the store; run the campaign again")
        try:
            record = keep_files(store, record, open_model_store(options.models, options.store))
        except UnfitModelError as error:
            report(0.0, str(error))  # the same is found, and written down, when it is judged
        verdict = decide(store, record, options.active_learning.promote, f"campaign {options.name}", report)
        used = champion(store, options.name)
        return {
            **evaluated,
            "promoted": verdict.promoted,
            "reasons": verdict.reasons,
            "champion": None if used is None else in_use(used, options.store),
        }


def put_in_use(store: SpinStore, campaign: str, model_id: str) -> None:
    """Make a model the campaign's champion without comparing it, where the campaign has no promotion log.

    Flows of before the log ask for it. Where there is one, it decides: what was gone back from, refused or never judged
    stays out of use.
    """
    now = standing(store, campaign)
    if now.number or now.model_id == model_id:
        settle_status(store, campaign)
        return
    promote(store, campaign, model_id, f"campaign {campaign}", ["put to use without a comparison"], now.model_id)
