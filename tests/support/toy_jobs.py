"""Small real jobflow jobs for tests of the local runner."""

import os
import signal
import time
from pathlib import Path

from jobflow import Flow, Response, job

from workflows.jobs.label import stable_uuid
from workflows.progress import report


@job
def count_up(log: str, value: int, after=None, seconds: float = 0.0):
    """Append to ``log`` (so that executions can be counted) and return value + 1."""
    time.sleep(seconds)
    with Path(log).open("a") as file:
        file.write(f"{value}\n")
    return value + 1


@job
def fail(message: str):
    raise ValueError(message)


@job
def die(after=None):
    os.kill(os.getpid(), signal.SIGKILL)


@job
def slow_with_progress(steps: int):
    for step in range(steps):
        report((step + 1) / steps, f"step {step + 1}")
        time.sleep(0.3)
    return steps


@job
def grow(log: str, rounds: int):
    """Dynamic: adds ``rounds`` further generations, one at a time."""
    with Path(log).open("a") as file:
        file.write(f"grow {rounds}\n")
    if rounds == 0:
        return Response(output=0)
    return Response(output=rounds, addition=Flow([named(count_up(log, 100 + rounds)), grown(log, rounds - 1)]))


@job
def replace_me(log: str):
    return Response(output=1, replace=named(count_up(log, 50)))


def named(new, *parts: str):
    """Give a job the stable uuid a maker would give it."""
    new.set_uuid(stable_uuid("toy", new.name, repr(new.function_args), *parts))
    return new


def grown(log: str, rounds: int):
    new = named(grow(log, rounds))
    new.update_metadata({"dynamic": True}, dynamic=False)
    return new


@job
def read_environment(name: str):
    return os.environ.get(name)
