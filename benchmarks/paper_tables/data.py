"""The labels of the tables: made by the spin-lattice engine or read from files, split with pairs kept together."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms

from datastore.atoms import read_atoms
from datastore.checksums import file_sha256
from datastore.converters import ImportLevel, foreign
from datastore.decisions import decide
from datastore.importing import import_labels
from datastore.mapping import ImportMapping
from datastore.schema import SpinConfig, content_hash, point_id
from datastore.snapshot import load_snapshot, make_snapshot
from datastore.splits import SPLITS, SplitOptions
from datastore.stores import SpinStore, open_store
from workflows.campaign import load_campaign
from workflows.cli.output import whole_file
from workflows.engines import Engine, LabelError
from workflows.engines.calculator import EngineCalculator
from workflows.equilibrium import find_equilibrium
from workflows.structures import StructureOptions, generate
from workflows.structures.preparation import Start, starts, with_lattices

CAMPAIGN = Path(__file__).parents[2] / "configs" / "campaigns" / "mn_co_ni.yaml"
PAIR_AMPLITUDE = (0.03, 0.12)
"""Angstrom rms of the displacements of the pairs, as those of the campaign; the paper does not state its own."""

RELAXING = 0.2
"""Share of the time that relaxing the parents takes, for the progress bar."""

LOW_SPIN = "low spin"
"""How the reason of a verdict begins that the paper would not have known."""

# As benchmarks/data/README.md states.
GPAW_LEVEL = ImportLevel(
    level_of_theory={
        "code": "GPAW",
        "functional": "PBE+U",
        "hubbard_u": {"Co": 3.32, "Ni": 6.2, "Mn": 3.9},
        "ecut": 700,
        "kpts": {"rhombohedral4": [4, 4, 2], "tetragonal4": [4, 4, 3], "all8": [4, 2, 2]},
    },
    engine="gpaw",
    engine_version="26.7.0",
    licence="CC-BY-4.0",
)
Progress = Callable[[float], None]


@dataclass(frozen=True)
class DataSet:
    """Labelled structures of one level of theory by split; ``notes`` count what became of the configurations."""

    name: str
    train: list[Atoms]
    val: list[Atoms]
    test: list[Atoms]
    notes: dict[str, Any]


def mn_co_ni(geometries: int, cell: str) -> StructureOptions:
    """The Mn-Co-Ni protocol: 7 compositions, each relaxed in 3 orderings, 4 kinds of deformation, so many of each."""
    options = load_campaign(CAMPAIGN)[0].structures
    parents = [parent.model_copy(update={"cell": cell}) for parent in options.parents]
    kinds = [deformation.model_copy(update={"count": geometries}) for deformation in options.deformations]
    return options.model_copy(update={"parents": parents, "deformations": kinds})


def co_pairs(pairs: int, cell: str) -> StructureOptions:
    """CoO displaced at random, each geometry in FM and in AFM-II."""
    return StructureOptions.model_validate(
        {
            "parents": [{"species": "Co", "cell": cell, "lattice": {"relax": {"orderings": ["AFM-II"]}}}],
            "orderings": ["FM", "AFM-II"],
            "magmoms": {"Co": 1.0},
            "deformations": [{"kind": "displacement", "count": pairs, "amplitude": PAIR_AMPLITUDE}],
        }
    )


def synthetic(name: str, options: StructureOptions, folder: Path, progress: Progress) -> DataSet:
    """Label with the spin-lattice engine, or read what an earlier call with the same options left in ``folder``."""
    engine = load_campaign(CAMPAIGN)[1]
    made_from = {"structures": options.model_dump(mode="json"), "level_of_theory": engine.level_of_theory()}
    return _kept(name, folder, made_from, partial(_label, engine, options, progress))


def from_files(files: Sequence[Path], folder: Path, seed: int) -> DataSet:
    """PBE+U labels of GPAW, as in ``benchmarks/data``, imported, judged and split by the project.

    A fifth is for testing, because there are few; which one depends on ``seed``.
    """
    options = SplitOptions(fractions=(0.7, 0.1, 0.2), seed=seed)
    made_from = {"files": {file.name: file_sha256(file) for file in files}, "split": options.model_dump(mode="json")}

    def make(store: SpinStore) -> dict[str, Any]:
        reports = [import_labels(store, [file], foreign(_gpaw_keys(file), GPAW_LEVEL)) for file in files]
        names = ("frames", "present", "not_in")
        counts = {name: sum(getattr(report, name) for report in reports) for name in names}
        return counts | {"rejected": store.points.count({"verdict": "rejected"})}

    return _kept(f"gpaw-{seed}", folder, made_from, make, options)


def _gpaw_keys(file: Path) -> ImportMapping:
    """The cell type stands under "parent" where there is one; without it cells of two kinds would be compared."""
    atoms, _ = next(read_atoms(file))
    cell = "parent" if "parent" in atoms.info else None
    return ImportMapping(layout="spinmultinet", moment_role="guess", cell=cell, parent=None, pair_id=None)


def _kept(
    name: str,
    folder: Path,
    made_from: dict[str, Any],
    make: Callable[[SpinStore], dict[str, Any]],
    split: SplitOptions | None = None,
) -> DataSet:
    """The set in a folder beside ``folder`` that is named by what it was made from; made where it is not there.

    ``make`` fills a store and gives notes. What a killed call left in the store is used.
    """
    place = folder.with_name(f"{folder.name}-{content_hash(made_from, 8)}")
    record = place / "made.json"
    if not record.exists():
        with open_store(f"local:{place / 'store'}") as store:
            notes = make(store)
            snapshot = make_snapshot(store, place, options=split)
        with whole_file(record) as temporary:  # written last: a folder without it is not whole
            content = {"made_from": made_from, "snapshot": snapshot.snapshot_id, "notes": notes}
            temporary.write_text(json.dumps(content, indent=1))
    kept = json.loads(record.read_text())
    snapshot = load_snapshot(place / kept["snapshot"])
    train, val, test = (ase.io.read(snapshot.path(split), ":", format="extxyz") for split in SPLITS)
    return DataSet(name, train, val, test, kept["notes"] | {"level_id": snapshot.level_id})


def _label(engine: Engine, options: StructureOptions, progress: Progress, store: SpinStore) -> dict[str, Any]:
    """Relax the parents and label every configuration; low-spin labels are accepted by hand, as the paper kept its."""
    results = []
    for number, start in enumerate(cells := starts(options)):
        results.append(_relaxed(engine, start))
        progress(RELAXING * (number + 1) / len(cells))
    configs = list(generate(with_lattices(options, results)))
    for number, config in enumerate(configs):
        if not store.has_label(point_id(config.config_id, engine.level_id())):
            _label_one(engine, config, store)
        progress(RELAXING + (1 - RELAXING) * (number + 1) / len(configs))
    rejected = list(store.points.query({"verdict": "rejected"}, ["point_id", "verdict_reasons"]))
    low = [d["point_id"] for d in rejected if all(r.startswith(LOW_SPIN) for r in d["verdict_reasons"])]
    if low:
        decide(store, low, "accept", "paper_tables", "the paper's data hold low-spin sites")
    return {
        "configurations": len(configs),
        "failed": store.failures.count(),
        "rejected": len(rejected) - len(low),
        "low_spin_accepted": store.decisions.count(),
    }


def _label_one(engine: Engine, config: SpinConfig, store: SpinStore) -> None:
    try:
        store.put_point(engine.label(config))
    except LabelError as error:
        store.put_failure(engine.failure(config, error))


def _relaxed(engine: Engine, start: Start) -> dict[str, Any]:
    """The cell of one parent in one ordering, as `spinmultinet run` computes it."""
    config = start.config
    atoms = Atoms(config.species, positions=config.positions, cell=config.lattice, pbc=True)
    atoms.set_initial_magnetic_moments(config.magmoms_in)
    found = find_equilibrium(atoms, EngineCalculator(engine, config), start.method).document()
    how = {"method": start.kind, "ordering": config.ordering, "start": config.parent}
    return {"lattice": found["lattice"], "fractional": found["fractional"], "how": how}
