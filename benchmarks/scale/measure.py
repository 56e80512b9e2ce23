"""What is measured: one function each, run in a process of its own, so that its memory is its own."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobflow import Job

from benchmarks.scale.engine import Instant
from workflows.campaign import CampaignOptions
from workflows.flows import CampaignMaker

Row = dict[str, Any]
CELL = "conventional_2x2x2"
ATOMS = 64
PER_COUNT = 36
"""Configurations that one more of each deformation makes: 3 parents, 3 deformations, 4 orderings."""


def campaign(folder: Path, configurations: int, chunk: int) -> CampaignMaker:
    """A campaign of about ``configurations`` cells of 64 atoms, labelled at once."""
    count = max(1, round(configurations / PER_COUNT))
    deformations = [
        {"kind": "displacement", "count": count, "amplitude": [0.03, 0.12]},
        {"kind": "shear", "count": count, "amplitude": [-0.06, 0.06], "displacement": 0.03},
        {"kind": "volume", "count": count, "amplitude": [0.88, 1.1], "displacement": 0.03},
    ]
    options = CampaignOptions.model_validate(
        {
            "name": "scale",
            "folder": str(folder),
            "engine": {"type": "spin-lattice"},  # parsed only: the jobs have the other one
            "structures": {
                "parents": [{"species": species, "cell": CELL} for species in ("Mn", "Co", "Ni")],
                "orderings": ["FM", "AFM-I", "AFM-II", "AFM-III"],
                "magmoms": {"Mn": 4.5, "Co": 2.6, "Ni": 1.7},
                "deformations": deformations,
            },
            "model": "configs/models/tiny.yaml",
            "baseline": "",
            "chunk": chunk,
        }
    )
    return CampaignMaker(options, Instant())


class Stop:
    """Ends a run before what follows the labels."""

    def takes(self, job: Job) -> bool:
        """All but labels and what adds them."""
        return job.metadata.get("kind") not in ("structures", "chunk", "label")

    def give(self, jobs: Sequence[Job]) -> dict[str, str]:
        """They are left alone."""
        return {}


def begin(folder: Path, configurations: int, chunk: int) -> Row:
    """Check of the tests, generation, and writing of all configurations."""
    maker = campaign(folder, configurations, chunk)
    started = time.perf_counter()
    maker.make()
    checked = time.perf_counter() - started
    slices = maker.first_slices()
    found = sum(len(slices.config_ids(at)) for at in range(len(slices)))
    size = sum(file.stat().st_size for file in slices.folder.iterdir())
    return {"configurations": found, "check": checked, "write": time.perf_counter() - started - checked, "size": size}


def labels(folder: Path, configurations: int, chunk: int, workers: int) -> Row:
    """Generation, submission and labels of a whole first round."""
    from workflows.submit import run_local

    maker = campaign(folder, configurations, chunk)
    ended: list[float] = []

    def watch(event: Row) -> None:
        if event["kind"] == "done" and event["type"] == "label":
            ended.append(time.perf_counter())

    before, started = os.times(), time.perf_counter()
    flow = maker.make()
    result = run_local(flow, maker.options.store, maker.folder, workers, watch, Stop())
    wall, after = time.perf_counter() - started, os.times()
    count = result.executed_by_kind.get("label", 0)
    half = len(ended) // 2
    return {
        "labels": count,
        "reused": result.reused,
        "workers": workers,
        "wall": wall,
        "steady": (ended[-1] - ended[half]) / (len(ended) - half - 1) if half > 1 else None,
        "controller": (after.user + after.system - before.user - before.system),
        "children": (after.children_user + after.children_system),
        "load": os.getloadavg()[0],
    }


def documents(folder: Path, configurations: int, chunk: int) -> Row:
    """Sizes of what the store holds after the labels."""
    from datastore import open_store

    maker = campaign(folder, configurations, chunk)
    with open_store(maker.options.store, create=False) as store:
        flows = max((sum(map(len, d["flows"])) for d in store.flows.query()), default=0)
    size = sum(file.stat().st_size for file in Path(maker.options.store.removeprefix("local:")).iterdir())
    return {"largest_flow": flows, "store": size}


def status(folder: Path, configurations: int, chunk: int) -> Row:
    """`spinmultinet status` of the campaign."""
    from workflows.status import campaign_status

    maker = campaign(folder, configurations, chunk)
    started = time.perf_counter()
    found = campaign_status(maker.options, maker.engine)
    return {"seconds": time.perf_counter() - started, "labels": sum(found.jobs["label"].values())}


def plan(folder: Path, configurations: int, chunk: int) -> Row:
    """The dry run: `spinmultinet structures`."""
    from workflows.cli.campaign import _plan
    from workflows.structures import generate

    maker = campaign(folder, configurations, chunk)
    started = time.perf_counter()
    found = _plan(maker.options, maker.engine, generate(maker.options.structures))
    return {"seconds": time.perf_counter() - started, "labels": found["configurations"]}


def take_in(folder: Path, configurations: int, chunk: int) -> Row:
    """Ingest of all labels."""
    from datastore import open_store
    from datastore.ingest import ingest

    maker = campaign(folder, configurations, chunk)
    started = time.perf_counter()
    with open_store(maker.options.store, create=False) as store:
        report = ingest(store)
    return {"seconds": time.perf_counter() - started, "labels": report.labels}


def freeze(folder: Path, configurations: int, chunk: int) -> Row:
    """The snapshot of all labels: twins, split, files."""
    from datastore import open_store
    from datastore.snapshot import make_snapshot

    maker = campaign(folder, configurations, chunk)
    started = time.perf_counter()
    with open_store(maker.options.store, create=False) as store:
        snapshot = make_snapshot(store, folder / "snapshots", options=maker.options.split, frozen=True)
    return {"seconds": time.perf_counter() - started, "labels": sum(snapshot.counts.values())}


STEPS = {step.__name__: step for step in (begin, labels, documents, status, plan, take_in, freeze)}


def measured(name: str, arguments: Row) -> Row:
    """A step and the peak memory (bytes) of its process, and of the largest of its workers."""
    found = STEPS[name](**arguments)
    own, others = (resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {**found, "step": name, "memory": own, "worker_memory": others}
