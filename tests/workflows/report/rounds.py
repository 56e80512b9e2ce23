"""Four rounds of a campaign, as its flow leaves them: records, promotion log, decisions, files of rounds, log of runs.

Labels are real; models are the labels plus noise that shrinks from round to round, but for one that gets worse.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from datastore import ModelRecord, SpinStore
from datastore.atoms import point_to_atoms
from datastore.registry import promote, refuse
from datastore.schema import SpinConfig, SpinPoint
from datastore.snapshot import Snapshot, make_snapshot
from datastore.splits import SplitOptions
from spinmultinet.evaluate import constant_per_ordering
from workflows.campaign import CampaignOptions
from workflows.engines import Engine
from workflows.policy.pool import Candidate, Choice
from workflows.structures.generate import candidates
from workflows.test_sets import evaluate_by_test

SIZES = (0.004, 0.002, 0.005, 0.0008)
"""Error of the energy per atom, eV, by round; the third model is worse and refused."""

PER_ROUND = 5
START = 1.76e9
SPLIT = SplitOptions(fractions=(0.4, 0.1, 0.5), by="named", held_out=("AFM-I",))


class NoisyCommittee:
    """Predicts the labels with errors, and spreads that are right in size on the whole."""

    def __init__(self, size: float, seed: int):
        self.size, self.rng = size, np.random.default_rng(seed)

    def predict(self, frames: list[Atoms]) -> list[dict[str, Any]]:
        return [self._one(atoms) for atoms in frames]

    def _one(self, atoms: Atoms) -> dict[str, Any]:
        found, n = atoms.calc.results, len(atoms)
        sizes = {"energy": self.size * n, "forces": 20 * self.size, "magmoms": 3 * self.size}
        spread = {name: size * self.rng.gamma(4.0, 0.25) for name, size in sizes.items()}
        return {
            "energy": found["free_energy"] + spread["energy"] * self.rng.normal(),
            "forces": found["forces"] + spread["forces"] * self.rng.normal(size=(n, 3)),
            "magmoms": found["magmoms"] + spread["magmoms"] * self.rng.normal(size=n),
            "stress": atoms.get_stress(voigt=False),
            "energy_std": spread["energy"],
            "forces_std": np.full(n, spread["forces"]),
            "magmoms_std": np.full(n, spread["magmoms"]),
        }


def run_rounds(options: CampaignOptions, store: SpinStore, engine: Engine, points: list[SpinPoint]) -> dict[str, Any]:
    """Put four rounds into the store and the campaign's folder; returns what the last promotion gives on."""
    folder = Path(options.folder)
    told: dict[str, Any] = {"selections": [], "honest": [], "history": []}
    snapshot: Snapshot | None = None
    champion = ""
    for number, size in enumerate(SIZES):
        committee = NoisyCommittee(size, number)
        if number:
            new, path = _choose(options, engine, number, folder)
            told["selections"].append(str(path))
            told["honest"].append(str(_honest(number, champion, NoisyCommittee(SIZES[number - 1], 9), new, folder)))
            for point in new:
                store.put_point(point)
            points = [*points, *new]
        snapshot = make_snapshot(store, folder / "snapshot", options.name, options=SPLIT, previous=snapshot)
        results = _results(number, committee, snapshot, points)
        scores = {"model": results["model"]["overall"]} | {k: results["model"][k] for k in ("tests", "groups")}
        parents = [told["model_id"]] if "model_id" in told else []
        record = record_of(options, snapshot, number, scores, parents)
        store.put_model(record)
        champion = _judge(store, options.name, record.model_id, champion, worse=number == 2)
        told |= _finish(number, record, results, snapshot, folder, champion)
        _decide(store, number, told, options)
    _write_log(folder, len(points))
    return told | {"point_ids": [point.point_id for point in points]}


def _choose(options: CampaignOptions, engine: Engine, number: int, folder: Path) -> tuple[list[SpinPoint], Path]:
    pool = [c for c in candidates(options.structures, number, options.name, 4) if c.ordering != "AFM-I"]
    scored = [_scored(config, np.random.default_rng([number, k])) for k, config in enumerate(pool)]
    taken = sorted(scored, key=lambda one: -one.energy)[:PER_ROUND]
    choices = [Choice(one, 1e3 * one.energy, f"spread of energy is {1e3 * one.energy:.1f} meV/atom") for one in taken]
    path = folder / f"generation_{number}" / f"selection-{number}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = {"chosen": [asdict(c) for c in choices], "candidates": [asdict(c) for c in scored]}
    path.write_text(json.dumps({"generation": number, "rule": "spread", "factors": {}, **listed}))
    ids = {one.config_id for one in taken}
    return [engine.label(config) for config in pool if config.config_id in ids], path


def _scored(config: SpinConfig, rng: np.random.Generator) -> Candidate:
    energy, forces, moments = (rng.gamma(2.0, scale) for scale in (1e-3, 0.03, 0.004))
    named = (config.config_id, config.pair_id, config.ordering, config.deformation, config.formula)
    source = "deformations" if rng.random() < 0.7 else "dynamics"
    return Candidate(*named, source, price=0.3, energy=energy, forces=forces, moments=moments)


def _honest(number: int, champion: str, committee: NoisyCommittee, new: list[SpinPoint], folder: Path) -> Path:
    result = evaluate_by_test(committee, [point_to_atoms(point) for point in new], SPLIT)
    path = folder / f"generation_{number}" / "honest.json"
    path.write_text(json.dumps({**result, "generation": number, "model_id": champion, "n": len(new)}))
    return path


def _results(number: int, committee: NoisyCommittee, snapshot: Snapshot, points: list[SpinPoint]) -> dict[str, Any]:
    train, test = (
        [point_to_atoms(point) for point in points if point.point_id in snapshot.points[split]]
        for split in ("train", "test")
    )
    model = evaluate_by_test(committee, test, SPLIT)
    return {"generation": number, "model": model, "constant": constant_per_ordering(train, test)}


def record_of(
    options: CampaignOptions, snapshot: Snapshot, number: int, scores: dict[str, Any], parents: list[str]
) -> ModelRecord:
    """Record of a model of that generation, made a minute after the one before."""
    return ModelRecord(
        model_id=f"model-{number}",
        campaign=options.name,
        generation=number,
        created=f"2026-01-01T00:0{number}:00+00:00",
        snapshot_id=snapshot.snapshot_id,
        level_id=snapshot.level_id,
        level_of_theory=snapshot.level_of_theory,
        moment_role="guess",
        species=snapshot.species,
        hypers={"model": {"layers": 2}, "training": {"epochs": 10}},
        files=[],
        scores=scores,
        parents=parents,
        code_version="0.1.0",
    )


def _judge(store: SpinStore, campaign: str, model_id: str, champion: str, worse: bool) -> str:
    by = f"campaign {campaign}"
    if worse:
        refuse(store, campaign, model_id, by, ["energy on test set random: 1.6 -> 4.0 meV/atom (+150%)"], champion)
        return champion
    promote(store, campaign, model_id, by, ["the mean error shrank by 40 %" if champion else "first model"], champion)
    return model_id


def _finish(
    number: int, record: ModelRecord, results: dict[str, Any], snapshot: Snapshot, folder: Path, champion: str
) -> dict[str, Any]:
    path = folder / f"generation_{number}" / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results))
    members = [{"path": f"models/{k}.pt", "sha256": f"{k}" * 64, "seconds": 20.0} for k in range(3)]
    named = {"generation": number, "model_id": record.model_id, "members": members, "snapshot": str(snapshot.folder)}
    return {**named, "scores": record.scores, "results": str(path), "champion": {"model_id": champion}}


def _decide(store: SpinStore, number: int, told: dict[str, Any], options: CampaignOptions) -> None:
    last = number == len(SIZES) - 1
    told["history"] = [*told["history"], {"generation": number, "model_id": told["model_id"]}]
    why = "all targets are met: energy on random 0.6" if last else f"round {number + 1} of at most 6 follows"
    jobs = [
        {"uuid": f"promote-{number}", "metadata": {"kind": "promote"}, "output": dict(told)},
        {
            **{"uuid": f"decide-{number}", "metadata": {"kind": "decide"}},
            "output": {"generation": number, "stop": last, "why": why, "history": told["history"]},
        },
    ]
    store.jobs.update([{**job, "index": 1} for job in jobs], key=["uuid", "index"])


def _write_log(folder: Path, labels: int) -> None:
    """Two workers; between the second and the third round the campaign was stopped for two hours."""
    lines, now = [], START
    for number in range(len(SIZES)):
        now += 7200.0 if number == 2 else 0.0
        kinds = [(f"label {k}", "label", 3.0) for k in range(PER_ROUND if number else labels - 15)]
        kinds += [(f"train {number} member {k}", "train", 40.0 + 5 * number) for k in range(3)]
        kinds += [(f"{kind} {number}", kind, 2.0) for kind in ("evaluate", "promote", "decide")]
        for name, kind, seconds in kinds:
            uuid = f"{number}-{name}"
            named = {"type": kind, "job": name, "uuid": uuid}
            lines.append({**named, "time": now, "event": "started"})
            lines.append({**named, "time": now + seconds, "event": "done", "seconds": seconds})
            now += seconds
    lines.append({"type": "label", "job": "cut off", "uuid": "x", "time": now, "event": "started"})
    (folder / "calculations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
