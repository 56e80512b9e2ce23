"""Which labels a snapshot is made of: those of one level of theory, differences of two, or those of several.

plain
    Labels as they are, all of one level; anything else is refused.
delta
    Level B minus level A for every configuration that has an accepted label of both (:mod:`datastore.levels`).
multi-head
    Labels of several levels side by side, each frame with the name of its level under ``head``.

A label whose settings a correction changed (:data:`datastore.levels.CHANGED`) is of another level than its campaign
asked for. One of them must not stop a training set, nor enter it unasked: it is left out unless its level is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datastore.batches import in_batches
from datastore.errors import DataError
from datastore.levels import CHANGED, delta_point
from datastore.schema import MomentRole, SpinPoint, point_id
from datastore.select import select
from datastore.stores import SpinStore
from datastore.upgrade import parse

SetKind = Literal["plain", "delta", "multi-head"]
CHUNK = 200
Criteria = dict[str, Any]


class SetOptions(BaseModel):
    """Kind of a set and its levels of theory, given by their full ids."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: SetKind = "plain"
    levels: tuple[str, ...] = Field(
        default=(), description="delta: (subtracted, target); multi-head: those wanted, all where empty; plain: none"
    )

    @model_validator(mode="after")
    def _check(self) -> SetOptions:
        wanted = {"plain": (0,), "delta": (2,)}.get(self.kind)
        if (wanted and len(self.levels) not in wanted) or len(set(self.levels)) < len(self.levels):
            raise ValueError(
                f"a {self.kind} set of levels {list(self.levels)}: delta takes two different ones (subtracted, "
                "target), multi-head any number, plain none (choose the level with level_id=...)"
            )
        return self


class LabelSet:
    """The labels of one set in a store, found twice: in any order to survey them, in a given order to write them."""

    def __init__(self, store: SpinStore, criteria: Criteria, options: SetOptions):
        self.store, self.options = store, options
        self.criteria = criteria
        self.level_named = bool(options.levels) or mentions(criteria, "level_id")
        self.other_level: list[str] = []
        """point_ids of labels left out by :meth:`points`, because a correction changed their level."""
        if options.levels and options.kind == "multi-head":
            self.criteria = {"$and": [criteria, {"level_id": {"$in": list(options.levels)}}]}
        elif options.kind == "delta":
            self.criteria = {"$and": [criteria, {"level_id": options.levels[1]}]}

    def points(self) -> Iterator[SpinPoint]:
        """Every label once, lazily."""
        found = (parse(SpinPoint, document) for document in select(self.store, self.criteria))
        return self._differences(found) if self.options.kind == "delta" else self._as_asked(found)

    def _as_asked(self, found: Iterable[SpinPoint]) -> Iterator[SpinPoint]:
        self.other_level = []
        for point in found:
            if CHANGED in point.level_of_theory and not self.level_named:
                self.other_level.append(point.point_id)
            else:
                yield point

    def in_order(self, point_ids: list[str]) -> Iterator[SpinPoint]:
        """The labels of these ids in this order. Raises DataError where one is gone."""
        for start in range(0, len(point_ids), CHUNK):
            chunk = point_ids[start : start + CHUNK]
            found = {point.point_id: point for point in self._chosen(chunk)}
            missing = [wanted for wanted in chunk if wanted not in found]
            if missing:
                raise DataError(
                    f"label {missing[0]} vanished, or one it is made of was rejected, while the snapshot was made; "
                    "make it again"
                )
            yield from (found[wanted] for wanted in chunk)

    def _chosen(self, point_ids: list[str]) -> Iterator[SpinPoint]:
        if self.options.kind == "delta":
            target = self.options.levels[1]
            stored = [point_id(wanted.split("-")[0], target) for wanted in point_ids]
            return self._differences(self._by_id(stored))
        return self._by_id(point_ids)

    def _by_id(self, point_ids: list[str]) -> Iterator[SpinPoint]:
        documents = self.store.points.query({"point_id": {"$in": point_ids}})
        return (parse(SpinPoint, document) for document in documents)

    def _differences(self, targets: Iterable[SpinPoint]) -> Iterator[SpinPoint]:
        subtracted = self.options.levels[0]
        for chunk in in_batches(targets, CHUNK):
            ids = [point_id(target.config_id, subtracted) for target in chunk]
            others = {p.config_id: p for p in self._by_id(ids) if p.verdict == "accepted"}
            for target in chunk:
                if target.config_id in others:
                    yield delta_point(others[target.config_id], target)


def labels_behind(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Split -> point_ids of the stored labels that a snapshot, given by its document, is made of.

    Those of its members, but for a delta set, whose members are differences of two labels each.
    """
    points: dict[str, list[str]] = document["points"]
    if document.get("kind") != "delta":
        return points
    levels = list(document["levels"])
    return {
        split: [point_id(member.split("-")[0], level) for member in members for level in levels]
        for split, members in points.items()
    }


def mentions(criteria: Any, name: str) -> bool:
    """Whether MongoDB criteria ask for a field, also within ``$and`` and the like; values do not count."""
    if isinstance(criteria, list):
        return any(mentions(part, name) for part in criteria)
    if not isinstance(criteria, dict):
        return False
    return name in criteria or any(mentions(part, name) for key, part in criteria.items() if key.startswith("$"))


def check_kinds(kinds: Counter[tuple[str, MomentRole]], options: SetOptions, other_level: int = 0) -> None:
    """Refuse what must not share a training set. ``kinds``: (level_id, moment role) -> number of labels.

    ``other_level``: labels left out because a correction changed their level.
    """
    if not kinds and options.kind == "delta":
        raise DataError(
            "no configuration has accepted labels at both levels of theory; make them with "
            "'spinmultinet run CAMPAIGN --relabel PLACE'"
        )
    if not kinds and other_level:
        raise DataError(
            f"all {other_level} accepted labels are of a level of theory that corrections changed on the way; see "
            "'spinmultinet data stats', and choose one with level_id=..."
        )
    if not kinds:
        raise DataError("no accepted labels to make a snapshot of; look at 'spinmultinet data stats' for verdicts")
    levels, roles = {level for level, _ in kinds}, {role for _, role in kinds}
    if len(roles) > 1 or (len(levels) > 1 and options.kind != "multi-head"):
        found = ", ".join(f"{level} with {role} moments: {n}" for (level, role), n in kinds.most_common())
        raise DataError(
            f"labels of several levels of theory or moment roles never share a training set ({found}); "
            f"choose one, such as level_id={kinds.most_common(1)[0][0][0]}"
            + ("" if len(roles) > 1 else ", or ask for a delta or a multi-head set")
        )
    absent = sorted(set(options.levels) - levels) if options.kind == "multi-head" else []
    if absent:
        raise DataError(f"no accepted label is of level of theory {', '.join(absent)}; choose among those there are")
