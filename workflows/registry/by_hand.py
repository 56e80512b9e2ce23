"""Promotions and rollbacks that a person asks for: the same checks, and a comparison that can be overruled."""

from __future__ import annotations

from dataclasses import asdict

from datastore import SpinStore
from datastore.errors import DataError
from datastore.promotion import Promotion
from datastore.registry import before, promote, rollback, standing
from datastore.schema import ModelRecord
from workflows.learning import PromoteOptions
from workflows.registry.checks import Tell, load_members
from workflows.registry.errors import RefusedError, UnfitModelError
from workflows.registry.judging import Judged, judge_model


def promote_by_hand(
    store: SpinStore,
    record: ModelRecord,
    options: PromoteOptions,
    by: str,
    reason: str,
    force: bool = False,
    tell: Tell | None = None,
) -> Promotion:
    """Check a model, compare it with the one in use and put it to use. ``force`` overrules the comparison only.

    Raises UnfitModelError for damaged, missing or foreign files and for a model of another level of theory than the one
    in use; RefusedError where a check fails, or the comparison speaks against it without ``force``; DataError where it
    is in use already.
    """
    now = standing(store, record.campaign)
    if now.model_id == record.model_id:
        raise DataError(f"model {record.model_id} is in use already")
    _check_level(store, record, now.model_id)
    judged = judge_model(store, record, now.model_id, options, tell)
    _refuse(record, judged, force)
    overruled = [] if judged.judgement.promote else ["promoted against the rules of comparison:"]
    return promote(
        store,
        record.campaign,
        record.model_id,
        by,
        [reason, *overruled, *judged.judgement.reasons],
        now.model_id,
        compared=[asdict(row) for row in judged.compared],
        checks=[asdict(finding) for finding in judged.findings],
    )


def rollback_by_hand(store: SpinStore, campaign: str, by: str, reason: str, to: str = "") -> Promotion:
    """Go back to the model in use before, or to an earlier one (``to``, model_id), if its files are whole.

    Raises UnfitModelError where they are not, DataError where there is no such model.
    """
    target = to or before(store, campaign)
    record = store.get_model(target)
    if record is None:
        raise DataError(f"model {target} is not in this store; restore it from a backup, or name another with --to")
    load_members(record, store.uri)
    return rollback(store, campaign, by, reason, target)


def _check_level(store: SpinStore, record: ModelRecord, in_use: str) -> None:
    old = store.get_model(in_use) if in_use else None
    if old is not None and old.level_id != record.level_id:
        raise UnfitModelError(
            f"model {record.model_id} is of level of theory {record.level_id}, the one in use of {old.level_id}: a "
            "campaign does not mix them"
        )


def _refuse(record: ModelRecord, judged: Judged, force: bool) -> None:
    reasons = "; ".join(judged.judgement.against)
    if judged.unfit:
        raise UnfitModelError(reasons)
    failed = [finding.text for finding in judged.findings if not finding.passed]
    if failed:
        raise RefusedError(f"model {record.model_id} fails a check, which nothing overrules: {'; '.join(failed)}")
    if not judged.judgement.promote and not force:
        raise RefusedError(f"model {record.model_id} is not promoted: {reasons}; --force overrules this comparison")
