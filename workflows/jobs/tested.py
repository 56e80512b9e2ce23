"""Which configurations lie on the frozen tests, or are twins of what a model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from datastore.atoms import read_points
from datastore.fingerprints import Geometry
from datastore.leaks import find_twins, geometry_of, read_geometries
from datastore.schema import SpinConfig, SpinPoint
from datastore.snapshot import EARLIER, Snapshot
from datastore.splits import SPLITS
from workflows.structures.twin_keys import twin_keys


def on_tests(configs: Sequence[SpinConfig], snapshot: Snapshot) -> set[int]:
    """Indices of ``configs`` whose geometry the frozen tests of ``snapshot`` have, in whatever spin state.

    Labels of them would be paid for and left out. Also geometries of tests whose labels were retracted count. Empty
    where the split is by generation, as those tests grow.
    """
    if snapshot.options.by == "generation":
        return set()
    tested = {geometry.token: geometry for geometry in _tested(snapshot)}
    known = {index for index, config in enumerate(configs) if geometry_of(config).token in tested}
    if snapshot.options.twins == 0:
        return known
    mine = [replace(geometry_of(c), name=str(k), moments=None) for k, c in enumerate(configs)]
    theirs = [replace(geometry, name=f"test {k}", moments=None) for k, geometry in enumerate(tested.values())]
    sides = [range(len(mine)), range(len(mine), len(mine) + len(theirs))]
    twins = find_twins([*mine, *theirs], snapshot.options.twins, sides)
    return known | {int(name) for twin in twins for name in (twin.first, twin.second) if name.isdigit()}


def untrained(points: Sequence[SpinPoint], snapshot: Snapshot, spin_orbit: bool) -> list[SpinPoint]:
    """Those of ``points`` that are no twins, spins included, of labels in training and validation of ``snapshot``."""
    splits = [split for split in SPLITS if split != "test" and snapshot.counts.get(split)]
    seen = [point for split in splits for point in read_points(snapshot.path(split))]
    known = range(len(points), len(points) + len(seen))
    keys = twin_keys([*points, *seen], labelled=known, spin_orbit=spin_orbit)
    taken = set(keys[len(points) :])
    return [point for point, key in zip(points, keys, strict=False) if key not in taken]


def _tested(snapshot: Snapshot) -> Iterator[Geometry]:
    if snapshot.counts.get("test"):
        yield from map(geometry_of, read_points(snapshot.path("test")))
    if EARLIER in snapshot.files:
        for geometry in read_geometries(snapshot.folder / EARLIER):
            if snapshot.tokens.get(geometry.token) == "test":
                yield geometry
