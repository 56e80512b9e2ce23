"""Which label goes to training, validation and test: pure functions on light-weight descriptions of the labels.

Labels that share a geometry or a pair_id form one group and are never separated. Group counts follow the fractions
exactly; within that, every kind of deformation is represented where there are enough groups of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datastore.errors import DataError
from datastore.schema import content_hash

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class SplitOptions(BaseModel):
    """How to split; part of a snapshot's identity."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fractions: tuple[float, float, float] = Field(
        default=(0.8, 0.1, 0.1), description="train, val, test: shares of the groups"
    )
    seed: int = 0
    min_test: int = Field(default=0, ge=0, description="at least this many labels (not groups) in test")
    min_val: int = Field(default=0, ge=0, description="at least this many labels in val")

    @model_validator(mode="after")
    def _check(self) -> SplitOptions:
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6 or self.fractions[0] <= 0:
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


@dataclass(frozen=True)
class Group:
    """Labels that stay together."""

    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """Smallest token: does not depend on the order of the labels."""
        return min(token for member in self.members for token in member.tokens)

    @property
    def stratum(self) -> str:
        """Kind of deformation of the first label."""
        return min(self.members, key=lambda m: m.point_id).stratum

    @property
    def is_initial(self) -> bool:
        """Whether any label was there before active learning; chosen ones would bias a test set."""
        return any(member.generation == 0 for member in self.members)


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


def assign(groups: Sequence[Group], options: SplitOptions, previous: Mapping[str, Split]) -> dict[str, Split]:
    """Split of every group, by group name. Pure and deterministic.

    ``previous``: token -> split of an earlier snapshot; those groups stay where they were. New groups made only of
    active-learning labels go to train; fractions are of the other groups. Raises DataError where ``min_test`` or
    ``min_val`` labels cannot be had while one group stays for training.
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
    plan: list[tuple[Split, float, int]] = [
        ("test", options.fractions[2], options.min_test),
        ("val", options.fractions[1], options.min_val),
    ]
    for split, fraction, least in plan:
        wanted = round(fraction * len(initial))
        while not _enough(groups, result, split, wanted, least):
            if not free or len(free) + trained <= 1:
                if _points(groups, result, split) < least:
                    raise DataError(
                        f"only {len(groups)} groups of equal geometry: {least} labels for {split} cannot be set aside; "
                        f"lower min_{split} or label more"
                    )
                break
            present = Counter(group.stratum for group in initial if result.get(group.name) == split)
            result[_take(free, present, fraction, strata).name] = split
    return result | {group.name: "train" for group in free}


def _points(groups: Sequence[Group], result: Mapping[str, str], split: str) -> int:
    return sum(len(group.members) for group in groups if result.get(group.name) == split)


def _enough(groups: Sequence[Group], result: Mapping[str, str], split: str, wanted: int, least: int) -> bool:
    number = sum(group.is_initial and result.get(group.name) == split for group in groups)
    return number >= wanted and _points(groups, result, split) >= least


def _take(free: list[Group], present: Counter[str], fraction: float, strata: Counter[str]) -> Group:
    """Remove and return the next group, of the kind of deformation that most lacks one in this split."""
    available = Counter(group.stratum for group in free)

    def urgency(stratum: str) -> tuple[bool, bool, float, str]:
        spares = available[stratum] > 1  # the last group of a kind had better be trained on
        unseen = present[stratum] == 0 and strata[stratum] >= len(SPLITS)
        return (spares, unseen, fraction * strata[stratum] - present[stratum], stratum)

    chosen = max(available, key=urgency)
    return free.pop(next(i for i, group in enumerate(free) if group.stratum == chosen))
