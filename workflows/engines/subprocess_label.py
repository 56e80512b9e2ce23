"""Run an engine's ``compute_here`` in a child process that starts single-threaded. JSON in, JSON out, no pickle.

``python -m workflows.engines.subprocess_label job.json result.json PARENT_PID``
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datastore.schema import SpinConfig
from workflows.engines.interface import FULL_DISK, LabelError, RawLabel, full_disk
from workflows.processes import SINGLE_THREAD, die_with

_ARRAYS = ("forces", "stress", "magmoms_out", "magnetic_forces")


class ChildEngine(Protocol):
    """What this module needs of an engine."""

    def model_dump(self) -> dict[str, Any]:
        """Settings, with the ``type`` that get_engine() knows."""

    def compute_here(self, config: SpinConfig, workdir: Path | None) -> RawLabel:
        """Run the calculation in this process."""


def single_threaded() -> bool:
    """Whether this process was started with one BLAS and OpenMP thread.

    Linux keeps the environment of the start in /proc: a variable set later in ``os.environ`` came too late.
    """
    try:
        entries = Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")
        environment = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    except OSError:
        environment = dict(os.environ)
    return all(environment.get(name) == "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"))


def label_in_child(engine: ChildEngine, config: SpinConfig, workdir: Path | None) -> RawLabel:
    """Compute in a child process. Raises LabelError as the child does, and ``crashed`` where the child dies.

    Raises OSError where the child met a full disk: its exit code is then the error number, because there may be no
    room for an answer.
    """
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory(prefix="label-") as folder:
        job, result = Path(folder, "job.json"), Path(folder, "result.json")
        job.write_text(
            json.dumps(
                {
                    "engine": engine.model_dump(),
                    "config": config.model_dump(),
                    "workdir": None if workdir is None else str(workdir.resolve()),
                }
            )
        )
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(job), str(result), str(os.getpid())],
            env={**os.environ, **SINGLE_THREAD, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode in FULL_DISK:
            raise OSError(done.returncode, _last_line(done.stderr))
        if done.returncode or not result.exists():
            raise LabelError(_death(done.returncode, done.stderr), "crashed")
        answer = json.loads(result.read_text())
    if "error" in answer:
        raise LabelError(answer["error"], answer["kind"], answer["timings"])
    arrays = {name: np.array(answer[name], dtype=float) for name in _ARRAYS if answer[name] is not None}
    return RawLabel(**{**answer, **arrays})


def _death(code: int, stderr: str) -> str:
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"the calculation's process {how}: {_last_line(stderr)}"


def _last_line(stderr: str) -> str:
    return (stderr.strip().splitlines() or ["no message"])[-1]


def main(job: str, result: str, parent: str) -> None:
    """Entry point of the child process."""
    die_with(int(parent))
    try:
        _answer(json.loads(Path(job).read_text()), Path(result))
    except OSError as error:
        full = full_disk(error)
        if full is None or full.errno is None:
            raise
        print(full, file=sys.stderr)
        sys.exit(full.errno)


def _answer(task: dict[str, Any], result: Path) -> None:
    """Compute and write the answer in one piece."""
    from workflows.engines import get_engine

    engine: Any = get_engine(task["engine"])
    workdir = None if task["workdir"] is None else Path(task["workdir"])
    try:
        raw = asdict(engine.compute_here(SpinConfig(**task["config"]), workdir))
        answer = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in raw.items()}
    except LabelError as error:
        answer = {"error": str(error), "kind": error.kind, "timings": error.timings}
    temporary = result.with_suffix(".tmp")
    temporary.write_text(json.dumps(answer))
    temporary.replace(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
