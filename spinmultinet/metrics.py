"""Where the metrics of a training go: a CSV file, and TensorBoard on request."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import SpinMultiNetError

Metrics = dict[str, float]


def write_metrics(history: Sequence[Metrics], path: Path) -> None:
    """History as CSV, one row per epoch; empty where a quantity was not measured. A reader never sees half a file."""
    names = list(dict.fromkeys(k for row in history for k in row))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", *[n for n in names if n != "epoch"]])
        writer.writeheader()
        writer.writerows(history)
    os.replace(temporary, path)


class TensorBoard:
    """Event files for TensorBoard; nothing at all unless switched on.

    Raises SpinMultiNetError if it is on and the package is not installed: better at the start than after a night.
    """

    def __init__(self, on: bool, folder: Path, done: int) -> None:
        """`done` epochs are in the files already; what an interrupted run wrote beyond them is superseded."""
        self.writer: Any = None
        if on:
            self.writer = _summary_writer()(str(folder), purge_step=done + 1)

    def add(self, metrics: Metrics) -> None:
        """One epoch: `train_loss` becomes `loss/train`, and so on; the step is the epoch."""
        if self.writer is None:
            return
        for name, value in metrics.items():
            part, _, quantity = name.partition("_")
            tag = f"{quantity}/{part}" if part in ("train", "val") else name
            self.writer.add_scalar(tag, value, int(metrics["epoch"]))
        self.writer.flush()

    def close(self) -> None:
        """Flush and close the files."""
        if self.writer is not None:
            self.writer.close()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise SpinMultiNetError(
            "tensorboard: true needs a package that is not installed: pip install "
            "'spinmultinet-workflows[tensorboard]', or switch it off; metrics.csv has the same numbers"
        ) from None
    return SummaryWriter
