"""The structures of a training as graphs: in memory, or from the second time on mapped from disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ase import Atoms

from .cache import cache_key, cached
from .data import Graph, fingerprint, name_of
from .hypers import TrainOptions
from .inputs import graph_of, graphs_of, spin_axes
from .model import SpinMultiNet

FOLDER = "graphs"


def training_graphs(
    model: SpinMultiNet, frames: Sequence[Atoms], what: str, options: TrainOptions, workdir: Path
) -> Sequence[Graph]:
    """As `inputs.graphs_of`; lists of `cache_from` structures and more are kept in `cache_folder` and read from there.

    The default folder is in `workdir` and goes when training has ended. Only the content of the structures, and what
    the model takes from them, decide whether a list is used again: see `cache.cached`.
    """
    if not frames or options.cache_from is None or len(frames) < options.cache_from:
        return graphs_of(model, frames, what)
    axes, o = spin_axes(frames), model.options
    choices = {
        **{"species": model.species, "axes": axes, "moment_kind": model.moment_kind},
        **{name: getattr(o, name) for name in ("cutoff", "spin", "soc", "input_moments")},
    }

    def build() -> Iterator[Graph]:
        for k, atoms in enumerate(frames):
            yield graph_of(model, atoms, f"{what} {name_of(atoms, k)}", axes)

    return cached(options.cache_folder or workdir / FOLDER, cache_key(fingerprint(frames), choices), build)


def discard_graphs(options: TrainOptions, workdir: Path) -> None:
    """Remove what `training_graphs` left in `workdir`; a `cache_folder` that was asked for is kept."""
    if options.cache_folder is None:
        shutil.rmtree(workdir / FOLDER, ignore_errors=True)
