"""Judge a model beside the one in use and write what was decided into the promotion log; for jobs and for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from datastore import SpinStore
from datastore.errors import DataError
from datastore.promotion import Promotion
from datastore.registry import SupersededError, history, promote, refuse, settle_status, standing
from datastore.schema import ModelRecord
from spinmultinet.committee import Committee
from spinmultinet.model import SpinMultiNet
from workflows.learning import PromoteOptions
from workflows.policy.promotion import Compared, Finding, Judgement, judge
from workflows.registry.checks import Tell, check_behaviour, check_finite, load_members
from workflows.registry.compare import FrozenTests, compare_models, frozen_tests
from workflows.registry.errors import UnfitModelError

TRIES = 5
"""Times that a model is judged again because another one was put to use meanwhile."""


@dataclass(frozen=True)
class Judged:
    """What was found about a model, and what follows."""

    judgement: Judgement
    unfit: bool = False
    """Whether its files are damaged, gone or foreign; nothing overrules that."""
    findings: list[Finding] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """What the log says about a model that was to be promoted."""

    promoted: bool
    reasons: list[str]
    entry: Promotion | None = None
    """None where nothing had to be written."""


def judge_model(
    store: SpinStore, record: ModelRecord, in_use: str, options: PromoteOptions, tell: Tell | None = None
) -> Judged:
    """Check a model, and compare it with the one in use (model_id; empty: none) on the same frozen tests."""
    try:
        _, members = load_members(record, store.uri)
        tests = frozen_tests(store, [record])
        findings = [
            Finding("files", True, f"{len(members)} members whole and as on record"),
            check_finite(members, tests.frames),
            *check_behaviour(members, tests.frames, options, tell),
        ]
    except UnfitModelError as error:
        return Judged(Judgement([str(error)], []), unfit=True)
    old = store.get_model(in_use) if in_use else None
    problem = _mixed(record, old) if old is not None else ""
    if problem:  # nothing overrules a failed check
        findings.append(
            Finding("level", False, f"model {in_use}, in use so far, {problem}; a campaign does not mix them")
        )
        return Judged(judge(None, options, findings), False, findings)
    compared, notes = _against(store, record, members, in_use)
    found = judge(compared, options, findings)
    lost = sorted(set(old.species) - set(record.species)) if old is not None else []
    if lost:
        found = replace(
            found, against=[*found.against, f"it does not know {', '.join(lost)}, which the model in use does"]
        )
    return Judged(replace(found, told=[*found.told, *notes]), False, findings, compared or [])


def decide(
    store: SpinStore, record: ModelRecord, options: PromoteOptions, by: str, tell: Tell | None = None
) -> Verdict:
    """Promote or refuse a model by the rules. The same question again gives the same answer and no second entry.

    A model that somebody went back from is not promoted again by rules, until a person puts it to use again.
    """
    rules = options.model_dump(mode="json")
    for _ in range(TRIES):
        in_use = standing(store, record.campaign).model_id
        known = _known(history(store, record.campaign), record.model_id, in_use, rules)
        if known is not None:
            settle_status(store, record.campaign)
            return known
        judged = judge_model(store, record, in_use, options, tell)
        told = {
            "rules": rules,
            "compared": [asdict(row) for row in judged.compared],
            "checks": [asdict(finding) for finding in judged.findings],
        }
        write = promote if judged.judgement.promote else refuse
        try:
            entry = write(store, record.campaign, record.model_id, by, judged.judgement.reasons, in_use, **told)
        except SupersededError:
            continue
        return Verdict(judged.judgement.promote, judged.judgement.reasons, entry)
    raise DataError(f"{record.campaign}: other models were put to use all the time; run the same command again")


def compare_records(store: SpinStore, old: ModelRecord, new: ModelRecord) -> tuple[list[Compared], FrozenTests]:
    """Both models on the same frozen labels, and these.

    Raises UnfitModelError for damaged files, DataError for models that are not comparable.
    """
    problem = _mixed(new, old)
    if problem:
        raise DataError(f"model {old.model_id} {problem}: their errors cannot be compared")
    members = [load_members(record, store.uri)[1] for record in (new, old)]
    tests = frozen_tests(store, [new, old])
    return compare_models(Committee(list(members[0])), Committee(list(members[1])), tests), tests


def _known(entries: Sequence[Promotion], model_id: str, in_use: str, rules: dict[str, object]) -> Verdict | None:
    """What the log says already about this model against the one in use, under the same rules."""
    about = [e for e in entries if model_id in (e.model_id, e.previous)]
    if model_id == in_use:
        last = [e for e in about if e.model_id == model_id and e.action != "refuse"]
        return Verdict(True, last[-1].reasons if last else ["is in use already"])
    used = [e for e in about if e.action == "rollback" or (e.action, e.model_id) == ("promote", model_id)]
    if used and used[-1].model_id != model_id:
        last_back = used[-1]
        why = f"{last_back.by} went back from it on {last_back.created[:10]}: {'; '.join(last_back.reasons)}"
        return Verdict(False, [f"{why}; to use it all the same: spinmultinet models promote"])
    same = [e for e in about if (e.action, e.model_id, e.previous) == ("refuse", model_id, in_use)]
    if same and same[-1].rules == rules:
        return Verdict(False, same[-1].reasons)
    return None


def _against(
    store: SpinStore, record: ModelRecord, members: Sequence[SpinMultiNet], in_use: str
) -> tuple[list[Compared] | None, list[str]]:
    """Both models on the same labels, and notes; None and why, where there is no model that could be compared with."""
    if not in_use:
        return None, ["first model of the campaign: nothing to compare with"]
    old = store.get_model(in_use)
    if old is None:
        return None, [f"model {in_use}, in use so far, is not in the store: nothing to compare with"]
    try:
        _, others = load_members(old, store.uri)
    except UnfitModelError as error:
        return None, [f"the model in use so far cannot be used, so nothing is compared: {error}"]
    tests = frozen_tests(store, [record, old])
    return compare_models(Committee(list(members)), Committee(list(others)), tests), left_out(tests)


def left_out(tests: FrozenTests) -> list[str]:
    """One line for each reason why labels of the test split are not compared on."""
    reasons = {
        "one of the models was trained on them": tests.left_out,
        "one of the models does not know all of their elements": tests.unknown,
    }
    return [f"{n} labels of the test split were left out: {why}" for why, n in reasons.items() if n]


def _mixed(new: ModelRecord, old: ModelRecord) -> str:
    if old.level_id != new.level_id:
        return f"is of another level of theory ({old.level_id}, now {new.level_id})"
    if old.moment_role != new.moment_role:
        return f"takes input moments as {old.moment_role}, not as {new.moment_role}"
    return ""
