"""One worker process: takes jobs as JSON lines on stdin, runs them, answers as JSON lines.

Started by :mod:`workflows.submit` with the thread counts already set in its environment, because the numerical
libraries read them once, when they are loaded. A worker writes each output to the job store itself, before it answers:
what is acknowledged is on disk, even if the process that asked for it is gone.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import IO, Any

from monty.json import MontyEncoder

from workflows.processes import die_with
from workflows.progress import set_reporter
from workflows.trusted import decode

Message = dict[str, Any]
REPORT_INTERVAL = 0.5  # seconds between two progress messages of one job


def main() -> None:
    """Serve jobs until stdin closes. ``argv``: folder of the jobs' files, the parent's pid; first line: the store."""
    die_with(int(sys.argv[2]))
    folder = Path(sys.argv[1])
    answers = _claim_stdout(folder)
    from workflows.job_store import open_job_store

    first = sys.stdin.readline()
    if not first:  # the parent is gone
        return
    store = open_job_store(json.loads(first)["store"])
    _send(answers, {"kind": "ready"})
    for line in sys.stdin:
        request = json.loads(line)
        set_reporter(_Throttle(answers, request["uuid"]))
        _send(answers, {"uuid": request["uuid"], "index": request["index"], **_run(request, store, folder)})


def _run(request: Message, store: Any, folder: Path) -> Message:
    """Run one job in a folder of its own; the answer says done or failed, and with which new flows."""
    workdir = folder / request["folder"]
    started = time.time()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        os.chdir(workdir)
        job = decode(request["job"], f"job {request['uuid']}")
        response = job.run(store)
        flows = [f for f in (response.replace, response.detour, response.addition) if f is not None]
        dynamic = [json.dumps(flow, cls=MontyEncoder) for flow in flows]
        if dynamic or job.metadata.get("dynamic"):
            document = {"uuid": job.uuid, "index": job.index, "flows": dynamic}
            store.spin_store.flows.update([document], key=["uuid", "index"])
        return {"kind": "done", "flows": dynamic, "seconds": time.time() - started}
    except Exception as error:
        from workflows.engines.interface import TryLaterError, full_disk

        later = isinstance(error, TryLaterError) or full_disk(error) is not None
        told = (later or isinstance(error, ValueError | OSError)) and str(error)
        text = str(error).splitlines()[0] if told else f"{type(error).__name__}: {error}"
        said = f"{text} (details: {_keep_details(workdir / 'error.txt')})"
        return {"kind": "failed", "error": said, "later": later, "seconds": time.time() - started}


def _keep_details(log: Path) -> str:
    """Write the traceback of the current exception to ``log``; where even that fails (full disk), say why."""
    try:
        log.write_text(traceback.format_exc())
    except OSError as error:
        return f"none, {log} cannot be written: {error.strerror}"
    return str(log)


class _Throttle:
    """Progress reporter that sends at most one message per interval."""

    def __init__(self, answers: IO[str], uuid: str):
        self.answers, self.uuid, self.last = answers, uuid, 0.0

    def __call__(self, fraction: float, text: str) -> None:
        now = time.monotonic()
        if now - self.last >= REPORT_INTERVAL:
            self.last = now
            _send(self.answers, {"kind": "progress", "uuid": self.uuid, "fraction": fraction, "text": text})


def _send(answers: IO[str], message: Message) -> None:
    try:
        answers.write(json.dumps(message) + "\n")
        answers.flush()
    except BrokenPipeError:  # the parent is gone; everything of value is in the store
        os._exit(1)


def _claim_stdout(folder: Path) -> IO[str]:
    """Keep the pipe to the parent and send whatever jobs print to a log file instead."""
    folder.mkdir(parents=True, exist_ok=True)
    answers = os.fdopen(os.dup(1), "w")
    log = os.open(folder / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)
    return answers


if __name__ == "__main__":
    main()
