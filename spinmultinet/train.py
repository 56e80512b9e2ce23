"""Training: a plain, deterministic, resumable loop."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ase import Atoms

from . import keys
from .augmentation import refuse_unfit_inputs, training_input
from .batch_loss import BatchLoss, unlabelled, wrapped
from .checkpoint import read, save_model, write_atomically
from .data import Graph, batches, check_training_set, collate, fingerprint, pair_counter, species_of, unit_doubts
from .distributed import Processes, processes
from .errors import SpinMultiNetError
from .fine_tune import adapt_statistics, copy_to_train, origin, start_model, weights_hash
from .hypers import ModelOptions, TrainOptions
from .inputs import spin_axes
from .metrics import Metrics, TensorBoard, write_metrics
from .model import SpinMultiNet, build_model
from .optimizer import averaged, complete_gradients, optimizer
from .schedule import learning_rate, plateau
from .statistics import training_statistics
from .stopping import StopRequests, leave, stop_requests
from .training_data import discard_graphs, training_graphs
from .validation import add_errors, mean_errors

STATE_FORMAT = "spinmultinet-training"
STATE_VERSION = 2
MODEL_FILE, STATE_FILE, METRICS_FILE = "model.pt", "training.pt", "metrics.csv"
TENSORBOARD_FOLDER = "tensorboard"
# These say where to compute and how often to save, not what is computed: they may change until it is resumed.
_NOT_IN_FINGERPRINT = {
    *("checkpoint_epochs", "checkpoint_seconds", "device", "threads", "tensorboard", "cache_from", "cache_folder"),
    "start_from",  # the weights themselves are in it
}

# Options that came later, and the value that is what there was before: trainings begun then can go on.
_ADDED_LATER = {"species_channels": 0}

Progress = Callable[[int, int, Metrics], None]


class UnitWarning(UserWarning):
    """Labels have sizes that suggest another unit than the one expected."""


@dataclass(frozen=True)
class TrainResult:
    """What a training left: path of the model, metrics of each epoch, wall-clock seconds (all runs together)."""

    checkpoint: Path
    history: list[Metrics]
    seconds: float
    resumed_from: int
    n_parameters: int


def train(
    options: TrainOptions,
    model_options: ModelOptions,
    train_atoms: Sequence[Atoms],
    val_atoms: Sequence[Atoms],
    workdir: Path,
    seed: int = 0,
    progress: Progress | None = None,
    metadata: dict[str, Any] | None = None,
) -> TrainResult:
    """Train one model in `workdir`, or go on where an earlier call with the same arguments stopped.

    Writes `model.pt` (when finished), `training.pt` (state) and `metrics.csv`. A finished one returns at once. The
    state is saved atomically every so many epochs or seconds, on SIGTERM or Ctrl-C, and at a `stopping.deadline`;
    resuming gives the same losses as never having stopped. `metadata` (snapshot_id, licence, ...) goes into the
    checkpoint. With `start_from` the training begins with the weights of another (see `fine_tune`). Raises
    SpinMultiNetError for data that cannot mix, and for a workdir of other data or options; warns (UnitWarning) of
    labels of implausible size.

    Called in each process that torchrun has started (see `distributed`) it is one training: they divide every batch, so
    that its numbers are those of one process up to rounding, and may go on with another number of them. Only the first
    writes files and calls `progress`; all return the same.
    """
    torch.set_num_threads(options.threads)
    with processes() as together:
        # A function of its own: DistributedDataParallel has to be gone before the processes part, or they may hang.
        return _train(together, options, model_options, train_atoms, val_atoms, Path(workdir), seed, progress, metadata)


def _train(
    together: Processes,
    options: TrainOptions,
    model_options: ModelOptions,
    train_atoms: Sequence[Atoms],
    val_atoms: Sequence[Atoms],
    workdir: Path,
    seed: int,
    progress: Progress | None,
    metadata: dict[str, Any] | None,
) -> TrainResult:
    described = check_training_set(train_atoms, val_atoms)
    _refuse_choices_without_validation(options, val_atoms)
    for note in unit_doubts([*train_atoms, *val_atoms]) if together.leader else []:
        warnings.warn(note, UnitWarning, stacklevel=3)
    start = start_model(options)
    if start is not None:
        species = species_of([*train_atoms, *val_atoms])
        start = copy_to_train(start, model_options, species, described[keys.MOMENT_ROLE], options)
        model_options = start.options
    before = {} if start is None else origin(start)
    mark = _fingerprint(options, model_options, train_atoms, val_atoms, seed, start)
    run = _Run(options, workdir, mark, together)
    done = run.finished()
    if done is not None:
        return done
    run.prepare(start or model_options, train_atoms, val_atoms, seed, described[keys.MOMENT_ROLE])
    given = {keys.SPIN_AXES: spin_axes(train_atoms)} | before | (metadata or {})
    asked = options.model_dump(mode="json", exclude={"cache_folder"})
    given |= {"training_seed": seed, "training_options": asked, "fingerprint": mark}
    run.model.metadata = described | given | {keys.TRAIN_FINGERPRINT: fingerprint(train_atoms)}
    return run.loop(progress)


def _refuse_choices_without_validation(o: TrainOptions, val_atoms: Sequence[Atoms]) -> None:
    asked = ["patience"] * (o.patience is not None) + ["keep: best"] * (o.keep == "best")
    if asked and not val_atoms:
        raise SpinMultiNetError(
            f"{' and '.join(asked)} need a validation set, and there is none; give one, or remove what needs it"
        )


def _fingerprint(
    o: TrainOptions,
    m: ModelOptions,
    train_atoms: Sequence[Atoms],
    val_atoms: Sequence[Atoms],
    seed: int,
    start: SpinMultiNet | None,
) -> str:
    described = {
        "training": o.model_dump(mode="json", exclude=_NOT_IN_FINGERPRINT),
        "model": {k: v for k, v in m.model_dump(mode="json").items() if k not in _ADDED_LATER or v != _ADDED_LATER[k]},
        "seed": seed,
        "start": None if start is None else weights_hash(start),
    }
    text = json.dumps(described, sort_keys=True) + fingerprint(train_atoms) + fingerprint(val_atoms)
    return hashlib.sha256(text.encode()).hexdigest()


class _Run:
    """One training: model, optimiser, averaged weights, and what is needed to go on exactly."""

    def __init__(self, options: TrainOptions, workdir: Path, mark: str, together: Processes) -> None:
        self.options, self.workdir, self.mark, self.together = options, workdir, mark, together
        self.epoch = self.batch = self.resumed_from = 0
        self.seconds = 0.0
        self.sums: Metrics = {}
        self.counts: Metrics = {}
        self.history: list[Metrics] = []
        self.best: dict[str, Any] = {"score": float("inf"), "state": None, "since": 0}
        workdir.mkdir(parents=True, exist_ok=True)
        self.state = self._read_state()
        done = {} if self.state is None else {k: self.state[k] for k in ("epoch", "batch", "finished")}
        together.refuse_difference(f"{mark} {done}")

    def _read_state(self) -> dict[str, Any] | None:
        path = self.workdir / STATE_FILE
        if not path.exists():
            return None
        state = read(path, STATE_FORMAT, STATE_VERSION)
        if state.get("fingerprint") != self.mark:
            raise SpinMultiNetError(
                f"'{self.workdir}' holds a training with other data, options or seed (fingerprint "
                f"{str(state.get('fingerprint'))[:12]}, now {self.mark[:12]}); give another workdir, or remove this one"
            )
        return state

    def finished(self) -> TrainResult | None:
        """The result, if this training was finished by an earlier call."""
        model = self.workdir / MODEL_FILE
        if self.state is None or not self.state["finished"] or not model.exists():
            return None
        return TrainResult(
            model, self.state["history"], self.state["seconds"], self.state["epoch"], self.state["n_parameters"]
        )

    def prepare(
        self,
        model: SpinMultiNet | ModelOptions,
        train_atoms: Sequence[Atoms],
        val_atoms: Sequence[Atoms],
        seed: int,
        role: str,
    ) -> None:
        """Build data, model (unless one is given to start from) and optimiser; restore their state."""
        self.device = self.together.device(self.options.device)  # not before: a finished one needs no GPU
        self.seed = seed
        fresh = not isinstance(model, SpinMultiNet)
        species = species_of([*train_atoms, *val_atoms])
        self.model: SpinMultiNet = build_model(model, species, seed) if isinstance(model, ModelOptions) else model
        with self.together.leader_first():
            self.train_graphs = training_graphs(self.model, train_atoms, "training", self.options, self.workdir)
            self.val_graphs = training_graphs(self.model, val_atoms, "validation", self.options, self.workdir)
        self.model.to(self.device)
        refuse_unfit_inputs(self.options, role, self.train_graphs)
        if self.state is None:
            self._take_statistics(fresh)
        self.optimizer = optimizer(self.model, self.options)
        self.average = averaged(self.model, self.options.ema_decay)
        self.plateau = plateau(self.optimizer, self.options)
        if self.state is not None:
            self._restore(self.state)
        self.loss = wrapped(BatchLoss(self.model, self.options, self.together), self.together)

    def _take_statistics(self, fresh: bool) -> None:
        o, n_species = self.options, len(self.model.species)
        unit, kind = self.model.options.moment_unit, self.model.moment_kind
        statistics = training_statistics(
            self.train_graphs,
            n_species,
            unit,
            kind,
            o.moment_species,
            lambda g: training_input(g, o, self._generator()),
        )
        if fresh:
            self.model.set_statistics(statistics)
            self.model.calibrate(collate(self.train_graphs[: o.batch_structures]).to(self.device))
        else:
            adapt_statistics(self.model, self.train_graphs, statistics)

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.plateau.load_state_dict(state["plateau"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.epoch, self.batch, self.sums = state["epoch"], state["batch"], state["sums"]
        self.counts = state["counts"]
        self.history, self.best, self.seconds = state["history"], state["best"], state["seconds"]
        self.resumed_from = self.epoch

    def save(self, finished: bool = False) -> None:
        """Write the state, atomically, and the metrics so far, in the first process."""
        self.saved = time.monotonic()
        if not self.together.leader:
            return
        content = {
            "format": STATE_FORMAT,
            "version": STATE_VERSION,
            "fingerprint": self.mark,
            "finished": finished,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "plateau": self.plateau.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": self.sums,
            "counts": self.counts,
            "history": self.history,
            "best": self.best,
            "seconds": self.seconds,
            "n_parameters": self.model.n_parameters(),
        }
        write_atomically(content, self.workdir / STATE_FILE)
        write_metrics(self.history, self.workdir / METRICS_FILE)

    def loop(self, progress: Progress | None) -> TrainResult:
        """Train to the last epoch (or until patience ends), keep the chosen weights, write the model."""
        o, leader = self.options, self.together.leader
        board = TensorBoard(o.tensorboard and leader, self.workdir / TENSORBOARD_FOLDER, self.epoch)
        self.saved = time.monotonic()
        self.began = self.saved - self.seconds
        with stop_requests() as stop:
            while self.epoch < o.epochs and not self._out_of_patience():
                for batch in self._remaining_batches():
                    self._step(batch)
                    self._save_if_due(stop)
                metrics = self._end_epoch()
                board.add(metrics)
                if self.epoch % o.checkpoint_epochs == 0:
                    self.save()
                self._save_if_due(stop)
                if progress is not None and leader:
                    progress(self.epoch, o.epochs, metrics)
        board.close()
        return self._finish()

    def _save_if_due(self, stop: StopRequests) -> None:
        """Save where the time has come or a signal or the deadline has, to any process; after these, all end."""
        self.seconds = time.monotonic() - self.began
        signal = self.together.largest(stop.number())
        if signal or time.monotonic() - self.saved > self.options.checkpoint_seconds:
            self.save()
        if signal:
            self.together.wait()  # torchrun ends the others once one has left
            leave(signal, self.workdir)

    def _remaining_batches(self) -> Iterator[list[int]]:
        """Batches of this epoch that are not done; their order depends on seed and epoch only."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.train_graphs), generator=generator).tolist()
        planned = list(batches(self.train_graphs, order, self.options.batch_structures, self.options.batch_edges))
        self.steps_per_epoch = len(planned)
        while self.batch < len(planned):
            yield planned[self.batch]

    def _step(self, batch: list[int]) -> None:
        o = self.options
        self._set_rate()
        self.model.train()
        loss, errors = self.loss(self._share(batch).to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        complete_gradients(self.model)
        if o.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), o.gradient_clip)
        if not torch.isfinite(errors["loss"]):
            raise SpinMultiNetError(
                f"the loss is not finite in epoch {self.epoch + 1}; lower learning_rate, or look for wrong labels"
            )
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        add_errors(self.sums, self.counts, errors, len(batch))
        self.batch += 1

    def _share(self, batch: list[int]) -> Graph:
        """What this process computes of a batch, with the input moments of this step."""
        mine = self.together.share(batch, pair_counter(self.train_graphs))
        if not mine:
            return unlabelled(self.train_graphs[batch[0]])
        return collate([training_input(self.train_graphs[k], self.options, self._generator(k)) for k in mine])

    def _generator(self, structure: int | None = None) -> torch.Generator:
        """Random numbers of a structure in this step; whatever was drawn before, resuming repeats them."""
        text = f"step {self.seed} {self.epoch} {self.batch} {structure}"
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))

    def _set_rate(self) -> None:
        done = self.epoch + self.batch / self.steps_per_epoch
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.options, done, self.steps_per_epoch, group["lr"])

    def _end_epoch(self) -> Metrics:
        o = self.options
        metrics = {f"train_{k}": v / self.counts[k] for k, v in self.sums.items()}
        self.epoch, self.batch, self.sums, self.counts = self.epoch + 1, 0, {}, {}
        metrics |= {"epoch": float(self.epoch), "learning_rate": float(self.optimizer.param_groups[0]["lr"])}
        if self.val_graphs and (self.epoch % o.validate_every == 0 or self.epoch == o.epochs):
            metrics |= {
                f"val_{k}": v for k, v in mean_errors(self._averaged(), self.val_graphs, o, self.together).items()
            }
            self._note_best(metrics["val_loss"])
        score = metrics.get("val_loss") if self.val_graphs else metrics["train_loss"]
        if o.schedule == "plateau" and score is not None and self.epoch > o.warmup_epochs:
            self.plateau.step(score)
        self.history.append(metrics)
        return metrics

    def _note_best(self, score: float) -> None:
        if score < self.best["score"]:
            state = (
                {k: v.clone() for k, v in self._averaged().state_dict().items()}
                if self.options.keep == "best"
                else None
            )
            self.best = {"score": score, "state": state, "since": 0}
        else:
            self.best["since"] += 1

    def _out_of_patience(self) -> bool:
        return self.options.patience is not None and self.best["since"] >= self.options.patience

    def _averaged(self) -> SpinMultiNet:
        # Before the first step the average is empty of meaning, but so is the model.
        model = self.average.module if self.average is not None else self.model
        assert isinstance(model, SpinMultiNet)
        return model

    def _finish(self) -> TrainResult:
        final = self._averaged()
        if self.best["state"] is not None:
            final.load_state_dict(self.best["state"])
        final.metadata = self.model.metadata
        path = self.workdir / MODEL_FILE
        if self.together.leader:
            save_model(final.eval(), path)
            self.save(finished=True)
            discard_graphs(self.options, self.workdir)
        self.together.wait()
        return TrainResult(path, self.history, self.seconds, self.resumed_from, self.model.n_parameters())
