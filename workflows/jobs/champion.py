"""The model that a campaign uses now, which need not be the one that its last round ended with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datastore import SpinStore, open_store
from datastore.errors import DataError
from datastore.promotion import Promotion
from datastore.registry import history
from datastore.retrainings import retrainings
from workflows.campaign import CampaignOptions
from workflows.registry.files import in_use


def with_champion(options: CampaignOptions, previous: dict[str, Any]) -> dict[str, Any]:
    """``previous`` with the ``champion`` that the promotion log names, which a retraining or a person may have changed.

    ``previous``: output of the promotion of a round. What came into use after the next round was judged belongs to
    that one: a round that is looked at again goes on as it did. Raises DataError where the model is not in the store.
    """
    with open_store(options.store) as store:
        used = _used_after(store, options.name, previous["model_id"])
        if used is None or used == (previous.get("champion") or {}).get("model_id", ""):
            return previous
        record = store.get_model(used) if used else None
        if used and record is None:
            raise DataError(f"model {used}, in use so far, is not in the store; restore it from a backup")
        return {**previous, "champion": None if record is None else in_use(record, options.store)}


def _used_after(store: SpinStore, campaign: str, model_id: str) -> str | None:
    """model_id in use from the round that made ``model_id`` to the next one; None where the log does not say."""
    log = history(store, campaign)
    judged = [place for place, entry in enumerate(log) if entry.model_id == model_id and entry.action != "rollback"]
    retrained = {record.model_id for record in retrainings(store, campaign)}
    following = {r.model_id for r in store.get_models(campaign=campaign) if model_id in r.parents} - retrained
    until = _until_next(log[judged[0] :] if judged else log, following - {model_id})
    return until[-1].champion if until else None


def _until_next(log: Sequence[Promotion], following: set[str]) -> list[Promotion]:
    places = [place for place, entry in enumerate(log) if entry.model_id in following]
    return list(log[: places[0]] if places else log)
