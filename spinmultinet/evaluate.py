"""Predictions for lists of structures, errors against labels, and the honest baseline."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from . import keys
from .comparison import REPORT_UNITS, axes_of, compare, grouped, per_element, right_sign, summary
from .data import Graph, batches, collate, input_moments, labels, name_of
from .errors import SpinMultiNetError
from .inputs import graph_of, warn_of_angles
from .levels import LevelWarning, check_levels, check_role, described
from .model import SpinMultiNet
from .pair_energies import pair_energies
from .self_consistency import self_consistent
from .spin_states import check_boundaries, spin_states
from .uncertainty import SIGMAS, SPREADS, uncertainty

Prediction = dict[str, Any]
STRUCTURES_PER_BATCH, EDGES_PER_BATCH = 64, 60_000


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


def graphs_of(model: SpinMultiNet, frames: Sequence[Atoms], first: int = 0) -> list[Graph]:
    """Structures as the model wants them, with neighbour lists. Refuses moments of another role than the model's.

    Labels are left out. Errors name the structures by their numbers, which begin with `first`.
    Warns (NoncollinearWarning, once per model) if a model of collinear data gets moments that are not parallel.
    """
    check_role(model.metadata, frames)
    graphs = [graph_of(model, a, name_of(a, k), labelled=False) for k, a in enumerate(frames, first)]
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


def evaluate(
    model: SpinMultiNet | Predictor,
    frames: Sequence[Atoms],
    boundaries: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """Errors of a model, committee or baseline on labelled structures; JSON-able, units in `units`.

    `overall`, `per_ordering`, `per_deformation`, `per_element` (sites): MAE and RMSE per task (`moments` and
    `magnetic_forces` on magnetic sites, i.e. with an input moment; `moments_all` on all), and but for overall their
    `right_sign`. `pairs`: differences of energy between structures of one pair_id. `right_sign`: fraction of magnetic
    sites with the sign of the label. `spin_states`: fraction with the right sign and the right branch of `|m|`;
    branches are seen in the labels, or parted at `boundaries` (see `spin_states`). `uncertainty`: spread of a committee
    against its errors (see `uncertainty`). `structures`: arrays for parity plots. Tasks that are not predicted or not
    labelled are absent.

    Raises SpinMultiNetError for an empty list, for structures without any label, for labels that mix levels of theory
    or are of another one than the model's, and for boundaries of elements that are not there; warns (LevelWarning) if a
    level is unknown.
    """
    check_labels(model, frames)
    if boundaries is not None:
        check_boundaries(boundaries, frames)
    predictions = predict(model, frames) if isinstance(model, SpinMultiNet) else model.predict(frames)
    rows = [compare(a, p, name_of(a, k)) for k, (a, p) in enumerate(zip(frames, predictions, strict=True))]
    return {
        "n_structures": len(frames),
        "units": REPORT_UNITS,
        "overall": summary(rows),
        "per_ordering": grouped(rows, frames, keys.ORDERING),
        "per_deformation": grouped(rows, frames, keys.DEFORMATION),
        "per_element": per_element(rows, frames),
        "pairs": pair_energies(frames, [p["energy"] for p in predictions]),
        "right_sign": right_sign(rows),
        "spin_states": spin_states(rows, frames, boundaries),
        "uncertainty": uncertainty(rows, frames, predictions),
        "structures": [_structure(a, p, r) for a, p, r in zip(frames, predictions, rows, strict=True)],
    }


def check_labels(model: SpinMultiNet | Predictor, frames: Sequence[Atoms]) -> None:
    """Refuse what errors cannot be calculated from, before anything is predicted; see `evaluate`."""
    if not frames:
        raise SpinMultiNetError("nothing to evaluate: the list of structures is empty; check the split")
    found = [labels(a, 3, name_of(a, k)) for k, a in enumerate(frames)]
    if not any(np.isfinite(values).any() for label in found for values in label.values()):
        raise SpinMultiNetError(
            f"no labels in the {len(frames)} structures to evaluate: none has an energy, forces, stress or moments "
            "(magmom_out); give labelled structures, or predict them"
        )
    metadata = getattr(model, "metadata", None)
    if metadata is None:  # it claims nothing, but the labels must still be of one kind
        described(frames, "the set of structures to evaluate")
        return
    for note in check_levels(metadata, frames):
        warnings.warn(note, LevelWarning, stacklevel=3)


def _structure(atoms: Atoms, p: Prediction, row: dict[str, np.ndarray]) -> dict[str, Any]:
    """Labels and predictions of one structure as lists: energy in eV/atom, forces in eV/Angstrom, moments in muB."""
    found = labels(atoms, axes_of(p), "structure")
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
    for spread in (*SPREADS.values(), *SIGMAS.values()):
        if spread in p:
            out[spread] = np.asarray(p[spread]).tolist()
    return out


class ConstantPerOrdering:
    """The honest baseline: per ordering of the training set, the mean energy per atom and the mean stress; no forces.

    Moments: mean `|m|` per (ordering, element) times the sign of the input moment; mean signed where the input is zero.
    An ordering the training set lacks gets the mean over all of it; a structure with an element it lacks gets no
    moments. `metadata`: level_id and moment_role of that set.
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
        found = {"energy": float(energy) * len(atoms), "forces": np.zeros((len(atoms), 3)), "stress": stress}
        return found | {"magmoms": magmoms} if np.all(np.isfinite(magmoms)) else found


def _mean_by(names: Sequence[Any], values: Sequence[Any]) -> dict[Any, Any]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for name, value in zip(names, values, strict=True):
        if np.all(np.isfinite(value)):
            groups[name].append(value)
    return {name: np.mean(members, axis=0) for name, members in groups.items()}


def constant_per_ordering(train_atoms: Sequence[Atoms], test_atoms: Sequence[Atoms]) -> dict[str, Any]:
    """`evaluate` of the baseline ConstantPerOrdering: what a model without any geometry would score."""
    return evaluate(ConstantPerOrdering(train_atoms), test_atoms)
