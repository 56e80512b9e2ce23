"""Tables 1, 2 and 4 of the SpinMultiNet paper at a size that two cores can do; prints Markdown.

python -m benchmarks.paper_tables --out runs/tables
python -m benchmarks.paper_tables --out runs/quick --geometries 4 --pairs 20 --seeds 1 --epochs 5
python -m benchmarks.paper_tables --out runs/gpaw --data benchmarks/data/gpaw_*.extxyz

Without --data the labels are made by the spin-lattice engine: the Mn-Co-Ni protocol of configs/campaigns/mn_co_ni.yaml
for Tables 1 and 4, and pairs of CoO, one geometry in FM and in AFM-II, for Table 2. With --data they are PBE+U labels
of GPAW, for Tables 1 and 4; every seed then has a test set of its own. OUT gets data, models, `tables.md`,
`tables.json` and `tables.png`.
Stop it at any time: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.paper_tables.data import DataSet, co_pairs, from_files, mn_co_ni, synthetic
from benchmarks.paper_tables.report import PAPER, Report, figure
from benchmarks.paper_tables.rows import HEADLINE, ROWS, Training, blind_bound, train_all
from datastore.errors import DataError
from spinmultinet.errors import SpinMultiNetError
from spinmultinet.hypers import ModelOptions, TrainOptions, read_config
from spinmultinet.levels import LevelWarning
from workflows.cli.output import share_bar, whole_file

MODELS = Path(__file__).parents[2] / "configs" / "models"


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper_tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of data, models and tables")
    parser.add_argument("--data", type=Path, nargs="+", help="extended XYZ of GPAW labels instead of synthetic ones")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="of the rows of Tables 1 and 2; default: 3")
    parser.add_argument("--other-seeds", type=int, help="of the other rows; default: 1, with --data as --seeds")
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side, one thread each; default: 2")
    parser.add_argument("--epochs", type=int, help="default: as the model's file says")
    parser.add_argument("--model", type=Path, help="default: configs/models/tables.yaml, with --data tables_gpaw.yaml")
    parser.add_argument("--geometries", type=int, default=36, help="per parent, ordering and deformation; 84 times it")
    parser.add_argument("--pairs", type=int, default=300, help="geometries of CoO in two orderings; default: 300")
    parser.add_argument("--cell", default="all8", help="of the parents: all8 (8 atoms), conventional_2x2x2 (64)")
    options = parser.parse_args(given)
    for name in ("seeds", "other_seeds", "processes", "epochs", "geometries", "pairs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} is {value}; give at least 1")
    return options


def data_sets(options: argparse.Namespace) -> dict[int, list[DataSet]]:
    """Table -> its sets; with files one per seed, which stand for the paper's large set, pairs as they are."""
    folder = options.out / "data"
    if options.data:
        found = [from_files(options.data, folder / f"gpaw-{seed}", seed) for seed in range(options.seeds)]
        return {1: found, 4: found}
    with share_bar("labels of Mn-Co-Ni oxides") as progress:
        large = synthetic("mn_co_ni", mn_co_ni(options.geometries, options.cell), folder / "mn_co_ni", progress)
    with share_bar("labels of pairs") as progress:
        pairs = synthetic("pairs", co_pairs(options.pairs, options.cell), folder / "pairs", progress)
    return {1: [large], 2: [pairs], 4: [large]}


def trainings(options: argparse.Namespace, sets: dict[int, list[DataSet]]) -> list[Training]:
    """What to train: each row of each table once per seed; a model that is in two tables once."""
    others = options.other_seeds or (options.seeds if options.data else 1)
    found: dict[str, Training] = {}
    for table, members in sets.items():
        for row in (row for row in options.rows if row in PAPER[table]):
            for seed in range(options.seeds if row in HEADLINE else others):
                training = Training(row, members[seed % len(members)], seed)
                found[training.name] = training
    return list(found.values())


def model_options(options: argparse.Namespace) -> tuple[ModelOptions, TrainOptions]:
    default = MODELS / ("tables_gpaw.yaml" if options.data else "tables.yaml")
    model, training = read_config(options.model or default)
    return model, training.model_copy(update={"epochs": options.epochs} if options.epochs else {})


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    warnings.simplefilter("ignore", LevelWarning)
    base = model_options(options)
    sets = data_sets(options)
    chosen = trainings(options, sets)
    with share_bar(f"{len(chosen)} trainings") as progress:
        scores = train_all(chosen, base, options.out / "models", options.processes, progress)
    report = Report(scores, {table: [data.name for data in members] for table, members in sets.items()})
    summary = {data.name: _described(data) for members in sets.values() for data in members}
    write(options.out, report, {"data": summary, "scores": scores, "training": base[1].model_dump(mode="json")})
    print(report.markdown())
    print(f"Data: {json.dumps(summary)}\n\n{options.out}/tables.md, tables.json and tables.png are written.")


def _described(data: DataSet) -> dict[str, Any]:
    counts = {name: len(getattr(data, name)) for name in ("train", "val", "test")}
    return {**counts, **data.notes, "least_error_without_spin": blind_bound(data.test)}


def write(folder: Path, report: Report, content: dict[str, Any]) -> None:
    """The three files, each whole or not there."""
    with whole_file(folder / "tables.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1))
    with whole_file(folder / "tables.md") as temporary:
        temporary.write_text(report.markdown())
    figure(report, folder / "tables.png")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
    except (DataError, SpinMultiNetError) as error:
        sys.exit(f"error: {error}")
