"""The promotion log: which model a campaign uses. Appended to only; one atomic write decides.

Entries of a campaign are numbered. An entry is stored only where its number is free, so of several writers (jobs,
people, hosts) one is next and the others look again: no clock decides, and a kill at any moment leaves the model of
before or the new one in use, never none or two. ``ModelRecord.status`` follows for queries (:func:`settle_status`).
Stores written before the log have the model whose status is ``champion``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from datastore.errors import DataError
from datastore.locks import require_held
from datastore.promotion import Promotion
from datastore.schema import ModelRecord
from datastore.stores import SpinStore, explained, insert_new, stamped
from datastore.upgrade import parse

Status = Literal["candidate", "champion", "retired"]


class SupersededError(DataError):
    """Another model was put to use meanwhile; what was judged against the one before has to be judged again."""


@dataclass(frozen=True)
class Standing:
    """Which model a campaign uses, as of the newest entry of its log."""

    campaign: str
    number: int
    """Of the newest entry; 0 where there is none."""
    model_id: str
    """Empty where no model is in use."""


def standing(store: SpinStore, campaign: str) -> Standing:
    """What is in use now, in one read."""
    with explained(store.uri):
        newest = list(store.promotions.query({"campaign": campaign}, sort={"number": -1}, limit=1))
    if newest:
        entry = parse(Promotion, newest[0])
        return Standing(campaign, entry.number, entry.champion)
    old = store.get_models(campaign=campaign, status="champion")
    return Standing(campaign, 0, old[-1].model_id if old else "")


def champion(store: SpinStore, campaign: str) -> ModelRecord | None:
    """Record of the model in use; None where no model was promoted. Raises DataError where its record is gone."""
    model_id = standing(store, campaign).model_id
    if not model_id:
        return None
    record = store.get_model(model_id)
    if record is None:
        raise DataError(
            f"the log says that {campaign} uses model {model_id}, which is not in this store; restore it from a "
            "backup, or go back to another: spinmultinet models rollback PLACE --to MODEL"
        )
    return record


def history(store: SpinStore, campaign: str) -> list[Promotion]:
    """The whole log of a campaign, oldest first."""
    with explained(store.uri):
        found = list(store.promotions.query({"campaign": campaign}, sort={"number": 1}))
    return [parse(Promotion, document) for document in found]


def campaigns(store: SpinStore) -> list[str]:
    """Names of all campaigns that have models, in the order of their names."""
    with explained(store.uri):
        return sorted({*store.models.distinct("campaign"), *store.promotions.distinct("campaign")})


def resolve(store: SpinStore, name: str) -> ModelRecord:
    """Record of the model whose id ``name`` is or begins. Raises DataError where it fits none, or several."""
    found = [record for record in store.get_models() if name and record.model_id.startswith(name)]
    exact = [record for record in found if record.model_id == name]
    if not found:
        raise DataError(f"no model {name!r} in this store; list models with: spinmultinet models list PLACE")
    if len(found) > 1 and not exact:
        ids = ", ".join(record.model_id for record in found[:3])
        raise DataError(f"{name!r} fits several models ({ids}...); give more of the id")
    return (exact or found)[0]


def promote(
    store: SpinStore, campaign: str, model_id: str, by: str, reasons: list[str], judged_against: str, **told: Any
) -> Promotion:
    """Put a model to use in place of ``judged_against`` (model_id; empty: none).

    ``told``: ``rules``, ``compared``, ``checks`` of :class:`~datastore.promotion.Promotion`. Raises SupersededError
    where another model is in use by now, and DataError where the model is not in the store.
    """
    return _append(store, campaign, "promote", model_id, by, reasons, judged_against, told)


def refuse(
    store: SpinStore, campaign: str, model_id: str, by: str, reasons: list[str], judged_against: str, **told: Any
) -> Promotion:
    """Note that a model was judged and not put to use. Arguments and errors as :func:`promote`."""
    return _append(store, campaign, "refuse", model_id, by, reasons, judged_against, told)


def rollback(store: SpinStore, campaign: str, by: str, reason: str, to: str = "", **told: Any) -> Promotion:
    """Go back to the model in use before, or to an earlier one (``to``, model_id). Returns the entry.

    Raises DataError where there is no such model, or ``to`` never was in use.
    """
    now = standing(store, campaign).model_id
    target = to or before(store, campaign)
    if target == now:
        raise DataError(f"model {target} is in use already")
    if target not in used(store, campaign):
        raise DataError(
            f"model {target} never was in use, so there is no going back to it; use: spinmultinet models promote"
        )
    return _append(store, campaign, "rollback", target, by, [reason], now, told)


def before(store: SpinStore, campaign: str) -> str:
    """model_id that a rollback goes back to: a second rollback goes further back, not forth again.

    Raises DataError where there is none.
    """
    line: list[str] = []
    for entry in history(store, campaign):
        if not line and entry.previous:
            line.append(entry.previous)  # of a store written before the log
        if entry.action == "rollback" and entry.model_id in line:
            del line[line.index(entry.model_id) + 1 :]
        elif entry.action != "refuse":
            line.append(entry.model_id)
    if len(line) < 2:
        raise DataError(f"{campaign} has used no other model before, so there is nothing to go back to")
    return line[-2]


def used(store: SpinStore, campaign: str) -> set[str]:
    """model_ids that are or once were in use."""
    entries = history(store, campaign)
    return {entry.champion for entry in entries} | {entry.previous for entry in entries} - {""}


def settle_status(store: SpinStore, campaign: str) -> None:
    """Put ``status`` of the campaign's records right: what the log says. Idempotent; safe beside other writers."""
    seen = -1
    while (now := standing(store, campaign)).number != seen:
        seen = now.number
        once = used(store, campaign)
        for record in store.get_models(campaign=campaign):
            status = _status(record, now.model_id, once)
            if record.status != status:
                store.put_model(record.model_copy(update={"status": status}))


def problems(store: SpinStore) -> Iterator[tuple[str, str]]:
    """What is wrong with the log as a whole: id of an entry, and what about it."""
    with explained(store.uri):
        names = [name for name in store.promotions.distinct("campaign") if isinstance(name, str)]
    for campaign in names:
        last: Promotion | None = None
        for entry in history(store, campaign):
            number = 1 if last is None else last.number + 1
            if entry.number != number:
                yield entry.promotion_id, f"entry {number} before it is missing"
            elif last is not None and entry.previous != last.champion:
                yield entry.promotion_id, f"replaces model {entry.previous or 'none'}, not {last.champion or 'none'}"
            if store.get_model(entry.model_id) is None:
                yield entry.promotion_id, f"is about model {entry.model_id}, which is not there"
            last = entry


def _status(record: ModelRecord, in_use: str, once: set[str]) -> Status:
    if record.model_id == in_use:
        return "champion"
    return "retired" if record.model_id in once or record.status != "candidate" else "candidate"


def _append(
    store: SpinStore,
    campaign: str,
    action: str,
    model_id: str,
    by: str,
    reasons: list[str],
    judged_against: str,
    told: dict[str, Any],
) -> Promotion:
    """The next entry. Where another writer was faster and the model in use is the same, the one after."""
    if not by.strip() or not all(reason.strip() for reason in reasons):
        raise DataError("an entry of the promotion log needs a name and a reason; give both")
    if store.get_model(model_id) is None:
        raise DataError(f"no model {model_id} in this store; list models with: spinmultinet models list PLACE")
    while True:
        now = standing(store, campaign)
        if now.model_id != judged_against:
            raise SupersededError(
                f"{campaign} uses model {now.model_id or 'none'} by now, and {model_id} was judged against "
                f"{judged_against or 'none'}; judge it again"
            )
        entry = Promotion.model_validate(
            {
                **{"campaign": campaign, "number": now.number + 1, "action": action, "model_id": model_id},
                **{"previous": judged_against, "by": by.strip(), "reasons": reasons, **told},
                "created": datetime.now(UTC).isoformat(timespec="microseconds"),
            }
        )
        require_held(store)  # a run that lost its lock decides nothing
        with explained(store.uri):
            if insert_new(store.promotions, stamped(entry.to_document())):
                break
    settle_status(store, campaign)
    return entry
