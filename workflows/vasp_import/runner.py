"""Existing VASP runs and task documents -> labels in a store: found, read by several processes, each once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from datastore.calculations import Calculation, Known, import_points, known_calculations
from datastore.errors import DataError
from datastore.importing import ImportReport, Replacement
from datastore.schema import SpinPoint, content_hash
from datastore.stores import SpinStore, explained, mask
from workflows.engines.vasp.levels import covers, merged
from workflows.vasp_import.convert import IMPORTER
from workflows.vasp_import.databases import is_database, list_documents
from workflows.vasp_import.discover import Obstacle, Run, find_runs, printable
from workflows.vasp_import.files import documents_of
from workflows.vasp_import.pool import Task, read_all

TIME_LIMIT = 300.0
"""Seconds that one run may take; the largest of the shared cases takes 0.2."""

PASSING = ("unreadable", "unreadable folder", "too slow", "reader died", "too large")
"""Reasons that may be gone next time although the run has not changed."""

NOTHING = "no VASP run there (a folder with OUTCAR or vasprun.xml, packed or not), and no task document"

UNEVEN = 1.5
"""Ratio of k mesh times cell length within one level above which the import says so."""


@dataclass(frozen=True)
class VaspImport:
    """How to import. ``levels``: those declared, which a run is at that agrees with one in all it says.

    ``campaign``: its name, written on the labels. ``limit``: seconds for one run.
    """

    processes: int = 1
    limit: float = TIME_LIMIT
    levels: tuple[Mapping[str, Any], ...] = ()
    campaign: str = ""
    replace: Replacement | None = None
    watch: Callable[[int, int], None] = field(default=lambda done, total: None)
    """Hears how many runs are done, and of how many; of none while they are looked for."""


def import_vasp(store: SpinStore, places: Iterable[str], options: VaspImport) -> ImportReport:
    """Labels of all runs at ``places``: folders, MongoDB URIs, JSON files of task documents.

    What was read before and has not changed is not read again, but with ``options.replace``. A place without runs is
    told in the report. Raises DataError where no place has any, where one cannot be read at all, or where a database
    has gone; what was stored before stays.
    """
    known = {} if options.replace else known_calculations(store)
    places = list(places)
    found = _all_tasks(places, known, options)
    calculations = _calculations(found, options)
    report = import_points(
        store,
        calculations,
        lambda done: options.watch(done, len(found)),
        options.replace,
        ", ".join(map(mask, places)),
    )
    report.doubts += _uneven_meshes(store, report.levels)
    return report


def _all_tasks(places: Sequence[str], known: Mapping[str, Known], options: VaspImport) -> list[Task]:
    """Tasks of all places, with a refusal for a place that has none. Raises DataError where all are empty."""
    found: list[Task] = []
    empty = []
    for place in places:
        before = len(found)
        for task in _tasks(place, known):
            found.append(task)
            options.watch(0, 0)
        if len(found) == before:
            empty.append(mask(place))
            found.append(_refused(mask(place), "no run", NOTHING))
    if len(empty) == len(places):
        raise DataError(f"{', '.join(empty)}: {NOTHING}; check the path")
    return found


def levels_found(places: Iterable[str], options: VaspImport) -> list[tuple[dict[str, Any], int]]:
    """Levels to declare for the runs at ``places``, merged over elements, and how many labels each has; stores nothing.

    Raises DataError where a place cannot be read at all.
    """
    tasks = [task for place in places for task in _tasks(place, {})]
    counts: Counter[str] = Counter()
    for done, task in enumerate(read_all(tasks, options.processes, options.limit), 1):
        counts.update(json.dumps(point["level_of_theory"]) for point in (task.answer or {})["points"])
        task.forget()
        options.watch(done, len(tasks))
    levels = [(json.loads(text), number) for text, number in counts.most_common()]
    found = merged(level for level, _ in levels)
    return [(wide, sum(number for level, number in levels if covers(wide, level))) for wide in found]


@dataclass(frozen=True)
class _Item:
    """A run or a document: how people call it, and how it is known again."""

    origin: str
    stamp: str
    known: Known | None = None


def _tasks(place: str, known: Mapping[str, Known]) -> Iterator[Task]:
    for origin, stamp, message in _found(place):
        earlier = known.get(origin)
        if isinstance(message, Obstacle):
            yield _refused(origin, message.reason, message.detail)
        elif earlier is not None and earlier.stamp == stamp != "":
            yield Task(_Item(origin, stamp, earlier), None, {})
        else:
            yield Task(_Item(origin, stamp), {"origin": origin, **message})


def _refused(origin: str, reason: str, detail: str) -> Task:
    """What needs no reader to be refused."""
    return Task(_Item(origin, ""), None, {"points": [], "refused": [(reason, detail)]})


def _found(place: str) -> Iterator[tuple[str, str, dict[str, Any] | Obstacle]]:
    """Origin, stamp and the reader's task of everything at a place."""
    if is_database(place):
        for key, name, stamp in list_documents(place):
            yield f"{mask(place)} {name}", _stamp(stamp), {"uri": place, "key": key}
    elif Path(place).is_dir():
        root = str(Path(place).absolute())
        for found in find_runs(Path(place)):
            if isinstance(found, Obstacle):
                yield printable(found.folder), "", found
            else:
                yield found.origin, _stamp(found.stamp), _of_run(found, root)
    elif Path(place).is_file():
        for name, content in documents_of(Path(place)):
            if isinstance(content, Obstacle):
                yield name, "", content
            else:
                yield name, _stamp(content_hash(content)), {"document": content}
    else:
        raise DataError(f"{place}: no such folder or file; check the path")


def _of_run(run: Run, root: str) -> dict[str, Any]:
    return {"folder": run.folder, "suffix": run.suffix, "files": run.files, "root": root}


def _stamp(text: str) -> str:
    """What a note of an import compares; another version of the importer reads again. Empty where nothing is known."""
    return f"{IMPORTER}: {text}" if text else ""


def _calculations(tasks: list[Task], options: VaspImport) -> Iterator[Calculation | tuple[str, Known]]:
    """What the readers made of the tasks, in their order; a task is emptied when it is done."""
    for task in read_all(tasks, options.processes, options.limit):
        calculation = _calculation(task, options)
        task.forget()
        yield calculation


def _calculation(task: Task, options: VaspImport) -> Calculation | tuple[str, Known]:
    item: _Item = task.item
    if item.known is not None:
        return item.origin, item.known
    assert task.answer is not None
    if "fatal" in task.answer:
        raise DataError(task.answer["fatal"])
    refused = [(str(reason), str(detail)) for reason, detail in task.answer["refused"]]
    points = []
    for content in task.answer["points"]:
        try:
            points.append(_at_level(SpinPoint.from_document(content), options))
        except ValidationError as error:
            first = error.errors()[0]
            refused.append(("invalid", f"{'.'.join(map(str, first['loc']))}: {first['msg']}"))
    passing = any(reason in PASSING for reason, _ in refused)
    return Calculation(item.origin, "" if passing else item.stamp, tuple(points), tuple(refused))


def _at_level(point: SpinPoint, options: VaspImport) -> SpinPoint:
    """The label at the declared level that it agrees with, else at its own."""
    level = next((known for known in options.levels if covers(known, point.level_of_theory)), point.level_of_theory)
    return point.model_copy(update={"level_of_theory": dict(level), "campaign": options.campaign})


def _uneven_meshes(store: SpinStore, levels: Iterable[str]) -> Iterator[str]:
    """What to say of levels whose meshes have no stated rule and differ much in density."""
    for level_id in levels:
        criteria = {"level_id": level_id, "source.importer": IMPORTER}
        with explained(store.uri):
            documents = list(store.points.query(criteria, ["kpoints", "lattice", "level_of_theory.kpts"]))
        lengths = [_length(d) for d in documents if d.get("kpoints") and "mesh" in d["level_of_theory"]["kpts"]]
        if lengths and max(lengths) > UNEVEN * min(lengths):
            yield (
                f"level of theory {level_id} has k meshes from {min(lengths):.0f} to {max(lengths):.0f} Angstrom "
                "(cube root of points times volume), as the runs state no rule: look at them before you train on both"
            )


def _length(document: Mapping[str, Any]) -> float:
    """Angstrom: side of the cube that a mesh stands for."""
    volume = abs(np.linalg.det(np.array(document["lattice"])))
    return float(np.prod(document["kpoints"]) * volume) ** (1 / 3)
