"""How often another start of the same state ends lower: Markdown tables for docs/quality.md.

python benchmarks/starts.py                           # spin-lattice engine, deformed CoO: 15 s on one core
python benchmarks/starts.py --gpaw 3 --out starts.jsonl  # PBE+U: 3 labels each of NiO, MnO and CoO of benchmarks/data

The usual guess (Co 1.0, Ni 2.5, Mn 3.0 muB) and every start of workflows/structures/starts.py of each configuration are
calculated, and compared with datastore/metastable.py. With GPAW each calculation takes about a minute; what is in
``--out`` is not calculated again.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import ase.io
import numpy as np

from datastore.metastable import METASTABLE, find_metastable
from datastore.quality import other_spin_state
from datastore.schema import SpinConfig, SpinPoint
from datastore.upgrade import parse
from workflows.campaign import StartOptions
from workflows.engines import Engine, LabelError, get_engine
from workflows.finished import Finished
from workflows.jobs.starts import evidence
from workflows.policy.starts import Sign, suspects
from workflows.structures import StructureOptions, generate
from workflows.structures.starts import STARTS, starts

POOL = Path(__file__).parent / "data" / "gpaw_pool.extxyz"
OXIDES = {"Ni2O2": "NiO", "Mn2O2": "MnO", "Co2O2": "CoO"}
GUESS = "usual guess"
CAMPAIGN = {
    "parents": [{"species": "Co", "lattice_constant": 4.29, "cell": "rhombohedral4"}],
    "orderings": ["FM", "AFM-II"],
    "magmoms": {"Co": 1.0},
    "deformations": [
        {"kind": "displacement", "count": 50, "amplitude": [0.03, 0.12]},
        {"kind": "shear", "count": 50, "amplitude": [-0.06, 0.06], "displacement": 0.03},
        {"kind": "tensile", "count": 50, "amplitude": [-0.06, 0.06], "displacement": 0.03},
        {"kind": "volume", "count": 50, "amplitude": [0.88, 1.1], "displacement": 0.03},
    ],
}
"""Deformations as in configs/campaigns/mn_co_ni.yaml."""


def campaign() -> list[SpinConfig]:
    """400 configurations of deformed CoO."""
    return list(generate(StructureOptions(**CAMPAIGN)))


def pool(each: int, names: Sequence[str] = ()) -> Iterator[SpinConfig]:
    """The first ``each`` labels of every oxide, and those called ``names``, as configurations."""
    taken: Counter[str] = Counter()
    for atoms in ase.io.read(POOL, ":"):
        info, oxide = atoms.info, OXIDES.get(atoms.get_chemical_formula())
        if info["name"] in names or (oxide is not None and taken[oxide] < each):
            taken[str(oxide)] += 1
            yield SpinConfig(
                species=list(atoms.symbols),
                lattice=atoms.cell.array,
                positions=atoms.positions,
                magmoms_in=atoms.arrays["magmom_in"],
                ordering=info["ordering"],
                cell=info["parent"],
                deformation=info["deformation"],
                pair_id=info["pair_id"],
            )


def label_all(engine: Engine, configs: Iterable[SpinConfig], finished: Finished) -> Iterator[tuple[str, SpinPoint]]:
    """Labels of every start of ``configs``, each with the config_id of the usual guess; failed ones are left out."""
    for config in configs:
        for new in [config, *starts(config)]:
            if new.config_id not in finished:
                finished.add(new.config_id, _calculated(engine, new))
            if "point_id" in (document := finished[new.config_id]):
                yield config.config_id, parse(SpinPoint, document)


def _calculated(engine: Engine, config: SpinConfig) -> dict[str, object]:
    try:
        return engine.label(config).to_document()
    except LabelError as error:
        return {"error": str(error)}


def families(labels: Iterable[tuple[str, SpinPoint]]) -> list[list[SpinPoint]]:
    """Labels of one configuration and its starts, whose signs are as asked for."""
    by_state: defaultdict[str, list[SpinPoint]] = defaultdict(list)
    for name, point in labels:
        if set(point.verdict_reasons) <= {other_spin_state(point)}:
            by_state[name].append(point)
    return list(by_state.values())


def outcome_table(groups: list[list[SpinPoint]], of: str) -> str:
    """What each start of the configurations ended in, against the label of the usual guess."""
    rows = [f"| {of}: start | labels | lower | the same state | higher |", "| --- | ---: | ---: | ---: | ---: |"]
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for group in groups:
        usual = next((p for p in group if not p.start), None)
        for point in group if usual is not None else ():
            ends = find_metastable([plain(usual), plain(point)])
            higher = {name: finding for name, finding in ends.items() if finding.reason.startswith(METASTABLE)}
            kind = "lower" if usual.point_id in higher else "higher" if point.point_id in higher else "the same state"
            found[point.start or GUESS][kind] += 1
    for name in STARTS:
        counts = found[name]
        cells = [str(counts[kind]) for kind in ("lower", "the same state", "higher")]
        rows.append(f"| {name} | {counts.total()} | {' | '.join(cells)} |")
    return "\n".join(rows)


def rule_lines(groups: list[list[SpinPoint]]) -> str:
    """Which labels of the usual guess a campaign would start again, and how many of those end lower."""
    usual = [point for group in groups for point in group if not point.start]
    ends = [item for group in groups for item in find_metastable(group).items()]
    found = {name for name, finding in ends if (finding.excitation or 0) > 0}
    options, known = StartOptions(), evidence(usual, usual, [])
    lines = [f"{len(found.intersection(p.point_id for p in usual))} of {len(usual)} labels have a lower start"]
    signs: list[list[Sign]] = [["spin-state"], ["neighbours"], ["spin-state", "neighbours"]]
    for when in signs:
        asked = suspects(known, when, options.energy, options.spreads)
        lower = sum(suspect.point_id in found for suspect in asked)
        lines.append(f"{' or '.join(when)}: {len(asked)} started again, {lower} of them end lower")
    return "\n".join(lines)


def plain(point: SpinPoint) -> SpinPoint:
    """The label as if its spin state were nobody's business: only the energies are compared here."""
    return point.model_copy(update={"verdict": "accepted", "verdict_reasons": []})


def spread_table(groups: list[list[SpinPoint]]) -> str:
    """Energies and moments of all starts against the lowest, per configuration: what is noise, and what a state."""
    rows = ["| label | above the lowest, meV/atom | moments off its, muB |", "| --- | --- | --- |"]
    for group in groups:
        ordered = sorted(group, key=lambda p: p.free_energy)
        lowest = ordered[0]
        above = [1e3 * (p.free_energy - lowest.free_energy) / len(p.species) for p in ordered]
        off = [min(np.abs(p.magmoms_out - s * lowest.magmoms_out).max() for s in (1, -1)) for p in ordered]
        energies = ", ".join(f"{e:.3f} ({p.start or GUESS})" for e, p in zip(above, ordered, strict=True))
        name = f"{lowest.formula}, {lowest.ordering}, {lowest.deformation}, {lowest.pair_id}"
        rows.append(f"| {name} | {energies} | {', '.join(f'{m:.4f}' for m in off)} |")
    return "\n".join(rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpaw", type=int, default=0, metavar="N", help="labels of each oxide to start again in PBE+U")
    parser.add_argument("--labels", nargs="*", default=[], metavar="NAME", help="further ones, such as p0035_FM")
    parser.add_argument("--out", type=Path, default=None, help="file of finished labels, JSON lines")
    arguments = parser.parse_args()
    first_principles = bool(arguments.gpaw or arguments.labels)
    engine = get_engine("gpaw" if first_principles else "spin-lattice")
    configs = list(pool(arguments.gpaw, arguments.labels)) if first_principles else campaign()
    began = time.process_time()
    groups = families(label_all(engine, configs, Finished(arguments.out, engine.level_id())))
    print(outcome_table(groups, engine.type), end="\n\n")
    if first_principles:
        print(spread_table(groups), end="\n\n")
    else:
        print(rule_lines(groups), end="\n\n")
    labels = sum(map(len, groups))
    print(f"{len(configs)} configurations, {labels} labels, {time.process_time() - began:.0f} s of CPU time here")


if __name__ == "__main__":
    main()
