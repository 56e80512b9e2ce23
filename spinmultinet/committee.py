"""Committees: several members of equal architecture, trained side by side; mean and spread of their predictions."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait as wait_for
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from . import keys
from .calibration import (
    Calibration,
    calibration_file,
    file_sha256,
    fitted,
    read_calibration,
    write_calibration,
)
from .checkpoint import load_model
from .comparison import compare
from .data import Graph, fingerprint, name_of, unit_doubts
from .distributed import n_processes
from .errors import SpinMultiNetError
from .evaluate import STRUCTURES_PER_BATCH, Prediction, check_labels, graphs_of, predict_graphs
from .fine_tune import weights_hash
from .hypers import ModelOptions, TrainOptions
from .metrics import Metrics
from .model import SpinMultiNet
from .train import TrainResult, UnitWarning, train
from .training_data import FOLDER, discard_graphs
from .uncertainty import uncertainty

JobProgress = Callable[[str, int, int, Metrics], None]
_POLL_SECONDS = 0.2
_reports: SimpleQueue[Any] | None = None  # set in the children only
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class TrainingJob:
    """One model to train: a name for progress reports, options, seed, folder, and what its checkpoint should say."""

    name: str
    options: TrainOptions
    model_options: ModelOptions
    seed: int
    workdir: Path
    metadata: dict[str, Any] = field(default_factory=dict)


def train_parallel(
    jobs: Sequence[TrainingJob],
    train_atoms: Sequence[Atoms],
    val_atoms: Sequence[Atoms],
    processes: int = 2,
    progress: JobProgress | None = None,
) -> list[TrainResult]:
    """Train models side by side in fresh processes (spawn), one torch thread each; results in the order of the jobs.

    Each is resumable (see `train`): after a crash the same call does only what is left. `progress(name, epoch, epochs,
    metrics)` is called in this process. The first failure is raised after the others have ended; a child that was
    killed from outside is a SpinMultiNetError.
    """
    if not jobs:
        return []
    if n_processes() > 1:
        raise SpinMultiNetError(
            "a committee trains its members in processes of its own; under torchrun (WORLD_SIZE is set) train them one "
            "by one, each with its seed and in its folder (member_0, member_1, ...)"
        )
    for note in unit_doubts([*train_atoms, *val_atoms]):
        warnings.warn(note, UnitWarning, stacklevel=2)
    context = mp.get_context("spawn")
    reports = context.SimpleQueue()
    count = max(1, min(processes, len(jobs)))
    with _one_thread_each(), ProcessPoolExecutor(count, context, _begin, (reports,)) as pool:
        running = [pool.submit(_work, job, list(train_atoms), list(val_atoms)) for job in jobs]
        try:
            _relay(running, reports, progress)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        try:
            return [f.result() for f in running]
        except BrokenProcessPool:
            raise SpinMultiNetError(
                "a training process was killed from outside (out of memory?); give it more memory or fewer processes; "
                "the same call goes on from the last checkpoints"
            ) from None


def _begin(reports: SimpleQueue[Any]) -> None:
    """In a new child: keep the way to report, and do not outlive the parent."""
    global _reports  # noqa: PLW0603 - the only way into a pool's child besides arguments, which queues may not take
    _reports = reports
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """SIGTERM, which saves the state, if the parent is gone: nobody would collect the result."""
    parent = mp.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _work(job: TrainingJob, train_atoms: list[Atoms], val_atoms: list[Atoms]) -> TrainResult:
    """In the child: train one job and report each epoch."""

    def tell(epoch: int, epochs: int, metrics: Metrics) -> None:
        if _reports is not None:
            _reports.put((job.name, epoch, epochs, metrics))

    options = job.options.model_copy(update={"threads": 1})
    warnings.simplefilter("ignore", UnitWarning)  # the parent has said so, once
    try:
        return train(options, job.model_options, train_atoms, val_atoms, job.workdir, job.seed, tell, job.metadata)
    finally:
        parent = mp.parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)  # the state is saved; the pool would wait for work that never comes


def _relay(running: Sequence[Future[TrainResult]], reports: SimpleQueue[Any], progress: JobProgress | None) -> None:
    """Pass reports on until all have ended."""
    ended = False
    while not ended:
        ended = len(wait(running, timeout=_POLL_SECONDS).not_done) == 0
        while not reports.empty():
            report = reports.get()
            if progress is not None:
                progress(*report)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Children inherit the environment; several processes with many threads each only get in each other's way."""
    old = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def train_committee(
    options: TrainOptions,
    model_options: ModelOptions,
    train_atoms: Sequence[Atoms],
    val_atoms: Sequence[Atoms],
    workdir: Path,
    seeds: Sequence[int] = (0, 1, 2),
    processes: int = 2,
    progress: JobProgress | None = None,
    metadata: dict[str, Any] | None = None,
) -> list[TrainResult]:
    """Train one member per seed in `workdir/member_<seed>`; they differ in initial weights and order of batches.

    With `start_from`, the folder of a committee gives each member the weights of the member of its seed; one checkpoint
    serves all of them, and then they differ in the order of batches only. They share neighbour lists on disk.
    """
    if len(set(seeds)) != len(seeds) or not seeds:
        raise SpinMultiNetError(f"committee seeds {list(seeds)}: give at least one, all different")
    folder = options.cache_folder or str(Path(workdir) / FOLDER)
    jobs = [
        TrainingJob(
            f"member {s}",
            options.model_copy(update={"cache_folder": folder, "start_from": _start_of(options.start_from, s)}),
            model_options,
            s,
            Path(workdir) / f"member_{s}",
            metadata or {},
        )
        for s in seeds
    ]
    results = train_parallel(jobs, train_atoms, val_atoms, processes, progress)
    discard_graphs(options, Path(workdir))
    return results


def _start_of(start: str | None, seed: int) -> str | None:
    """Where member `seed` begins: its namesake in the folder of a committee, else what is given."""
    if start is None or not list(Path(start).glob("member_*")):
        return start
    return str(Path(start) / f"member_{seed}")


class Committee:
    """Mean and spread (sample standard deviation over members) of several models.

    Members must agree in species, level of theory and role of the input moments. With `iterate` > 0 each member feeds
    its predicted moments back, at most so many rounds (see `self_consistency`). `calibration` (or its file) turns the
    spread into the expected error; members given by their paths find the one that was saved for them.
    """

    def __init__(
        self,
        members: Sequence[SpinMultiNet | str | Path],
        iterate: int = 0,
        calibration: Calibration | str | Path | None = None,
    ) -> None:
        self.iterate = iterate
        self._files = [] if any(isinstance(m, SpinMultiNet) for m in members) else [Path(str(m)) for m in members]
        self.members = [m if isinstance(m, SpinMultiNet) else load_model(m) for m in members]
        if not self.members:
            raise SpinMultiNetError("a committee needs at least one member; give models or paths of checkpoints")
        shared: dict[str, set[Any]] = {
            "species": {tuple(m.species) for m in self.members},
            "soc": {m.options.soc for m in self.members},
            keys.LEVEL_ID: {m.metadata.get(keys.LEVEL_ID) for m in self.members},
            keys.MOMENT_ROLE: {m.metadata.get(keys.MOMENT_ROLE) for m in self.members},
        }
        for what, values in shared.items():
            if len(values) > 1:
                raise SpinMultiNetError(
                    f"committee members differ in {what}: {sorted(map(str, values))}; use members of one training set"
                )
        self._checksums = sorted(map(file_sha256, self._files))
        self.calibration = self._saved() if calibration is None else self._given(calibration)

    @property
    def identity(self) -> list[str]:
        """What tells these members from others: SHA-256 of their files, or of their weights in memory; sorted."""
        return self._checksums or sorted(map(weights_hash, self.members))

    def _saved(self) -> Calibration | None:
        """The calibration kept beside the members, if there is one."""
        try:
            path = calibration_file(self._files, self._checksums, self.iterate) if len(self._files) > 1 else None
        except SpinMultiNetError:  # they share no folder
            return None
        return read_calibration(path) if path is not None and path.exists() else None

    def _given(self, calibration: Calibration | str | Path) -> Calibration:
        found = calibration if isinstance(calibration, Calibration) else read_calibration(Path(calibration))
        if (found.members, found.iterate) != (self.identity, self.iterate):
            raise SpinMultiNetError(
                "the calibration is of other members, or of another number of rounds (iterate): calibrate again"
            )
        return found

    def trained_on(self, frames: Sequence[Atoms]) -> bool:
        """Whether some member was trained on these very structures and labels, as far as checkpoints say."""
        return fingerprint(frames) in {m.metadata.get(keys.TRAIN_FINGERPRINT) for m in self.members}

    def calibrate(self, frames: Sequence[Atoms], predictions: Sequence[Prediction] | None = None) -> Calibration:
        """Fit and use a calibration on labels that the members were not trained on; the one before stays if this fails.

        `predictions` of these structures by this committee spare making them again. Raises SpinMultiNetError for the
        labels of the training, fewer than two members or too few labels, and as `evaluate`.
        """
        check_labels(self, frames)
        if self.trained_on(frames):
            raise SpinMultiNetError(
                "the committee was trained on these labels: its errors there are too small; calibrate on others"
            )
        known = self.predict(frames) if predictions is None else predictions
        rows = [compare(a, p, name_of(a, k)) for k, (a, p) in enumerate(zip(frames, known, strict=True))]
        self.calibration = fitted(uncertainty(rows, frames, known), frames, self.identity, self.iterate)
        return self.calibration

    def calibration_path(self) -> Path:
        """Where `save_calibration` writes and committees of the same paths look: the folder the members share.

        Raises SpinMultiNetError if members are not files, or share no folder.
        """
        if not self._files:
            raise SpinMultiNetError(
                "models in memory have no folder to keep a calibration in; give the members by paths of checkpoints, "
                "or name a file for it"
            )
        return calibration_file(self._files, self._checksums, self.iterate)

    def save_calibration(self, path: str | Path | None = None) -> Path:
        """Write the calibration to `path`, or to `calibration_path()`. Returns its path.

        Raises SpinMultiNetError if there is none, and as `calibration_path`.
        """
        if self.calibration is None:
            raise SpinMultiNetError("nothing to save: calibrate first")
        return write_calibration(self.calibration, self.calibration_path() if path is None else Path(path))

    @property
    def metadata(self) -> dict[str, Any]:
        """What the members' checkpoints say, as far as they agree: level_id, moment_role and more."""
        first, *others = (m.metadata for m in self.members)
        return {k: v for k, v in first.items() if all(o.get(k) == v for o in others)}

    def predict(self, frames: Sequence[Atoms], tell: Callable[[float], None] | None = None) -> list[Prediction]:
        """Mean prediction per structure (as `evaluate.predict`) and the spread over members.

        energy_std (eV, total), forces_std [N] (eV/Angstrom, norm over components), stress_std [3, 3] (eV/Angstrom^3),
        magmoms_std [N] (muB); zeros for a single member. With a calibration also energy_sigma, forces_sigma and
        magmoms_sigma: the expected errors, spreads times a factor. `rounds` and `moment_change` are the largest of any
        member. `tell` gets the share that is done after every 64 structures.
        """
        size = STRUCTURES_PER_BATCH if tell is not None else max(len(frames), 1)
        found: list[Prediction] = []
        for start in range(0, len(frames), size):
            found += self._predict(frames[start : start + size], start)
            if tell is not None:
                tell(len(found) / len(frames))
        return found

    def _predict(self, frames: Sequence[Atoms], first: int) -> list[Prediction]:
        graphs: dict[tuple[object, ...], list[Graph]] = {}  # members of equal cutoff share their neighbour lists
        members = []
        for m in self.members:
            kind = (m.options.cutoff, m.options.spin, m.options.input_moments, m.moment_kind)
            if kind not in graphs:
                graphs[kind] = graphs_of(m, frames, first)
            members.append(predict_graphs(m, graphs[kind], self.iterate))
        combined = [_combine([m[k] for m in members]) for k in range(len(frames))]
        return combined if self.calibration is None else [self.calibration.applied(p) for p in combined]


def _combine(predictions: Sequence[Prediction]) -> Prediction:
    common = [k for k in predictions[0] if all(k in p for p in predictions)]
    stacked = {k: np.stack([np.asarray(p[k]) for p in predictions]) for k in common}
    out: Prediction = {k: v.mean(0) for k, v in stacked.items()}
    out["energy"] = float(out["energy"])
    out |= {k: max(p[k] for p in predictions) for k in ("rounds", "moment_change") if k in out}
    spread = {k: v.std(0, ddof=1) if len(predictions) > 1 else np.zeros(v.shape[1:]) for k, v in stacked.items()}
    out["energy_std"] = float(spread["energy"])
    out["forces_std"] = np.linalg.norm(spread["forces"], axis=1)
    out["stress_std"] = spread["stress"]
    if "magmoms" in spread:
        s = spread["magmoms"]
        out["magmoms_std"] = np.linalg.norm(s, axis=1) if s.ndim == 2 else s
    return out
