"""An engine whose process is killed, as the kernel does when memory runs out."""

import os
import signal
from pathlib import Path
from typing import Any, Literal

from jobflow import CURRENT_JOB

from datastore.schema import SpinConfig
from workflows.engines.interface import Engine, RawLabel
from workflows.job_store import open_job_store


class KillsItself(Engine):
    type: Literal["lethal"] = "lethal"
    after_storing: bool = False

    def level_of_theory(self) -> dict[str, Any]:
        return {"code": "lethal"}

    def version(self) -> str:
        return "1"

    def missing(self) -> list[str]:
        return []

    def seconds_estimate(self, config: SpinConfig) -> float:
        return 1.0

    def compute(self, config: SpinConfig, workdir: Path | None) -> RawLabel:
        if self.after_storing:
            uri = f"local:{Path.cwd().parents[2] / 'store'}"
            document = {"uuid": CURRENT_JOB.job.uuid, "index": 1, "output": {"stored": "before the end"}}
            open_job_store(uri).update([document], key=["uuid", "index"])
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")
