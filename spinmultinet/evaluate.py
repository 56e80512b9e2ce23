"""Predictions for lists of structures, errors against labels, and the honest baseline."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from . import keys
from .data import Graph, batches, collate, input_moments, labels, name_of
from .errors import SpinMultiNetError
from .inputs import graph_of, warn_of_angles
from .levels import LevelWarning, check_levels, check_role, described
from .model import SpinMultiNet
from .self_consistency import self_consistent

Prediction = dict[str, Any]
STRUCTURES_PER_BATCH, EDGES_PER_BATCH = 64, 60_000
# What turns eV, eV/Angstrom, eV/Angstrom^3, muB and eV/muB into the units of the report.
REPORT_UNITS = {
    "energy": "meV/atom",
    "forces": "meV/Angstrom",
    "stress": "meV/Angstrom^3",
    "moments": "muB",
    "moments_all": "muB",
    "magnetic_forces": "meV/muB",
}
_FACTORS = {"energy": 1e3, "forces": 1e3, "stress": 1e3, "moments": 1.0, "moments_all": 1.0, "magnetic_forces": 1e3}


class Predictor(Protocol):
    """Anything that predicts a list of structures: a Committee, a baseline.

    If it has `metadata` (level_id, moment_role), `evaluate` compares them with those of the structures.
    """

    def predict(self, frames: Sequence[Atoms]) -> list[Prediction]:
        """One prediction per structure, as `predict` returns."""


def predict(model: SpinMultiNet, frames: Sequence[Atoms], iterate: int = 0) -> list[Prediction]:
    """Batched predictions, in the order given.

    Each: energy (eV), energies [N] (eV), forces [N, 3] (eV/Angstrom), stress [3, 3] (eV/Angstrom^3, ASE sign, NaN
    unless periodic in 3D), and, if the model predicts them, magmoms [N] or [N, 3] (muB); for models of constrained
    moments magnetic_forces [N] or [N, 3] (-dE/dm, eV/muB).

    `iterate` > 0 first feeds predicted moments back, at most so many rounds (see `self_consistency`), and adds `rounds`
    and `moment_change` (muB, of the last round). Forces and stress are derivatives at these moments held fixed.
    """
    return predict_graphs(model, graphs_of(model, frames), iterate)


def graphs_of(model: SpinMultiNet, frames: Sequence[Atoms]) -> list[Graph]:
    """Structures as the model wants them, with neighbour lists. Refuses moments of another role than the model's.

    Warns (NoncollinearWarning, once per model) if a model of collinear data gets moments that are not parallel.
    """
    check_role(model.metadata, frames)
    graphs = [graph_of(model, a, name_of(a, k)) for k, a in enumerate(frames)]
    warn_of_angles(model, graphs)
    return graphs


def predict_graphs(model: SpinMultiNet, graphs: Sequence[Graph], iterate: int = 0) -> list[Prediction]:
    """As `predict`, for structures whose neighbour lists are at hand. Scalars and vectors share no batch."""
    was_training = model.training
    model.eval()
    out: dict[int, Prediction] = {}
    for axes in sorted({g.moments.shape[1] for g in graphs}):
        order = [k for k, g in enumerate(graphs) if g.moments.shape[1] == axes]
        for batch in batches(graphs, order, STRUCTURES_PER_BATCH, EDGES_PER_BATCH):
            chosen = collate([graphs[k] for k in batch]).to(_device(model))
            out.update(zip(batch, _predict_batch(model, chosen, iterate), strict=True))
    model.train(was_training)
    return [out[k] for k in range(len(graphs))]


def _predict_batch(model: SpinMultiNet, graph: Graph, iterate: int) -> list[Prediction]:
    graph, ended = self_consistent(model, graph, iterate) if iterate else (graph, None)
    constrained = model.metadata.get(keys.MOMENT_ROLE) == keys.CONSTRAINT
    found = model(graph, magnetic_forces=constrained)
    predictions = _split({k: v.cpu().numpy() for k, v in found.items()}, graph.n_atoms.tolist())
    if ended is not None:
        for p, rounds, change in zip(predictions, ended.rounds.tolist(), ended.change.tolist(), strict=True):
            p.update(rounds=rounds, moment_change=change)
    return predictions


def _device(model: SpinMultiNet) -> Any:
    return model.energy_readout.weight.device


def _split(result: dict[str, np.ndarray], sizes: list[int]) -> list[Prediction]:
    ends = np.cumsum(sizes)
    out = []
    for k, (start, end) in enumerate(zip(ends - sizes, ends, strict=True)):
        one: Prediction = {
            "energy": float(result["energy"][k]),
            "energies": result["atom_energies"][start:end],
            "forces": result["forces"][start:end].astype(float),
            "stress": result["stress"][k].astype(float),
        }
        for name, task in (("magmoms", "moments"), (keys.MAGNETIC_FORCES, "magnetic_forces")):
            if task in result:
                values = result[task][start:end].astype(float)
                one[name] = values[:, 0] if values.shape[1] == 1 else values
        out.append(one)
    return out


def evaluate(model: SpinMultiNet | Predictor, frames: Sequence[Atoms]) -> dict[str, Any]:
    """Errors of a model, committee or baseline on labelled structures; JSON-able, units in `units`.

    `overall`, `per_ordering`, `per_deformation`: MAE and RMSE per task (`moments` and `magnetic_forces` on magnetic
    sites, i.e. with an input moment; `moments_all` on all). `per_element`: forces and moments. `pairs`: differences of
    energy between structures of one pair_id. `right_sign`: fraction of magnetic sites with the sign of the label.
    `structures`: arrays for parity plots. Tasks that are not predicted or not labelled are absent. Raises
    SpinMultiNetError for an empty list and for
    labels that mix levels of theory or are of another one than the model's; warns (LevelWarning) if one is unknown.
    """
    if not frames:
        raise SpinMultiNetError("nothing to evaluate: the list of structures is empty; check the split")
    _check(model, frames)
    predictions = predict(model, frames) if isinstance(model, SpinMultiNet) else model.predict(frames)
    rows = [_compare(a, p, name_of(a, k)) for k, (a, p) in enumerate(zip(frames, predictions, strict=True))]
    return {
        "n_structures": len(frames),
        "units": REPORT_UNITS,
        "overall": _summary(rows),
        "per_ordering": _grouped(rows, frames, keys.ORDERING),
        "per_deformation": _grouped(rows, frames, keys.DEFORMATION),
        "per_element": _per_element(rows, frames),
        "pairs": _pairs(frames, predictions),
        "right_sign": _right_sign(rows),
        "structures": [_structure(a, p, r) for a, p, r in zip(frames, predictions, rows, strict=True)],
    }


def _check(model: SpinMultiNet | Predictor, frames: Sequence[Atoms]) -> None:
    metadata = getattr(model, "metadata", None)
    if metadata is None:  # it claims nothing, but the labels must still be of one kind
        described(frames, "the set of structures to evaluate")
        return
    for note in check_levels(metadata, frames):
        warnings.warn(note, LevelWarning, stacklevel=3)


def _compare(atoms: Atoms, p: Prediction, where: str) -> dict[str, np.ndarray]:
    """Errors [n, ...] of one structure per task, predicted minus label in eV, Angstrom, muB; absent tasks left out."""
    found = labels(atoms, _axes(p), where)
    moments_in = input_moments(atoms, where, required=False).reshape(len(atoms), -1)
    row = {
        "energy": np.atleast_1d(p["energy"] - found["energy"][0]) / len(atoms),
        "forces": p["forces"] - found["forces"],
        "stress": (np.asarray(p["stress"]) - found["stress"][0])[None],
        "magnetic": np.linalg.norm(moments_in, axis=1) > 0,
    }
    if keys.MAGNETIC_FORCES in p:
        predicted = np.asarray(p[keys.MAGNETIC_FORCES]).reshape(len(atoms), -1)
        row["magnetic_forces"] = (predicted - found["magnetic_forces"])[row["magnetic"]]
    if "magmoms" in p:
        predicted = np.asarray(p["magmoms"]).reshape(len(atoms), -1)
        row["moments_all"] = predicted - found["moments_out"]
        row["moments"] = row["moments_all"][row["magnetic"]]
        row["agrees"] = ((predicted * found["moments_out"]).sum(1) > 0)[row["magnetic"]]
    return {k: v for k, v in row.items() if v.dtype == bool or (v.size and np.all(np.isfinite(v)))}


def _axes(p: Prediction) -> int:
    """Spin axes of the labels to compare with: those of predictions, else three, which takes either kind."""
    predicted = [p[k] for k in ("magmoms", keys.MAGNETIC_FORCES) if k in p]
    return 1 if predicted and np.ndim(predicted[0]) == 1 else 3


def _scores(values: Iterable[np.ndarray], factor: float) -> dict[str, float] | None:
    parts = [v.ravel() for v in values]
    if not parts:
        return None
    e = np.concatenate(parts) * factor
    return {"mae": float(np.abs(e).mean()), "rmse": float(np.sqrt((e**2).mean())), "n": int(e.size)}


def _summary(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, Any]:
    scores = {task: _scores((r[task] for r in rows if task in r), factor) for task, factor in _FACTORS.items()}
    return {task: s for task, s in scores.items() if s is not None}


def _grouped(rows: Sequence[dict[str, np.ndarray]], frames: Sequence[Atoms], key: str) -> dict[str, Any]:
    groups: dict[str, list[dict[str, np.ndarray]]] = defaultdict(list)
    for atoms, row in zip(frames, rows, strict=True):
        groups[str(atoms.info.get(key, "unknown"))].append(row)
    return {name: {"n_structures": len(members), **_summary(members)} for name, members in sorted(groups.items())}


def _per_element(rows: Sequence[dict[str, np.ndarray]], frames: Sequence[Atoms]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for element in sorted({s for a in frames for s in a.get_chemical_symbols()}):
        mine: list[dict[str, np.ndarray]] = [{k: r[k] for k in ("forces", "moments_all") if k in r} for r in rows]
        for atoms, row in zip(frames, mine, strict=True):
            chosen = np.array(atoms.get_chemical_symbols()) == element
            row.update({k: v[chosen] for k, v in row.items() if chosen.any()})
        out[element] = _summary([r for a, r in zip(frames, mine, strict=True) if element in a.get_chemical_symbols()])
    return out


def _right_sign(rows: Sequence[dict[str, np.ndarray]]) -> float | None:
    sites = [r["agrees"] for r in rows if "agrees" in r]
    joined = np.concatenate(sites) if sites else np.array([])
    return float(joined.mean()) if len(joined) else None


def _pairs(frames: Sequence[Atoms], predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """Energy differences between orderings of equal geometry (meV/atom), each against the first of its pair."""
    groups: dict[str, list[int]] = defaultdict(list)
    for k, atoms in enumerate(frames):
        if keys.PAIR_ID in atoms.info:
            groups[str(atoms.info[keys.PAIR_ID])].append(k)
    rows: list[dict[str, Any]] = []
    for pair, members in sorted(groups.items()):
        first, *others = sorted(members, key=lambda k: (str(frames[k].info.get(keys.ORDERING)), k))
        for k in others:
            rows.append(
                {"pair_id": pair, "orderings": [str(frames[i].info.get(keys.ORDERING)) for i in (k, first)]}
                | {
                    "label": _energy_per_atom(frames[k]) - _energy_per_atom(frames[first]),
                    "predicted": 1e3 * (predictions[k]["energy"] - predictions[first]["energy"]) / len(frames[k]),
                }
            )
    if not rows:
        return None
    error = np.array([r["predicted"] - r["label"] for r in rows])
    order = np.mean([r["predicted"] * r["label"] > 0 for r in rows])
    return {
        "unit": "meV/atom",
        "n": len(rows),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "right_order": float(order),
        "rows": rows,
    }


def _energy_per_atom(atoms: Atoms) -> float:
    return 1e3 * float(labels(atoms, 3, "pair")["energy"][0]) / len(atoms)


def _structure(atoms: Atoms, p: Prediction, row: dict[str, np.ndarray]) -> dict[str, Any]:
    """Labels and predictions of one structure as lists: energy in eV/atom, forces in eV/Angstrom, moments in muB."""
    found = labels(atoms, _axes(p), "structure")
    out: dict[str, Any] = {
        k: str(atoms.info[k])
        for k in (keys.CONFIG_ID, keys.PAIR_ID, keys.ORDERING, keys.DEFORMATION)
        if k in atoms.info
    }
    out |= {"symbols": atoms.get_chemical_symbols(), "magnetic": row["magnetic"].tolist()}
    pairs = {
        "energy": (p["energy"] / len(atoms), found["energy"][0] / len(atoms)),
        "forces": (p["forces"], found["forces"]),
    }
    if "stress" in row:
        pairs["stress"] = (p["stress"], found["stress"][0])
    if "magnetic_forces" in row:
        forces = p[keys.MAGNETIC_FORCES]
        pairs["magnetic_forces"] = (forces, found["magnetic_forces"].reshape(np.shape(forces)))
    if "magmoms" in p:
        pairs["moments"] = (p["magmoms"], found["moments_out"].reshape(np.shape(p["magmoms"])))
    for task, (predicted, label) in pairs.items():
        if np.all(np.isfinite(label)):
            out[task] = {"predicted": np.asarray(predicted).tolist(), "label": np.asarray(label).tolist()}
    for spread in ("energy_std", "forces_std", "magmoms_std"):
        if spread in p:
            out[spread] = np.asarray(p[spread]).tolist()
    return out


class ConstantPerOrdering:
    """The honest baseline: per ordering of the training set, the mean energy per atom and the mean stress; no forces.

    Moments: mean |m| per (ordering, element) times the sign of the input moment; mean signed where the input is zero.
    An ordering the training set lacks gets the mean over all of it. `metadata`: level_id and moment_role of that set.
    """

    def __init__(self, train: Sequence[Atoms]) -> None:
        if not train:
            raise SpinMultiNetError("the baseline needs a training set; the list of structures is empty")
        self.metadata = described(train, "the training set")
        found = [labels(a, 1, name_of(a, k)) for k, a in enumerate(train)]
        names = [str(a.info.get(keys.ORDERING, "unknown")) for a in train]
        self.energy = _mean_by(names, [f["energy"][0] / len(a) for a, f in zip(train, found, strict=True)])
        self.stress = _mean_by(names, [f["stress"][0] for f in found])
        sites: list[tuple[str, str, bool]] = []
        values: list[float] = []
        for name, atoms, f in zip(names, train, found, strict=True):
            moments_in = input_moments(atoms, required=False)
            for symbol, m_in, m_out in zip(
                atoms.get_chemical_symbols(), moments_in, f["moments_out"][:, 0], strict=True
            ):
                sites.append((name, symbol, m_in != 0))
                values.append(abs(m_out) if m_in != 0 else m_out)
        self.moments = _mean_by(sites, values)
        self.moments |= _mean_by([("", s, m) for _, s, m in sites], values)

    def predict(self, frames: Sequence[Atoms]) -> list[Prediction]:
        """The constants for each structure."""
        return [self._one(a) for a in frames]

    def _one(self, atoms: Atoms) -> Prediction:
        name = str(atoms.info.get(keys.ORDERING, "unknown"))
        magmoms = np.zeros(len(atoms))
        for k, (symbol, m_in) in enumerate(
            zip(atoms.get_chemical_symbols(), input_moments(atoms, required=False), strict=True)
        ):
            site = (name, symbol, m_in != 0)
            mean = self.moments.get(site, self.moments.get(("", *site[1:]), np.nan))
            magmoms[k] = mean * (np.sign(m_in) if m_in != 0 else 1.0)
        energy = self.energy.get(name, np.mean(list(self.energy.values())))
        stress = self.stress.get(name, np.mean(list(self.stress.values()), axis=0))
        return {
            "energy": float(energy) * len(atoms),
            "forces": np.zeros((len(atoms), 3)),
            "stress": stress,
            "magmoms": magmoms,
        }


def _mean_by(names: Sequence[Any], values: Sequence[Any]) -> dict[Any, Any]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for name, value in zip(names, values, strict=True):
        if np.all(np.isfinite(value)):
            groups[name].append(value)
    return {name: np.mean(members, axis=0) for name, members in groups.items()}


def constant_per_ordering(train_atoms: Sequence[Atoms], test_atoms: Sequence[Atoms]) -> dict[str, Any]:
    """`evaluate` of the baseline ConstantPerOrdering: what a model without any geometry would score."""
    return evaluate(ConstantPerOrdering(train_atoms), test_atoms)
