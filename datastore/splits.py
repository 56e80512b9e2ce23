"""Which label goes to training, validation and test: pure functions on light-weight descriptions of the labels.

Labels that share a geometry or a pair_id form one group and are never separated, nor are the undeformed labels of cells
that were relaxed from one start: their orderings differ, their geometries hardly. Group counts follow the fractions
exactly; within that, every kind of deformation is represented where there are enough groups of it. A test split may
also hold all of something back (``by`` in :class:`SplitOptions`), to ask how a model does on what it never saw.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from datastore.errors import DataError
from datastore.schema import content_hash

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
UNDEFORMED = "none"
SplitKind = Literal["group", "parent", "ordering", "composition", "generation", "named"]
TestName = Literal["random", "orderings", "compositions"]
_HELD_OUT_BY = ("ordering", "composition", "named")


class SplitOptions(BaseModel):
    """How to split; part of a snapshot's identity."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fractions: tuple[float, float, float] = Field(
        default=(0.8, 0.1, 0.1), description="train, val, test: shares of the groups"
    )
    seed: int = 0
    min_test: int = Field(default=0, ge=0, description="at least this many labels (not groups) in test")
    min_val: int = Field(default=0, ge=0, description="at least this many labels in val")
    by: SplitKind = Field(
        default="group",
        description="group, parent: random groups, or all labels of a parent, and of the cells computed from it, "
        "together; ordering, composition: held_out goes to test; named: the same, of orderings, formulas and elements "
        "at once, and the fractions give test labels of everything else; generation: later ones than until go to test",
    )
    held_out: tuple[str, ...] = Field(
        default=(), description="orderings, reduced formulas and elements that are never trained on"
    )
    until: int = Field(default=0, ge=0, description="by generation: the last one that is trained on")
    twins: float = Field(
        default=0.01,
        ge=0,
        allow_inf_nan=False,
        description="Angstrom rms: nearer geometries are one (datastore.leaks); 0: equal ones only",
    )

    @model_serializer(mode="wrap")
    def _brief(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Ids of jobs hash these options: what came later and is not used must not change them.
        later = ("by", "held_out", "until", "twins")
        return {k: v for k, v in handler(self).items() if k not in later or v != type(self).model_fields[k].default}

    @model_validator(mode="after")
    def _check(self) -> SplitOptions:
        if (self.by in _HELD_OUT_BY) != bool(self.held_out):
            raise ValueError(
                f"held_out is {list(self.held_out)} and by is {self.by!r}: name what to hold out, only by ordering, "
                "composition or named"
            )
        # Written so that NaN, which compares as False, is refused.
        if not (min(self.fractions) >= 0 and abs(sum(self.fractions) - 1) <= 1e-6 and self.fractions[0] > 0):
            raise ValueError(f"fractions {self.fractions} must be three numbers that add up to 1, the first above 0")
        return self


@dataclass(frozen=True)
class Member:
    """What splitting needs to know of one label."""

    point_id: str
    tokens: tuple[str, ...]
    """Labels that share a token belong together: geometry and, where given, pair."""
    stratum: str
    generation: int
    parent: str = ""
    ordering: str = ""
    formula: str = ""
    elements: frozenset[str] = frozenset()
    start: str = ""
    """Parent that the parent's own cell was computed from; empty where that was given."""
    pattern: str = ""
    """Cell and signs of its moments, modulo one reversal; empty where they say nothing. One ordering has one pattern in
    a cell, whatever it is called."""


@dataclass(frozen=True)
class Group:
    """Labels that stay together."""

    members: tuple[Member, ...]

    @cached_property
    def name(self) -> str:
        """Smallest token: does not depend on the order of the labels."""
        return min(token for member in self.members for token in member.tokens)

    @cached_property
    def stratum(self) -> str:
        """Kind of deformation of the first label."""
        return min(self.members, key=lambda m: m.point_id).stratum

    @cached_property
    def is_initial(self) -> bool:
        """Whether any label was there before active learning; chosen ones would bias a test set."""
        return any(member.generation == 0 for member in self.members)


@dataclass(frozen=True)
class Division:
    """The result of :func:`divide`."""

    split_of: dict[str, Split]
    """point_id -> split; labels that are left out are not in it."""
    tokens: dict[str, Split]
    """Token -> split, also of labels left out and of what ``previous`` knew and is not here now; given back as
    ``previous``, it keeps every split stable."""
    left_out: list[str]
    """point_ids of held-out labels whose geometry is trained on, and of late ones whose geometry is tested on."""
    earlier: list[str]
    """Tokens of ``previous`` that no label has now, such as those of labels that were retracted since."""
    renamed: dict[str, str]
    """point_id -> held-out ordering, of labels that are called by something else."""


def divide(
    members: Iterable[Member],
    options: SplitOptions,
    previous: Mapping[str, Split],
    frozen: bool = False,
    before: Mapping[str, Split] | None = None,
) -> Division:
    """The split of every label. Pure, deterministic, and independent of the order of ``members``.

    What is held out is tested on geometries nobody trained on: where a geometry was labelled in a held-out ordering
    and in others, the fractions decide whether all its labels go to test, or to train or val without the held-out
    ones, which are then left out. So are late labels of an early geometry in a split by generation; and with ``frozen``
    those that active learning asked for and whose geometry is tested on, so that no round changes the test split.
    ``before``: point_id -> split of the snapshot that ``previous`` is of. With it and ``frozen``, no label whatsoever
    enters the test split that was not there, and where a new one is a twin of trained and of tested ones, the old ones
    stay where they were, and all new ones that belong to both are left out.
    Raises DataError where a split would be empty (not by group, which leaves that to ``min_test`` and ``min_val``) and
    where ``previous`` trained on what is to be held out.
    """
    given = _with_starts(list(members))
    known = _with_names(given, options)
    renamed = {
        new.point_id: new.ordering for old, new in zip(given, known, strict=True) if new.ordering != old.ordering
    }
    if options.by == "parent":
        parents = [m.start or m.parent for m in known]
        known = [replace(m, tokens=(*m.tokens, f"parent:{p}")) if p else m for m, p in zip(known, parents, strict=True)]
    kept = before if frozen and options.by != "generation" else None
    torn, whole = _torn_apart(group_members(known), previous if kept is not None else {})
    by_group = _hold_out(whole, options, previous, kept is not None)
    split_of = {m.point_id: by_group[g.name] for g in whole for m in g.members}
    tokens = {token: split_of[m.point_id] for g in whole for m in g.members for token in m.tokens}
    tokens |= {token: previous.get(token, "test") for m in torn for token in m.tokens}
    split_of |= {m.point_id: (kept or {}).get(m.point_id, "test") for m in torn}
    left_out = sorted(m.point_id for m in known if _is_left_out(m, options, split_of[m.point_id], frozen, kept))
    for point_id in left_out:
        del split_of[point_id]
    if options.by != "group":
        _check_filled(split_of, options)
    # A label that is rejected for a while must not come back on the other side.
    earlier = {token: split for token, split in previous.items() if token not in tokens}
    return Division(split_of, earlier | tokens, left_out, sorted(earlier), renamed)


def _with_starts(members: Sequence[Member]) -> list[Member]:
    """A common token for the undeformed labels of all cells computed from one start, and of the start itself."""
    starts = {m.start for m in members if m.start}
    origins = [m.start or m.parent if m.stratum == UNDEFORMED else "" for m in members]
    return [
        replace(m, tokens=(*m.tokens, f"start:{origin}")) if origin in starts else m
        for m, origin in zip(members, origins, strict=True)
    ]


def _with_names(members: list[Member], options: SplitOptions) -> list[Member]:
    """Held-out orderings under one name: also labels called by their signs, as salvaged and imported ones may be.

    Raises DataError for what no label is.
    """
    orderings = {m.ordering for m in members} if options.by != "composition" else set()
    compositions = {m.formula for m in members}.union(*(m.elements for m in members))
    present = orderings | (compositions if options.by != "ordering" else set())
    unknown = sorted(set(options.held_out) - present)
    if unknown:
        raise DataError(
            f"no label is of {_what(options)}{', '.join(unknown)}, so it cannot be held out; there are "
            f"{', '.join(sorted(present - {''}))}"
        )
    if options.by not in ("ordering", "named"):
        return members
    named = {m.pattern: m.ordering for m in members if m.pattern and m.ordering in options.held_out}
    return [replace(m, ordering=named.get(m.pattern, m.ordering)) for m in members]


def _what(options: SplitOptions) -> str:
    """What ``held_out`` names, for messages."""
    return "" if options.by == "named" else f"{options.by} "


def name_test_set(ordering: str, formula: str, elements: Iterable[str], options: SplitOptions) -> TestName:
    """Which of the test sets a tested label belongs to: exactly one.

    ``compositions`` where its formula or an element is held out, in whatever ordering; else ``orderings`` where its
    ordering is; else ``random``. What is in one of the first two is never trained on.
    """
    held = set(options.held_out)
    if options.by in ("composition", "named") and (formula in held or not held.isdisjoint(elements)):
        return "compositions"
    return "orderings" if options.by in ("ordering", "named") and ordering in held else "random"


def _is_held(member: Member, options: SplitOptions) -> bool:
    if options.by == "generation":
        return member.generation > options.until
    return name_test_set(member.ordering, member.formula, member.elements, options) != "random"


def _is_left_out(
    member: Member, options: SplitOptions, split: Split, frozen: bool, kept: Mapping[str, Split] | None
) -> bool:
    if split != "test":
        return _is_held(member, options)
    if kept is not None and kept.get(member.point_id) != "test":
        return True
    return frozen and member.generation > 0 and options.by != "generation"


def _torn_apart(groups: Sequence[Group], previous: Mapping[str, Split]) -> tuple[list[Member], list[Group]]:
    """Labels of groups that ``previous`` both tests on and trains on, and the other groups."""
    torn: list[Member] = []
    whole: list[Group] = []
    for group in groups:
        splits = {previous[t] for member in group.members for t in member.tokens if t in previous}
        if len(splits) > 1 and "test" in splits:
            torn += group.members
        else:
            whole.append(group)
    return torn, whole


def _hold_out(
    groups: Sequence[Group], options: SplitOptions, previous: Mapping[str, Split], closed: bool
) -> dict[str, Split]:
    """Split of every group, by name: held out ones, mixed ones, and the others. ``closed``: as in :func:`assign`."""
    if options.by in ("group", "parent"):
        return assign(groups, options, previous, closed)
    held, free, mixed = list[Group](), list[Group](), list[Group]()
    for group in groups:
        of_it = {_is_held(m, options) for m in group.members}
        (mixed if len(of_it) > 1 else held if of_it == {True} else free).append(group)
    trained = [t for group in held for m in group.members for t in m.tokens if previous.get(t, "test") != "test"]
    if trained:
        raise DataError(
            f"the previous snapshot trained on what is to be held out ({trained[0]}); make a first one without previous"
        )
    if options.by in ("composition", "named"):  # a pair of two compositions; it stays together
        rest: list[Group] = []
        for group in mixed:
            (held if any(_is_other(m, options) for m in group.members) else rest).append(group)
        mixed = rest
    result: dict[str, Split] = {group.name: "test" for group in held}
    if options.by == "named":
        return result | assign(mixed + free, options, previous, closed)
    if options.by == "generation":
        free, mixed = free + mixed, []
    train, val, _ = options.fractions
    fewer = options.model_copy(update={"fractions": (train / (train + val), val / (train + val), 0.0), "min_test": 0})
    inner = options.model_copy(update={"min_test": 0, "min_val": 0})
    return result | assign(mixed, inner, previous, closed) | assign(free, fewer, previous, closed)


def _is_other(member: Member, options: SplitOptions) -> bool:
    """Whether it is of a held-out composition."""
    return name_test_set(member.ordering, member.formula, member.elements, options) == "compositions"


def _check_filled(split_of: Mapping[str, Split], options: SplitOptions) -> None:
    present = Counter(split_of.values())
    for split, fraction in zip(SPLITS, options.fractions, strict=True):
        least = {"test": options.min_test, "val": options.min_val}.get(split, 0)
        needed = fraction > 0 or (split == "test" and options.by != "parent")
        if present[split] < max(least, int(needed)):
            what = f"{_what(options)}{', '.join(options.held_out)}".strip()
            raise DataError(
                f"a split by {what} leaves {present[split]} labels for {split}; hold out something else, change the "
                "fractions, or label more"
            )


def group_members(members: Iterable[Member]) -> list[Group]:
    """Connected components of labels under shared tokens, in order of their names."""
    root: dict[str, str] = {}

    def find(token: str) -> str:
        while root.setdefault(token, token) != token:
            root[token] = root[root[token]]
            token = root[token]
        return token

    known = list(members)
    for member in known:
        for token in member.tokens[1:]:
            root[find(token)] = find(member.tokens[0])
    components: defaultdict[str, list[Member]] = defaultdict(list)
    for member in known:
        components[find(member.tokens[0])].append(member)
    groups = [Group(tuple(sorted(c, key=lambda m: m.point_id))) for c in components.values()]
    return sorted(groups, key=lambda group: group.name)


def assign(
    groups: Sequence[Group], options: SplitOptions, previous: Mapping[str, Split], closed: bool = False
) -> dict[str, Split]:
    """Split of every group, by group name. Pure and deterministic.

    ``previous``: token -> split of an earlier snapshot; those groups stay where they were. New groups made only of
    active-learning labels go to train; fractions are of the other groups. ``closed``: no new group goes to test.
    Raises DataError where ``min_test`` or ``min_val`` labels cannot be had while one group stays for training.
    """
    result: dict[str, Split] = {}
    for group in groups:
        kept = {previous[t] for member in group.members for t in member.tokens if t in previous}
        if kept:
            # Two old groups found to belong together: the one held out decides, or a tested point would be trained on.
            result[group.name] = max(kept, key=SPLITS.index)
        elif not group.is_initial:
            result[group.name] = "train"
    initial = [group for group in groups if group.is_initial]
    free = [group for group in initial if group.name not in result]
    free.sort(key=lambda group: content_hash([options.seed, group.name]))
    strata = Counter(group.stratum for group in initial)
    trained = sum(split == "train" for split in result.values())
    waiting: defaultdict[str, deque[Group]] = defaultdict(deque)
    for group in free:
        waiting[group.stratum].append(group)
    plan: list[tuple[Split, float, int]] = [
        ("test", options.fractions[2], options.min_test),
        ("val", options.fractions[1], options.min_val),
    ]
    for split, fraction, least in plan[1 if closed else 0 :]:
        wanted = round(fraction * len(initial))
        points = sum(len(group.members) for group in groups if result.get(group.name) == split)
        present = Counter(group.stratum for group in initial if result.get(group.name) == split)
        number = present.total()
        while number < wanted or points < least:
            if sum(map(len, waiting.values())) + trained <= 1 or not any(waiting.values()):
                if points < least:
                    raise DataError(
                        f"only {len(groups)} groups of equal geometry: {least} labels for {split} cannot be set aside; "
                        f"lower min_{split} or label more"
                    )
                break
            group = _take(waiting, present, fraction, strata)
            result[group.name] = split
            present[group.stratum] += 1
            number, points = number + 1, points + len(group.members)
    return result | {group.name: "train" for left in waiting.values() for group in left}


def _take(waiting: Mapping[str, deque[Group]], present: Counter[str], fraction: float, strata: Counter[str]) -> Group:
    """Remove and return the next group, of the kind of deformation that most lacks one in this split."""

    def urgency(stratum: str) -> tuple[bool, bool, float, str]:
        spares = len(waiting[stratum]) > 1  # the last group of a kind had better be trained on
        unseen = present[stratum] == 0 and strata[stratum] >= len(SPLITS)
        return (spares, unseen, fraction * strata[stratum] - present[stratum], stratum)

    return waiting[max((stratum for stratum in waiting if waiting[stratum]), key=urgency)].popleft()
