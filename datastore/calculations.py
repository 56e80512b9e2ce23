"""Calculations that were read elsewhere (a VASP folder, a document) go into a store; each is read once.

What was read is remembered in the ``imported`` collection *after* its labels were stored, refusals included, so an
import that was killed reads at most one chunk again, and a refused calculation is read again only when it has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from datastore.batches import in_batches
from datastore.converters import check_label
from datastore.importing import ImportReport, ImportWork, Replacement
from datastore.mapping import RefusedError
from datastore.plausible import implausible
from datastore.quality import judge
from datastore.schema import SpinPoint
from datastore.stores import SpinStore, explained, stamped

CHUNK = 20
"""Calculations in one transaction: a VASP folder takes 0.1 s and more to read, so that a kill costs a few seconds."""

_CHECKED = ("species", "lattice", "positions", "energy", "free_energy", "forces", "stress", "magmoms_in", "magmoms_out")


@dataclass(frozen=True)
class Calculation:
    """What one calculation gave: labels, and a reason and detail for each part of it that gave none.

    ``origin`` is where it lies, for people and to know it again; ``stamp`` is another text once it has changed, and
    empty where it should be read again in any case. A reason is the same text for all with that fault.
    """

    origin: str
    stamp: str
    points: tuple[SpinPoint, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Known:
    """What an earlier import made of a calculation: number of labels, and (reason, detail) of refusals."""

    stamp: str
    labels: int
    refused: tuple[tuple[str, str], ...] = ()


def known_calculations(store: SpinStore) -> dict[str, Known]:
    """Origin -> what earlier imports into this store have read."""
    with explained(store.uri):
        found = list(store.imported.query({}, ["origin", "stamp", "labels", "refused"]))
    known = {}
    for note in found:
        # A damaged note only means that its calculation is read again, which changes nothing.
        with suppress(KeyError, TypeError, ValueError):
            refused = tuple((str(reason), str(detail)) for reason, detail in note["refused"])
            known[str(note["origin"])] = Known(str(note["stamp"]), int(note["labels"]), refused)
    return known


def import_points(
    store: SpinStore,
    calculations: Iterable[Calculation | tuple[str, Known]],
    watch: Callable[[int], None] = lambda done: None,
    replace: Replacement | None = None,
    what: str = "",
) -> ImportReport:
    """Store the labels of ``calculations``, and remember that they were read; ``watch`` hears how many are done.

    A pair of origin and :class:`Known` stands for a calculation that need not be read again: it is only counted.
    ``what`` names the whole in doubts of the report. ``replace`` is as for
    :func:`datastore.importing.import_labels`.
    """
    ids: set[str] = set()
    done = 0
    with explained(store.uri):
        work = ImportWork(store, replace)
        work.files.append((what, ids))
        for chunk in in_batches(calculations, CHUNK):
            fresh = [item for item in chunk if isinstance(item, Calculation)]
            for item in chunk:
                if not isinstance(item, Calculation):
                    _count(work, *item)
            _take(work, fresh, ids)
            done += len(chunk)
            watch(done)
        work.finish()
    return work.report


def _count(work: ImportWork, origin: str, known: Known) -> None:
    """A calculation that is as it was when it was read."""
    work.report.frames += known.labels + len(known.refused)
    work.report.present += known.labels
    for reason, detail in known.refused:
        work.refuse(reason, f"{origin}: {detail} (unchanged, so it was not read again)")


def _take(work: ImportWork, chunk: list[Calculation], ids: set[str]) -> None:
    """Labels first, then the notes that they are there."""
    points: list[SpinPoint] = []
    notes: list[dict[str, Any]] = []
    for item in chunk:
        labels, refused = [], list(item.refused)
        for point in item.points:
            try:
                labels.append(work.at_known_level(_sound(point)))
            except RefusedError as error:
                refused.append((error.reason, str(error).removeprefix(f"{error.reason}: ")))
        for reason, detail in refused:
            work.refuse(reason, f"{item.origin}: {detail}")
        work.report.frames += len(labels) + len(refused)
        points += labels
        note = {"origin": item.origin, "stamp": item.stamp, "labels": len(labels), "refused": list(map(list, refused))}
        notes.append(stamped(note))
    work.take(points)
    ids.update(point.point_id for point in points)
    if notes:
        work.store.imported.update(notes)


def _sound(point: SpinPoint) -> SpinPoint:
    """The judged label, unless no store takes it or no oxide has its numbers. Raises RefusedError."""
    check_label(point)
    if problem := implausible({name: getattr(point, name) for name in _CHECKED}):
        raise RefusedError(*problem)
    return judge(point)
