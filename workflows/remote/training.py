"""Trainings on a cluster: in parts that fit into the time of a job of the scheduler, each going on from the last.

A part is a job of its own in the queue. It ends before the scheduler would end it, with its state saved; the next
advance submits the next part. Where the worker shares the campaign's folder it trains in place. Elsewhere the snapshot
and the state travel with the job, and come back in its output: all through the additional store FILES, as compute nodes
need no network for that. At the end the ordinary job of the campaign finds a training that is finished.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jobflow import Job, JobStore, OutputReference, job

from workflows.jobs.label import stable_uuid
from workflows.remote.queue import FILES

Document = dict[str, Any]
PART = "training"
"""Kind of a part, beside that of the campaign's own job, train."""

MARGIN, SHARE = 120.0, 0.1
"""Seconds, and share of the time that is left at the start, that remain for writing, beside what it took before."""

FOLDER = "training"
"""In a job's folder, where the worker has no scratch."""


KEPT = ("metrics.csv", "model.pt", "training.pt")
"""Files of a training that go on to the next part, or home: metrics, model and state."""


class StuckError(RuntimeError):
    """A training that gets nowhere, or cannot go to its worker; the message names the remedy."""


def parts_of(train: Job, store: JobStore) -> list[Document]:
    """Outputs of the parts of a training that ended, in order, without their files."""
    found: list[Document] = []
    while (document := store.docs_store.query_one({"uuid": part_uuid(train, len(found))}, ["output"])) is not None:
        found.append(document["output"])
    return found


def part_uuid(train: Job, number: int) -> str:
    """Of the part with this number, from 0."""
    return stable_uuid(PART, train.uuid, str(number))


def next_part(train: Job, store: JobStore, shared: bool, scratch: Path | None, seconds: float | None) -> Job:
    """The part that follows those that ended.

    ``seconds``: time limit of a part, where the scheduler does not tell. Raises StuckError where the last two parts
    got nowhere, unless there is more time now.
    """
    folder, hypers, seed, workdir = _arguments(train, store)
    done = parts_of(train, store)
    _refuse_standstill(done, seconds)
    last = {key: value for key, value in done[-1].items() if key != FILES} if done else None
    metadata = {"kind": PART, "train": train.uuid}
    if shared:
        new: Job = train_here(folder, hypers, seed, workdir, last, seconds)
    elif hypers.get("training", {}).get("start_from"):
        raise StuckError("it starts from another model's file; let it go to a worker that shares the campaign's folder")
    else:
        before = OutputReference(part_uuid(train, len(done) - 1), (("i", FILES),)) if done else None
        place = None if scratch is None else str(scratch)
        snapshot = staged(Path(folder), store)
        new = train_there(snapshot, hypers, seed, before, last, place, seconds)
        metadata["staged"] = snapshot.uuid
    new.set_uuid(part_uuid(train, len(done)))
    new.name = f"{train.name}, part {len(done) + 1}"
    new.update_metadata(metadata, dynamic=False)
    return new


def _refuse_standstill(done: Sequence[Document], seconds: float | None) -> None:
    """Two parts after which the training is no further than before them; a third would be no better."""
    reached = [_reached(part["steps"]) for part in done]
    if len(done) < 2 or (seconds or 0) > (done[-1].get("limit") or seconds or 0):
        return
    if reached[-1] == reached[-2] or (len(done) > 2 and max(reached[-2:]) <= max(reached[:-2])):
        raise StuckError(
            f"two jobs did not complete one step of the training, beyond epoch {max(reached)[0]}; give train more time "
            "in the worker map, or see why its scratch loses files"
        )


def _reached(steps: str) -> tuple[int, int]:
    epoch, batch = steps.split(".")
    return int(epoch), int(batch)


def take_in(train: Job, store: JobStore) -> None:
    """Put the files of a training that is finished where the campaign's own job looks for them."""
    from datastore.snapshot import load_snapshot

    folder, _, _, workdir = _arguments(train, store)
    number = len(parts_of(train, store)) - 1
    place = Path(workdir) / load_snapshot(folder).snapshot_id
    if not _is_finished(place):
        unpack(store.get_output(part_uuid(train, number), load=True)[FILES], place)


def drop_copies(parts: Mapping[str, Document], store: JobStore) -> None:
    """Remove the files that nothing will ask for any more, as the output of the training itself is stored.

    Those of parts, and snapshots. ``parts``: uuid -> metadata, of all in the queue. A snapshot that a further training
    needs is staged again.
    """
    travelled = {uuid: part for uuid, part in parts.items() if "staged" in part}
    if not travelled:
        return
    wanted = {"uuid": {"$in": sorted({part["train"] for part in travelled.values()})}}
    done = {document["uuid"] for document in store.docs_store.query(wanted, ["uuid"])}
    needed = {part["staged"] for part in travelled.values() if part["train"] not in done}
    snapshots = {part["staged"] for part in travelled.values()} - needed
    unused = [uuid for uuid, part in travelled.items() if part["train"] in done]
    store.docs_store.remove_docs({"uuid": {"$in": sorted(snapshots)}})  # first: it says that the files are there
    store.additional_stores[FILES].remove_docs({"job_uuid": {"$in": [*unused, *sorted(snapshots)]}})


def staged(folder: Path, store: JobStore) -> OutputReference:
    """Reference to the files of a snapshot, as if a job had put them out; written where they are not there."""
    from datastore.snapshot import load_snapshot

    snapshot = load_snapshot(folder)
    uuid = stable_uuid("staged", snapshot.snapshot_id, str(folder.resolve()))  # other campaigns drop their own
    if store.docs_store.query_one({"uuid": uuid}, ["uuid"]) is None:
        content = {
            "uuid": uuid,
            "index": 1,
            "output": {FILES: packed(folder.iterdir())},
            "completed_at": datetime.now().isoformat(),
            "metadata": {"kind": "staged"},
            "name": f"snapshot {snapshot.snapshot_id}",
            "hosts": [],
        }
        store.update([content], key=["uuid", "index"], save={FILES: FILES})
    return OutputReference(uuid, (("i", FILES),))


def packed(files: Iterable[Path]) -> dict[str, str]:
    """Name -> content, in base64, of those files that are there."""
    return {path.name: base64.b64encode(path.read_bytes()).decode() for path in files if path.is_file()}


def unpack(files: Mapping[str, str], folder: Path) -> None:
    """Write such files; each is there as a whole or not at all, the state of a training after its model."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files):
        if Path(name).name != name:
            raise ValueError(f"{name!r} is no name of a file")
        temporary = folder / f".{name}.{os.getpid()}"
        temporary.write_bytes(base64.b64decode(files[name], validate=True))
        temporary.replace(folder / name)


def ends_at(limit: float | None) -> float | None:
    """When the scheduler ends this job (Unix time, s), as it says, else ``limit`` seconds from now; None for never."""
    if told := os.environ.get("SLURM_JOB_END_TIME"):
        return float(told)
    if job_id := os.environ.get("SLURM_JOB_ID"):
        asked = subprocess.run(["squeue", "-h", "-o", "%e", "-j", job_id], capture_output=True, text=True, check=False)
        try:
            return datetime.fromisoformat(asked.stdout.strip()).timestamp()
        except ValueError:
            pass  # no limit, or no answer
    return None if limit is None else time.time() + limit


@job
def train_here(
    snapshot: str, hypers: Document, seed: int, workdir: str, last: Document | None, seconds: float | None
) -> Document:
    """One part of a training in the folder of the campaign. ``last``: output of the part before. Output: see _part."""
    return {**_part(snapshot, hypers, seed, Path(workdir), last or {}, ends_at(seconds)), "limit": seconds}


@job(files=FILES)
def train_there(
    snapshot: dict[str, str],
    hypers: Document,
    seed: int,
    before: dict[str, str] | None,
    last: Document | None,
    scratch: str | None,
    seconds: float | None,
) -> Document:
    """One part of a training on files that came with it: ``snapshot``, and what the part ``before`` left.

    ``last``: output of that part, without its files. Works in ``scratch``, or in the job's folder, and leaves nothing
    there. Output: see :func:`_part`, with the files, and ``packing``, how long that took (s).
    """
    from jobflow import CURRENT_JOB

    end = ends_at(seconds)
    name = CURRENT_JOB.job.uuid if CURRENT_JOB.job else FOLDER
    place = Path(scratch).expanduser() / name if scratch else Path.cwd() / FOLDER
    unpack(snapshot, place / "snapshot")
    where = place / "models" / _snapshot_id(place / "snapshot")
    if before and last and not _has_come(where, last["steps"]):  # else this part was killed when it was further
        unpack(before, where)
    done = _part(str(place / "snapshot"), hypers, seed, place / "models", last or {}, end)
    started = time.time()
    files = packed(where / name for name in KEPT)
    shutil.rmtree(place)
    return {**done, "limit": seconds, "packing": time.time() - started, FILES: files}


def _has_come(workdir: Path, steps: str) -> bool:
    """Whether a training is there that has these steps behind it; what purges scratch may leave the folders."""
    from spinmultinet.train import STATE_FILE

    if not (workdir / STATE_FILE).is_file():
        return False
    state = _state(workdir)
    return (state["epoch"], state["batch"]) >= _reached(steps)


def _part(snapshot: str, hypers: Document, seed: int, workdir: Path, last: Document, end: float | None) -> Document:
    """Train until ``end`` (Unix time, s), some time before it. Output: ``finished``, ``epoch``, ``steps``, ``seconds``.

    ``steps``: epoch and batch, as text; ``stretch``: the longest time between two looks at the clock (s), which the
    part after the ``last`` has to leave free as well.
    """
    from spinmultinet.stopping import OutOfTimeError, deadline
    from workflows.jobs.train import train_member

    started = time.time()
    left = float("inf") if end is None else end - started
    margin = min(MARGIN, SHARE * left) + last.get("packing", 0.0)
    stretch = min(last.get("stretch", 0.0), left / 2)  # or one that hung would stop all parts after their first step
    try:
        with deadline(None if end is None else end - margin, stretch) as limit:
            train_member.original(snapshot, hypers, seed, str(workdir))
        finished = True
    except OutOfTimeError:
        finished = False
    state = _state(workdir / _snapshot_id(Path(snapshot)))
    steps = f"{state['epoch']}.{state['batch']}"
    done = {"finished": finished, "epoch": state["epoch"], "steps": steps, "seconds": time.time() - started}
    return {**done, "stretch": limit.stretch}


def _state(workdir: Path) -> Document:
    from spinmultinet.checkpoint import read
    from spinmultinet.train import STATE_FILE, STATE_FORMAT, STATE_VERSION

    return read(workdir / STATE_FILE, STATE_FORMAT, STATE_VERSION)


def _is_finished(workdir: Path) -> bool:
    return all((workdir / name).is_file() for name in KEPT) and bool(_state(workdir)["finished"])


def _snapshot_id(folder: Path) -> str:
    from datastore.snapshot import load_snapshot

    return load_snapshot(folder).snapshot_id


def _arguments(train: Job, store: JobStore) -> Sequence[Any]:
    """Folder of the snapshot, options, seed and folder of a campaign's job that trains."""
    folder, *others = train.function_args
    return [folder.resolve(store) if isinstance(folder, OutputReference) else folder, *others]
