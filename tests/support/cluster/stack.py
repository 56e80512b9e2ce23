"""The real thing on one machine: MongoDB's protocol, Slurm, sshd, projects of jobflow-remote and their runners."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from pymongo import MongoClient

from tests.support.cli import ROOT
from tests.support.cluster import mongo, slurm, ssh
from tests.support.cluster.servers import Server, wait_until

QUICK = {
    "delay_checkout": 1,
    "delay_check_run_status": 1,
    "delay_advance_status": 1,
    "delay_update_batch": 1,
    "delay_refresh_limited": 5,
    "max_step_attempts": 3,
    "delta_retry": [2, 3],
}
"""Seconds between two looks of the runner, in place of the tens that a real one takes."""


class Stack:
    """A folder with all servers; ``start`` and ``stop``. ``environment`` is that of every process of a campaign."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="spinmultinet-stack-"))  # short: a socket's path has 108 characters
        self.slurm = slurm.Slurm(self.folder / "slurm")
        self.sshd = ssh.Sshd(self.folder / "ssh", self.slurm.environment)
        self.mongo = mongo.MongoServer(self.folder)
        self.runners: dict[str, Server] = {}
        self.python = Path(sys.executable)
        self.environment = {
            **os.environ,
            **self.slurm.environment,
            "PATH": f"{self.python.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "JFREMOTE_PROJECTS_FOLDER": str(self.folder / "projects"),
        }

    def start(self) -> None:
        self.mongo.start()
        self.slurm.start()
        self.sshd.start()

    def stop(self, keep: bool = False) -> None:
        """End runners, jobs and servers; the folder goes unless it is to be looked at."""
        for server in [*self.runners.values(), self.slurm, self.sshd, self.mongo]:
            server.stop()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def uri(self, name: str) -> str:
        """Store of the campaigns of a project."""
        return f"{self.mongo.uri}/{name}"

    def call(self, *words: object, folder: Path | None = None, seconds: float = 120) -> str:
        """Output of a command in the stack's environment; RuntimeError with all it said where it fails."""
        command = [str(word) for word in words]
        done = subprocess.run(
            command, cwd=folder or self.folder, env=self.environment, timeout=seconds, text=True, capture_output=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def spinmultinet(self, *words: object, folder: Path | None = None, seconds: float = 120) -> str:
        """Output of our command line."""
        return self.call(self.python, "-m", "workflows.cli", *words, folder=folder, seconds=seconds)

    def jf(self, name: str, *words: object) -> str:
        """Output of jobflow-remote's command line for a project."""
        return self.call(self.python.parent / "jf", "-p", name, *words)

    def project(self, layout: str, name: str, *options: object, **environment: str) -> Path:
        """Make a project with ``spinmultinet remote init`` and its queue; returns the path of the worker map.

        ``environment``: more variables that its jobs see; nothing of ours is in the environment of an SSH session.
        """
        self.environment["SPINMULTINET_STORE_URI"] = self.uri(name)
        lines = [f'export {key}="{value}"' for key, value in {"PYTHONPATH": str(ROOT), **environment}.items()]
        far = (
            "--host",
            f"root@127.0.0.1:{self.sshd.port}",
            "--key",
            self.sshd.key,
            "--scratch",
            self.folder / "scratch",
        )
        self.spinmultinet(
            "remote", "init", layout, "--name", name, "--python", self.python, "--pre-run", "\n".join(lines),
            "--work-dir", self.folder / name, "--cores", 1, "--max-jobs", slurm.CPUS,
            *(far if layout == "ssh" else ()), *options,
        )  # fmt: skip
        self._hurry(name)
        self.jf(name, "admin", "reset", "-y")
        return self.folder / f"{name}_workers.yaml"

    def _hurry(self, name: str) -> None:
        path = self.folder / "projects" / f"{name}.yaml"
        content: dict[str, Any] = yaml.safe_load(path.read_text())
        content["runner"] |= QUICK
        for worker in content["workers"].values():
            if "batch" in worker:
                worker["batch"] |= {"sleep_time": 1, "max_wait": 10}
        path.write_text(yaml.safe_dump(content))

    def change_map(self, path: Path, **changes: Any) -> Path:
        """Put other values into a worker map."""
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
        return path

    def queue(self, name: str) -> list[dict[str, Any]]:
        """Documents of all jobs in the queue of a project."""
        with MongoClient(self.uri(name)) as client:
            return list(client[f"{name}_queue"]["jobs"].find())

    def wait(self, name: str, seconds: float = 550, forgiving: bool = False) -> list[dict[str, Any]]:
        """Documents of the queue once all of its jobs are completed; RuntimeError with what a failed one said.

        ``forgiving``: failed jobs may be tried again.
        """

        def ended() -> bool:
            jobs = self.queue(name)
            for job in jobs:
                if job["state"] in ("FAILED", "REMOTE_ERROR") and not forgiving:
                    raise RuntimeError(
                        f"{job['job']['name']} on {job['worker']}: {job['error'] or job['remote']['error']}"
                    )
            return bool(jobs) and all(job["state"] == "COMPLETED" for job in jobs)

        try:
            wait_until(ended, f"{name} is done", seconds, step=1)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {_count(self.queue(name))}") from None
        return self.queue(name)

    def run(self, name: str) -> Server:
        """Start the runner of a project in the foreground of a process of its own."""
        runner = Server(
            [self.python.parent / "jf", "-p", name, "runner", "run"],
            self.folder / f"{name}_runner.log",
            self.environment,
        )
        runner.start(lambda: True)
        self.runners[name] = runner
        return runner

    def end(self, name: str) -> None:
        """Stop the runner of a project."""
        self.runners.pop(name).stop()


def _count(jobs: list[dict[str, Any]]) -> str:
    counts = Counter((job["state"], job["worker"]) for job in jobs)
    return ", ".join(f"{number} {state} on {worker}" for (state, worker), number in counts.items())


def missing() -> list[str]:
    """What this machine lacks for a stack, with how to get it."""
    return [*slurm.missing(), *ssh.missing(), *mongo.missing()]
