"""One reader process: takes runs and documents as JSON lines on stdin, answers with labels and refusals as JSON lines.

Started by :mod:`workflows.vasp_import.pool`, with one thread; what it is given may be damaged in any way, and may cost
it its life.
"""

from __future__ import annotations

import os
import resource
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import orjson

from datastore.converters import check_label
from datastore.errors import DataError
from datastore.mapping import RefusedError
from datastore.schema import SpinPoint
from workflows.processes import die_with

Message = dict[str, Any]


def main() -> None:
    """Serve until stdin closes. ``argv``: the parent's pid, and the most memory to use, in bytes."""
    die_with(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warnings.simplefilter("ignore")
    from workflows.vasp_import import convert, documents, folders  # noqa: F401 - loaded before the clock runs

    _limit_memory(int(sys.argv[2]))
    _send(answers, {"ready": True})
    for line in sys.stdin.buffer:
        _send(answers, answer(orjson.loads(line)))


def _limit_memory(wanted: int) -> None:
    """Take no more address space than ``wanted`` bytes, and no more than this machine allows anyhow."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def answer(task: Message) -> Message:
    """Labels (``points``) and refusals (``refused``: reason and detail) of one run or document.

    ``fatal``: why nothing more can be read, where a database has gone.
    """
    points: list[Message] = []
    refused: list[tuple[str, str]] = []
    try:
        for item in _labels(task):
            if isinstance(item, RefusedError):
                refused.append(_told(item))
            else:
                points.append(item)
    except RefusedError as error:
        refused.append(_told(error))
    except DataError as error:
        return {"points": [], "refused": [], "fatal": str(error)}
    except MemoryError:
        refused.append(("too large", "reading it takes more memory than a process may have; use fewer --processes"))
    except Exception as error:  # whatever a damaged file leads to costs this run only
        refused.append(("unreadable", f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]))
    return {"points": points, "refused": refused}


def _checked(point: SpinPoint) -> Message:
    """The label as it goes to the parent. Raises RefusedError where it would arrive as another one, or not at all."""
    check_label(point)
    return point.to_document()


def _labels(task: Message) -> Iterator[Message | RefusedError]:
    from workflows.vasp_import.convert import label
    from workflows.vasp_import.documents import read_document
    from workflows.vasp_import.folders import read_folder

    if "folder" in task:
        from workflows.vasp_import.discover import Run

        files = tuple((str(standard), str(name)) for standard, name in task["files"])
        yield _checked(label(read_folder(Run(task["folder"], task["suffix"], files, ""), task["root"])))
        return
    for item in read_document(_document(task), task["origin"]):
        try:
            yield item if isinstance(item, RefusedError) else _checked(label(item))
        except RefusedError as error:
            yield error


def _document(task: Message) -> Message:
    if "document" in task:
        return dict(task["document"])
    from workflows.vasp_import.databases import fetch

    return fetch(task["uri"], task["key"])


def _told(error: RefusedError) -> tuple[str, str]:
    return error.reason, str(error).removeprefix(f"{error.reason}: ")


def _send(answers: Any, message: Message) -> None:
    try:
        answers.write(orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
        answers.flush()
    except BrokenPipeError:  # the parent is gone; what it has acknowledged is in the store
        os._exit(1)


if __name__ == "__main__":
    main()
