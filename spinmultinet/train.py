"""Training: a plain, deterministic, resumable loop."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from ase import Atoms
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from . import keys
from .checkpoint import read, save_model, write_atomically
from .data import Graph, batches, check_training_set, collate, fingerprint, species_of
from .errors import SpinMultiNetError
from .hypers import ModelOptions, TrainOptions
from .inputs import graphs_of, spin_axes
from .loss import task_errors, total_loss
from .model import SpinMultiNet, build_model
from .statistics import training_statistics

STATE_FORMAT = "spinmultinet-training"
STATE_VERSION = 1
MODEL_FILE, STATE_FILE, METRICS_FILE = "model.pt", "training.pt", "metrics.csv"
# These say how often to look or save, not what is computed: they may change between a start and its resumption.
_NOT_IN_FINGERPRINT = {"checkpoint_epochs", "checkpoint_seconds", "threads"}

Metrics = dict[str, float]
Progress = Callable[[int, int, Metrics], None]


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
    state is saved atomically every so many epochs or seconds and on SIGTERM or Ctrl-C; resuming gives the same losses
    as never having stopped. `metadata` (snapshot_id, licence, ...) goes into the checkpoint. Raises SpinMultiNetError
    for data that cannot be mixed and for a workdir that belongs to other data or options.
    """
    torch.set_num_threads(options.threads)
    described = check_training_set(train_atoms, val_atoms)
    mark = _fingerprint(options, model_options, train_atoms, val_atoms, seed)
    run = _Run(options, Path(workdir), mark)
    done = run.finished()
    if done is not None:
        return done
    run.prepare(model_options, train_atoms, val_atoms, seed)
    run.model.metadata = (
        described
        | {keys.SPIN_AXES: spin_axes(train_atoms)}
        | (metadata or {})
        | {
            "training_seed": seed,
            "training_options": options.model_dump(mode="json"),
            "fingerprint": mark,
        }
    )
    return run.loop(progress)


def _fingerprint(
    o: TrainOptions, m: ModelOptions, train_atoms: Sequence[Atoms], val_atoms: Sequence[Atoms], seed: int
) -> str:
    described = {
        "training": o.model_dump(mode="json", exclude=_NOT_IN_FINGERPRINT),
        "model": m.model_dump(mode="json"),
        "seed": seed,
    }
    text = json.dumps(described, sort_keys=True) + fingerprint(train_atoms) + fingerprint(val_atoms)
    return hashlib.sha256(text.encode()).hexdigest()


class _Run:
    """One training: model, optimiser, averaged weights, and what is needed to go on exactly."""

    def __init__(self, options: TrainOptions, workdir: Path, mark: str) -> None:
        self.options, self.workdir, self.mark = options, workdir, mark
        self.epoch = self.batch = self.resumed_from = 0
        self.seconds = 0.0
        self.sums: Metrics = {}
        self.history: list[Metrics] = []
        self.best: dict[str, Any] = {"score": float("inf"), "state": None, "since": 0}
        workdir.mkdir(parents=True, exist_ok=True)
        self.state = self._read_state()

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
        self, model_options: ModelOptions, train_atoms: Sequence[Atoms], val_atoms: Sequence[Atoms], seed: int
    ) -> None:
        """Build model, data and optimiser; restore their state."""
        self.seed = seed
        species = species_of([*train_atoms, *val_atoms])
        self.model: SpinMultiNet = build_model(model_options, species, seed)
        self.train_graphs = graphs_of(self.model, train_atoms, "training")
        self.val_graphs = graphs_of(self.model, val_atoms, "validation")
        chosen = self.options.moment_species
        self.model.set_statistics(
            training_statistics(
                self.train_graphs, len(species), model_options.moment_unit, self.model.moment_kind, chosen
            )
        )
        self.model.calibrate(collate(self.train_graphs[: self.options.batch_structures]))
        self.optimizer = _optimizer(self.model, self.options)
        decay = self.options.ema_decay
        self.average = _average(self.model, decay)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.5, patience=5, min_lr=self.options.final_learning_rate
        )
        if self.state is not None:
            self._restore(self.state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.plateau.load_state_dict(state["plateau"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.epoch, self.batch, self.sums = state["epoch"], state["batch"], state["sums"]
        self.history, self.best, self.seconds = state["history"], state["best"], state["seconds"]
        self.resumed_from = self.epoch

    def save(self, finished: bool = False) -> None:
        """Write the state, atomically."""
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
            "history": self.history,
            "best": self.best,
            "seconds": self.seconds,
            "n_parameters": self.model.n_parameters(),
        }
        write_atomically(content, self.workdir / STATE_FILE)

    def loop(self, progress: Progress | None) -> TrainResult:
        """Train to the last epoch (or until patience ends), keep the chosen weights, write the model."""
        o = self.options
        started = saved = time.monotonic()
        before = self.seconds
        with _stop_requests() as stop:
            while self.epoch < o.epochs and not self._out_of_patience():
                for batch in self._remaining_batches():
                    self._step(batch)
                    self.seconds = before + time.monotonic() - started
                    if stop:
                        self.save()
                        _leave(stop[0], self.workdir)
                metrics = self._end_epoch()
                self.seconds = before + time.monotonic() - started
                if self.epoch % o.checkpoint_epochs == 0 or time.monotonic() - saved > o.checkpoint_seconds:
                    self.save()
                    saved = time.monotonic()
                if progress is not None:
                    progress(self.epoch, o.epochs, metrics)
        return self._finish()

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
        graph = collate([self.train_graphs[k] for k in batch])
        self.model.train()
        errors = task_errors(self.model(graph), graph, self.model.magnetic, o)
        loss = total_loss(errors, o)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if o.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), o.gradient_clip)
        if not torch.isfinite(loss.detach()):
            raise SpinMultiNetError(
                f"the loss is not finite in epoch {self.epoch + 1}; lower learning_rate, or look for wrong labels"
            )
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        for task, value in {"loss": loss, **errors}.items():
            self.sums[task] = self.sums.get(task, 0.0) + float(value.detach()) * len(batch)
        self.batch += 1

    def _set_rate(self) -> None:
        """Learning rate of this step: linear warm-up, then cosine or constant; plateau keeps its own."""
        o = self.options
        if o.schedule == "plateau":
            return
        done = self.epoch + self.batch / self.steps_per_epoch
        rate = o.learning_rate
        if done < o.warmup_epochs:
            rate *= (done + 1.0 / self.steps_per_epoch) / o.warmup_epochs
        elif o.schedule == "cosine":
            x = (done - o.warmup_epochs) / max(o.epochs - o.warmup_epochs, 1)
            rate = o.final_learning_rate + 0.5 * (rate - o.final_learning_rate) * (1.0 + math.cos(math.pi * x))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _end_epoch(self) -> Metrics:
        o = self.options
        metrics = {f"train_{k}": v / len(self.train_graphs) for k, v in self.sums.items()}
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}
        metrics |= {"epoch": float(self.epoch), "learning_rate": float(self.optimizer.param_groups[0]["lr"])}
        if self.val_graphs and (self.epoch % o.validate_every == 0 or self.epoch == o.epochs):
            metrics |= {f"val_{k}": v for k, v in mean_errors(self._averaged(), self.val_graphs, o).items()}
            self._note_best(metrics["val_loss"])
        if o.schedule == "plateau":
            self.plateau.step(metrics.get("val_loss", metrics["train_loss"]))
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
        path = save_model(final.eval(), self.workdir / MODEL_FILE)
        write_metrics(self.history, self.workdir / METRICS_FILE)
        self.save(finished=True)
        return TrainResult(path, self.history, self.seconds, self.resumed_from, self.model.n_parameters())


def _optimizer(model: SpinMultiNet, o: TrainOptions) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if o.optimizer == "adam" else torch.optim.AdamW
    return kind(model.parameters(), lr=o.learning_rate, weight_decay=o.weight_decay)


def _average(model: SpinMultiNet, decay: float) -> AveragedModel | None:
    """Exponential moving average of the weights, or nothing."""
    if decay == 0:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]


def mean_errors(model: SpinMultiNet, graphs: Sequence[Graph], options: TrainOptions) -> Metrics:
    """Mean errors and loss over structures, without touching the weights. Units as in `task_errors`."""
    was_training = model.training
    model.eval()
    sums: Metrics = {}
    for batch in batches(graphs, range(len(graphs)), options.batch_structures, options.batch_edges):
        graph = collate([graphs[k] for k in batch])
        errors = task_errors(model(graph), graph, model.magnetic, options)
        for task, value in {"loss": total_loss(errors, options), **errors}.items():
            sums[task] = sums.get(task, 0.0) + float(value) * len(batch) / len(graphs)
    model.train(was_training)
    return sums


def write_metrics(history: Sequence[Metrics], path: Path) -> None:
    """History as CSV, one row per epoch; empty where a quantity was not measured."""
    names = list(dict.fromkeys(k for row in history for k in row))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", *[n for n in names if n != "epoch"]])
        writer.writeheader()
        writer.writerows(history)


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """While inside, SIGTERM and SIGINT are noted in the list instead of ending the process in the middle of a step."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    try:
        old = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not in the main thread: signals are someone else's business
        old = {}
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _leave(number: int, workdir: Path) -> None:
    """End as the signal asks, after the state is safe."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt(f"training stopped; the same call goes on from '{workdir}'")
    raise SystemExit(128 + number)
