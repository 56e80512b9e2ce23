"""The spin-lattice engine, writing down every calculation in a file, and as slow as asked."""

import errno
import time
from pathlib import Path
from typing import Literal

from datastore.schema import SpinConfig
from workflows.engines.interface import LabelError, RawLabel, TryLaterError
from workflows.engines.spin_lattice.engine import SpinLatticeEngine


class Counted(SpinLatticeEngine):
    type: Literal["counted"] = "counted"  # type: ignore[assignment]
    log: str
    seconds: float = 0.0
    fail_at: int = -1
    later_at: int = -1
    disk_full: bool = False

    def compute(self, config: SpinConfig, workdir: Path | None) -> RawLabel:
        if self.fail_at == self.calls():
            raise LabelError("no convergence; mix less", "not-converged")
        if self.later_at == self.calls():
            raise OSError(errno.ENOSPC, "No space left on device") if self.disk_full else TryLaterError("the job ends")
        time.sleep(self.seconds)
        label = super().compute(config, workdir)
        with Path(self.log).open("a") as file:
            file.write(f"{config.config_id}\n")
        return label

    def calls(self) -> int:
        path = Path(self.log)
        return len(path.read_text().splitlines()) if path.exists() else 0
