"""Labels through a queue of jobflow-remote: what each costs beside its calculation.

The runner, its workers and the folders of the jobs are the real ones, and so is the database, or the test server where
none is given. The jobs are those of a campaign; what they compute takes no time.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from benchmarks.scale.engine import Instant
from benchmarks.scale.measure import PER_COUNT, campaign
from tests.support.cluster.servers import wait_until
from tests.support.cluster.stack import Stack
from workflows.trusted import VARIABLE

Row = dict[str, Any]
NAME = "scale"
WORKERS = ("labels", "pilot")
DELAYS = {
    "delay_checkout": 1,
    "delay_check_run_status": 1,
    "delay_advance_status": 1,
    "delay_update_batch": 2,
    "delay_refresh_limited": 10,
}
"""Seconds between two looks of the runner."""
SPENT = "spent.txt"
FLOW = 50
"""Jobs in a flow, as in configs/remote/workstation.yaml."""
COMMAND = "jobflow_remote.cli.jf, jobflow_remote.jobs.run"
IMPORTS = {
    "interpreter": "",
    "command": f"import {COMMAND}",
    "both": f"import {COMMAND}, workflows.jobs.label, benchmarks.scale.engine",
}
"""What the process of a job imports, beginning with nothing."""


def through_queue(labels: int, worker: str, parallel: int, mongo_uri: str) -> Row:
    """Hand ``labels`` jobs to ``worker``, which does ``parallel`` at a time, and wait until all are done."""
    stack = Stack()
    try:
        if mongo_uri:
            stack.mongo.uri = mongo_uri.rstrip("/")
        else:
            stack.mongo.start()
        _prepare(stack, parallel)
        _submit(stack, labels, worker)
        started = time.perf_counter()
        runner = stack.run(NAME)
        jobs = stack.wait(NAME, seconds=3600)
        wall = time.perf_counter() - started
        assert runner.process is not None
        row = {"wall": wall, "runner": _spent(runner.process.pid), "load": os.getloadavg()[0]}
        jobs_spent = sum(map(_of_script, _scripts(stack, jobs, worker)))
    finally:
        stack.stop()
    asked = {"labels": labels, "workers": parallel, "worker": worker}
    return {**asked, **row, "jobs": jobs_spent, "imports": {name: cpu_of(code) for name, code in IMPORTS.items()}}


def cpu_of(code: str) -> float:
    """CPU seconds of an interpreter that runs ``code``: the least of three."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def _prepare(stack: Stack, parallel: int) -> None:
    """The project of a workstation, with a pilot beside its workers, and jobs that say what they have spent."""
    stack.environment[VARIABLE] = "benchmarks"
    stack.project("workstation", NAME, "--max-jobs", parallel)
    path = stack.folder / "projects" / f"{NAME}.yaml"
    content = yaml.safe_load(path.read_text())
    content["runner"] |= DELAYS
    labels = content["workers"]["labels"]
    labels["post_run"] = f"times > {SPENT}"
    places = {name: str(stack.folder / name) for name in ("jobs_handle_dir", "work_dir")}
    batch = {**places, "max_wait": 10, "sleep_time": 1, "parallel_jobs": parallel}
    content["workers"]["pilot"] = {**labels, "max_jobs": 1, "batch": batch}
    path.write_text(yaml.safe_dump(content))


def _submit(stack: Stack, labels: int, worker: str) -> None:
    os.environ |= {"JFREMOTE_PROJECTS_FOLDER": stack.environment["JFREMOTE_PROJECTS_FOLDER"]}
    os.environ |= {"SPINMULTINET_STORE_URI": stack.uri(NAME)}
    from jobflow import Flow
    from jobflow_remote import submit_flow

    from datastore.batches import in_batches
    from workflows.jobs.label import label_job
    from workflows.structures import generate

    options = campaign(stack.folder / "campaign", labels + PER_COUNT, FLOW).options
    configs = islice(generate(options.structures), labels)
    for some in in_batches(configs, FLOW):
        submit_flow(Flow([label_job(Instant(), config) for config in some]), worker=worker, project=NAME)


def _scripts(stack: Stack, jobs: Sequence[Row], worker: str) -> list[Path]:
    """What the scripts that ran on the worker say they have spent; a pilot says it at its end, for all of its jobs."""
    if worker != "pilot":
        return [Path(job["run_dir"]) / SPENT for job in jobs]
    found = [script.with_name(SPENT) for script in (stack.folder / "work_dir").rglob("submit.sh")]
    wait_until(lambda: all(path.exists() and path.read_text() for path in found), "the pilots have ended", 120)
    return found


def _of_script(path: Path) -> float:
    """CPU seconds of what a script has run; the shell's ``times`` tells of itself first, then of those."""
    _, children = path.read_text().splitlines()
    return sum(60 * float(minutes) + float(seconds) for minutes, seconds in re.findall(r"(\d+)m([\d.]+)s", children))


def _spent(pid: int) -> float:
    """CPU seconds of a process and of those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
