"""The log of retrainings of a campaign, and the flags that ask for one."""

from __future__ import annotations

from datetime import UTC, datetime

from datastore.errors import DataError
from datastore.retraining import DECIDED, Outcome, RetrainFlag, Retraining
from datastore.stores import SpinStore, explained, stamped
from datastore.upgrade import parse


def put_retraining(store: SpinStore, record: Retraining) -> None:
    """Store a retraining, replacing the document of its id."""
    with explained(store.uri):
        store.retrainings.update(stamped(record.to_document()))


def retrainings(store: SpinStore, campaign: str) -> list[Retraining]:
    """All retrainings of a campaign, oldest first."""
    with explained(store.uri):
        found = list(store.retrainings.query({"campaign": campaign}))
    return sorted((parse(Retraining, document) for document in found), key=lambda r: (r.started, r.retraining_id))


def get_retraining(store: SpinStore, retraining_id: str) -> Retraining | None:
    """One retraining, None where there is none of this id."""
    with explained(store.uri):
        document = store.retrainings.query_one({"retraining_id": retraining_id})
    return None if document is None else parse(Retraining, document)


def ended(record: Retraining, outcome: Outcome, why: list[str]) -> Retraining:
    """The entry of a retraining that comes to its end now, for these reasons."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return record.model_copy(update={"outcome": outcome, "reasons": why, "ended": now})


def raise_flag(store: SpinStore, campaign: str, reason: str, author: str = "") -> RetrainFlag:
    """Ask for a retraining. Raises DataError without a reason."""
    if not reason.strip():
        raise DataError("a flag needs a reason; give one")
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    flag = RetrainFlag(campaign=campaign, reason=reason.strip(), author=author, created=created)
    with explained(store.uri):
        store.retrain_flags.update(stamped(flag.to_document()))
    return flag


def open_flags(store: SpinStore, campaign: str, log: list[Retraining]) -> list[RetrainFlag]:
    """Flags of a campaign that no retraining in ``log`` has answered with a decision, oldest first."""
    answered = {flag for record in log if record.outcome in DECIDED for flag in record.flags}
    with explained(store.uri):
        found = [parse(RetrainFlag, document) for document in store.retrain_flags.query({"campaign": campaign})]
    return sorted((flag for flag in found if flag.flag_id not in answered), key=lambda flag: flag.created)
