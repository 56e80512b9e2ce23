"""Break a campaign on a cluster in every way that clusters break, recover by the documented commands, count.

python benchmarks/remote_faults.py          # writes docs/results/remote-faults.md; exit code 1 on a violation

A campaign of 40 labels (spin-lattice engine) runs through a queue of jobflow-remote, over SSH, in a real Slurm, all on
this machine and ended with it; the folder of the worker is a small tmpfs. Each fault meets it at a random moment:
signal 9 to the runner, to the process of a label, to the database server, to sshd and its sessions, each twice; a
process is stopped (SIGSTOP) until Slurm ends its job at the time limit; the disk of the worker is filled. Then
what was ended is started again and docs/cluster.md is followed. Violations:

- a label is not there at the end, is there twice, or is a failure on record;
- a label has another energy or verdict than in a run without queue and faults;
- a job of Slurm was begun again for a label whose first one no fault had met;
- the campaign does not come to its end.

Needs root and what `make test-remote` needs.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datastore import open_store
from tests.support.cli import tiny_campaign
from tests.support.cluster.servers import wait_until
from tests.support.cluster.stack import Stack

NAME, WORKER = "faults", "cluster_cpu"
DEFORMATIONS = [
    {"kind": "none"},
    {"kind": "displacement", "count": 14, "amplitude": [0.02, 0.06]},
    {"kind": "volume", "count": 5, "amplitude": [0.95, 1.05]},
]
LABELS = 40
TWICE = ("runner", "job", "database", "ssh")
ONCE = ("time limit", "full disk")
DISK = 64 * 2**20
"""Bytes that the worker's folder takes."""
QUIET = 45.0
"""Seconds without a change in the queue after which a person would give the command again."""
PAGE = Path(__file__).parents[1] / "docs" / "results" / "remote-faults.md"


@dataclass
class Fault:
    """What was broken, what it met, and how long it took until the next label was stored."""

    kind: str
    stored: int
    """Labels in the store when it happened."""
    at_work: str
    """States of the queue then."""
    met: set[str] = field(default_factory=set)
    """Labels whose jobs were at work or on their way."""
    seconds: float = 0.0


class Experiment:
    """One campaign with its servers."""

    def __init__(self, stack: Stack, rng: random.Random):
        self.stack, self.rng = stack, rng
        self.disk = stack.folder / "scratch"
        self.faults: list[Fault] = []
        self.commands: Counter[str] = Counter()
        self.signalled: set[str] = set()
        self.file = stack.folder / "campaign" / "tiny.yaml"

    def begin(self) -> None:
        """Everything up, the campaign handed over, the runner at work."""
        stack = self.stack
        stack.start()
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(self.disk)], check=True)
        worker_map = stack.project("ssh", NAME)
        limit = {"queue": "cpu", "time": "00:02:00"}
        pilot = {"worker": "cluster_pilot", "sites": 1}
        stack.change_map(worker_map, pilot=pilot, resources={"label": [limit]}, retries=4, longest="00:08:00")
        self.file.parent.mkdir()
        options = {"structures__deformations": DEFORMATIONS, "active_learning__rounds": 0, "baseline": ""}
        tiny_campaign(self.file.parent, store=stack.uri(NAME), **options)
        self.command("--worker-map", worker_map)
        stack.run(NAME)

    def command(self, *more: object) -> None:
        """The command that starts and goes on; a campaign that is busy is left alone."""
        try:
            self.stack.spinmultinet("run", self.file, "--remote", NAME, *more, folder=self.file.parent, seconds=300)
        except RuntimeError as error:
            if "is busy" not in str(error):  # an advance in the queue is at it
                raise
        self.commands["spinmultinet run --remote"] += 1

    def queue(self) -> list[dict[str, Any]]:
        """Labels and the rest in the queue."""
        return self.stack.queue(NAME)

    def stored(self) -> int:
        """Labels whose output is where the campaign looks for it."""
        with open_store(self.stack.uri(NAME)) as store:
            return int(store.jobs.count({"metadata.kind": "label"}))

    def at_work(self) -> list[dict[str, Any]]:
        """Labels in the queue that have left and not come back."""
        waiting = ("READY", "WAITING", "COMPLETED")
        labels = [job for job in self.queue() if job["job"]["metadata"].get("kind") == "label"]
        return [job for job in labels if job["state"] not in waiting]

    def processes(self) -> dict[str, list[int]]:
        """uuid -> processes of labels that run now on the worker."""
        found: dict[str, list[int]] = {}
        for line in subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.split(
            "\n"
        ):
            if match := re.search(rf"^\s*(\d+) .*execution run {self.disk}/{WORKER}/\S*/([0-9a-f-]{{36}})_1", line):
                found.setdefault(match[2], []).append(int(match[1]))
        return found

    def ended(self, uuid: str) -> bool:
        """Whether a label's process has written its output, and only has to exit."""
        return any("end_time" in path.read_text() for path in self.disk.rglob(f"{uuid}_1/jfremote_out.json"))

    def signal_one(self, sign: signal.Signals) -> set[str]:
        """A signal to the processes of a label that computes and had none yet, as soon as there is one; its uuid."""

        def untouched() -> list[tuple[str, list[int]]]:
            running = self.processes().items()
            return sorted((uuid, pids) for uuid, pids in running if uuid not in self.signalled and not self.ended(uuid))

        wait_until(lambda: bool(untouched()), "a label runs", 120)
        uuid, pids = self.rng.choice(untouched())
        for pid in pids:
            os.kill(pid, sign)
        self.signalled.add(uuid)
        return {uuid}

    def strike(self, kind: str) -> None:
        """Break something now, put it right, follow the page."""
        stored, at_work = self.stored(), self.at_work()
        states = Counter(job["state"].lower() for job in at_work)
        told = ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "nothing"
        fault = Fault(kind, stored, told, {job["uuid"] for job in at_work})
        began = time.monotonic()
        fault.met |= getattr(self, f"_{kind.replace(' ', '_')}")() | {job["uuid"] for job in self.at_work()}
        self.command()
        wait_until(lambda: self.stored() > stored or self.finished(), "the next label", 600, 1)
        fault.seconds = time.monotonic() - began
        self.faults.append(fault)
        print(row(fault), flush=True)

    def _runner(self) -> set[str]:
        self.stack.runners[NAME].kill()
        self._restart()
        return set()

    def _restart(self) -> None:
        """The runner, as the page says; it first frees what a killed one had locked."""
        for words in (("admin", "unlock", "-y"), ("admin", "unlock-flow", "-y")):
            self.stack.jf(NAME, *words)
            self.commands[f"jf {' '.join(words[:2])}"] += 1
        self.stack.run(NAME)
        self.commands["jf runner start"] += 1

    def _job(self) -> set[str]:
        return self.signal_one(signal.SIGKILL)

    def _database(self) -> set[str]:
        self.stack.mongo.kill()
        time.sleep(self.rng.uniform(2, 8))
        self.stack.mongo.start()
        self.stack.end(NAME)  # it may have a job locked that it could not release
        self._restart()
        return set()

    def _ssh(self) -> set[str]:
        self.stack.sshd.cut()
        time.sleep(self.rng.uniform(2, 8))
        self.stack.sshd.start()
        return set()

    def _time_limit(self) -> set[str]:
        return self.signal_one(signal.SIGSTOP)

    def _full_disk(self) -> set[str]:
        block, met = self.disk / "block", set[str]()
        with block.open("wb") as file:
            try:
                while True:
                    file.write(b"0" * 2**20)
            except OSError:
                pass  # it is full

        def felt() -> bool:
            met.update(job["uuid"] for job in self.at_work())
            states = [job["state"] for job in self.queue()]
            return "FAILED" in states or "REMOTE_ERROR" in states

        wait_until(felt, "the disk is missed", 300, 1)
        block.unlink()
        return met

    def finished(self) -> bool:
        """Whether the model of the campaign is recorded, and nothing is left in the queue."""
        with open_store(self.stack.uri(NAME)) as store:
            done = store.models.count() > 0
        return done and all(job["state"] == "COMPLETED" for job in self.queue())

    def end(self) -> None:
        """Wait for the end; where the queue stands still the command is given again, as a person would."""
        until, before, since = time.monotonic() + 1500, "", time.monotonic()
        while not self.finished():
            now = str(sorted((job["uuid"], job["state"]) for job in self.queue()))
            if now != before:
                before, since = now, time.monotonic()
            if time.monotonic() - since > QUIET:
                self.command()
                since = time.monotonic()
            if time.monotonic() > until:
                raise TimeoutError(f"the campaign does not end: {Counter(j['state'] for j in self.queue())}")
            time.sleep(2)


def experiment(stack: Stack, rng: random.Random) -> tuple[Experiment, list[str], dict[str, list[str]]]:
    """Run it all; the violations, and the jobs of Slurm that labels took."""
    kinds = [*TWICE, *TWICE, *ONCE]
    rng.shuffle(kinds)
    moments = sorted(rng.sample(range(1, LABELS - 6), len(kinds)))
    run = Experiment(stack, rng)
    run.begin()
    for kind, moment in zip(kinds, moments, strict=True):
        wait_until(lambda least=moment: run.stored() >= least or run.finished(), f"{moment} labels", 900, 0.5)
        time.sleep(rng.uniform(0, 4))
        run.strike(kind)
    run.end()
    starts = begun(stack)
    return run, violations(run, starts), starts


def begun(stack: Stack) -> dict[str, list[str]]:
    """uuid of a label -> states of the jobs of Slurm that were begun for it."""
    found: dict[str, list[str]] = {}
    for job in stack.slurm.jobs():
        if (match := re.search(rf"/{WORKER}/\S*/([0-9a-f-]{{36}})_1/", job.get("StdOut", ""))) and job[
            "StartTime"
        ] != "Unknown":
            found.setdefault(match[1], []).append(job["JobState"])
    return found


def violations(run: Experiment, starts: dict[str, list[str]]) -> list[str]:
    """What is not as it has to be."""
    expected = undisturbed(run.stack.folder)
    with open_store(run.stack.uri(NAME)) as store:
        points = list(store.points.query(properties=["point_id", "energy", "verdict"]))
        outputs = Counter(document["uuid"] for document in store.jobs.query({"metadata.kind": "label"}, ["uuid"]))
        failures = store.failures.count()
    found = {point["point_id"]: (point["energy"], point["verdict"]) for point in points}
    told = [f"{failures} failures on record"] if failures else []
    if len(points) != len(found) or set(found) != set(expected):
        told.append(f"{len(points)} labels of {len(set(found))} configurations, not {len(expected)}")
    told += [f"output of {uuid} stored {number} times" for uuid, number in outputs.items() if number != 1]
    for name, (energy, verdict) in expected.items():
        if name in found and (abs(found[name][0] - energy) > 1e-9 or found[name][1] != verdict):
            told.append(f"label {name} is {found[name]}, and ({energy}, {verdict}) without faults")
    if "TIMEOUT" not in {state for states in starts.values() for state in states}:
        told.append("no job met its time limit: the experiment is not what it says")
    return told + repeated(run.faults, starts)


def repeated(faults: list[Fault], starts: dict[str, list[str]]) -> list[str]:
    """Labels that were begun again although no fault met them."""
    met = set().union(*(fault.met for fault in faults))
    again = {uuid: len(jobs) for uuid, jobs in starts.items() if len(jobs) > 1 and uuid not in met}
    return [f"label {uuid} was begun {number} times, and no fault met it" for uuid, number in again.items()]


def undisturbed(folder: Path) -> dict[str, tuple[float, str]]:
    """point_id -> energy and verdict of the same labels, calculated in this process."""
    from workflows.campaign import load_campaign
    from workflows.structures import generate

    (folder / "plain").mkdir()
    options, engine = load_campaign(tiny_campaign(folder / "plain", structures__deformations=DEFORMATIONS))
    points = [engine.label(config) for config in generate(options.structures, options.name)]
    return {point.point_id: (point.energy, point.verdict) for point in points}


def row(fault: Fault) -> str:
    """One line of the table."""
    return f"| {fault.kind} | {fault.stored} | {fault.at_work} | {fault.seconds:.0f} |"


HEAD = """\
| fault | labels stored | labels on their way | seconds to the next label |
| --- | --- | --- | --- |
"""


def page(run: Experiment, problems: list[str], starts: dict[str, list[str]], seconds: float, seed: int) -> str:
    """The page of results."""
    asked = ", ".join(f"`{words}` {number} times" for words, number in run.commands.items())
    states = Counter(state for jobs in starts.values() for state in jobs)
    documentation = (__doc__ or "").split("\n\n")
    verdict = "no violation" if not problems else "\n".join(f"- {problem}" for problem in problems)
    return (
        f"# A campaign on a cluster that breaks\n\n    python benchmarks/remote_faults.py --seed {seed}\n\n"
        f"{documentation[2]}\n\n{documentation[3]}\n\n"
        f"One run, seed {seed}, {os.cpu_count()} cores, {seconds:.0f} s.\n\n"
        f"{HEAD}" + "\n".join(map(row, run.faults)) + "\n\n"
        f"{len(run.faults)} faults, {LABELS} labels, {states.total()} jobs of Slurm for them "
        f"({', '.join(f'{number} {state.lower()}' for state, number in states.items())}). "
        f"Recovery took {asked}.\n\n**{verdict}**\n\n"
        "Where a fault falls between the submission of a job and its note in the queue, the job is submitted again, "
        "and the label may be computed twice; its output is stored once. Such ones would be among these jobs.\n"
    )


def main() -> int:
    """Number of violations as an exit code: 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    stack, began = Stack(), time.monotonic()
    try:
        print(HEAD, end="", flush=True)
        run, problems, starts = experiment(stack, random.Random(arguments.seed))
        arguments.out.write_text(page(run, problems, starts, time.monotonic() - began, arguments.seed))
    finally:
        subprocess.run(["umount", "-l", str(stack.folder / "scratch")], check=False, capture_output=True)
        stack.stop(keep=bool(os.environ.get("KEEP")))
    print("\n".join(problems) or "no violation")
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())
