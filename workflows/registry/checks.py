"""What a model must show before it is used: its files are its own and whole, it obeys its symmetries, it runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from datastore.errors import DataError
from datastore.model_files import fetch
from datastore.schema import ModelRecord
from spinmultinet import keys
from spinmultinet.calculator import SpinMultiNetCalculator
from spinmultinet.checkpoint import from_content, load_model, to_content
from spinmultinet.committee import Committee
from spinmultinet.dynamics import MDOptions, run_md
from spinmultinet.errors import SpinMultiNetError
from spinmultinet.levels import UNKNOWN
from spinmultinet.model import SpinMultiNet
from spinmultinet.testing import Predict, check_all, predictor
from workflows.learning import PromoteOptions
from workflows.policy.promotion import Finding
from workflows.registry.errors import UnfitModelError

MAX_DRIFT = 0.01
"""eV/atom. Verlet steps of 1 fs keep the total energy of oxides at room temperature within a small part of it."""

Tell = Callable[[float, str], None]


def load_members(record: ModelRecord, store_uri: str) -> tuple[list[Path], list[SpinMultiNet]]:
    """Local paths and models of a record, in its order, each compared with what the record says of it.

    Raises UnfitModelError, one clear reason: a file is gone, damaged or no SpinMultiNet model, or was trained at
    another level of theory, for other species, with moments of another role or on other data than the record says, or
    holds numbers that are not finite.
    """
    if not record.files:
        raise UnfitModelError(f"model {record.model_id} has no files on record; train again")
    try:
        paths = [fetch(file, store_uri) for file in record.files]
        members = [load_model(path) for path in paths]
    except (DataError, SpinMultiNetError) as error:
        raise UnfitModelError(f"model {record.model_id}: {error}") from error
    for path, member in zip(paths, members, strict=True):
        problem = _foreign(record, member)
        if problem:
            raise UnfitModelError(f"model {record.model_id}: {path} {problem}; it is not the model of this record")
    return paths, members


def check_behaviour(
    members: Sequence[SpinMultiNet], frames: Sequence[Atoms], options: PromoteOptions, tell: Tell | None = None
) -> list[Finding]:
    """Symmetries and derivatives of every member on a few of the labelled structures ``frames``, and a short run of MD.

    The structures are small ones, of different orderings. ``tell`` gets the share that is done. No structure, no check:
    a finding says so and does not pass.
    """
    chosen = _few(frames, options.structures)
    if not chosen:
        return [Finding("symmetry", False, "there is no labelled structure to check it on")]
    said: Tell = tell or (lambda share, text: None)
    findings = [_symmetry(members, chosen, options, said)]
    if options.md_steps:
        findings.append(_dynamics(members, chosen[0], options, said))
    return findings


def check_finite(members: Sequence[SpinMultiNet], frames: Sequence[Atoms]) -> Finding:
    """Whether the committee of ``members`` predicts numbers for the labelled structures ``frames``."""
    names = ("energy", "forces", "magmoms")
    found = Committee(list(members)).predict(frames) if frames else []
    bad = [k for k, p in enumerate(found) if not all(np.all(np.isfinite(p[name])) for name in names if name in p)]
    if bad:
        first = frames[bad[0]].info.get(keys.CONFIG_ID, "unknown")
        text = f"no finite prediction for {len(bad)} of {len(frames)} test labels, such as structure {first}"
        return Finding("finite", False, text)
    return Finding("finite", True, f"energies, forces and moments of {len(frames)} test labels")


def _foreign(record: ModelRecord, member: SpinMultiNet) -> str:
    """In what a model differs from its record; empty where in nothing."""
    about = member.metadata
    pairs = {
        "level of theory": (about.get(keys.LEVEL_ID), record.level_id),
        "role of the input moments": (about.get(keys.MOMENT_ROLE), record.moment_role),
        "training set": (about.get("snapshot_id"), record.snapshot_id),
        "species": (", ".join(sorted(member.species)), ", ".join(sorted(record.species))),
    }
    for what, (found, expected) in pairs.items():
        if found != expected:
            return f"was trained with another {what} ({found or UNKNOWN}, on record: {expected})"
    if not all(bool(torch.isfinite(value).all()) for value in member.state_dict().values()):
        return "holds weights that are not finite"
    return ""


def _few(frames: Sequence[Atoms], count: int) -> list[Atoms]:
    """The smallest structures, of as many orderings as there are, with nothing of a label left on them."""
    by_size = sorted(frames, key=lambda atoms: (len(atoms), str(atoms.info.get(keys.CONFIG_ID))))
    seen: set[str] = set()
    first: list[Atoms] = []
    rest: list[Atoms] = []
    for atoms in by_size:
        name = str(atoms.info.get(keys.ORDERING))
        (rest if name in seen else first).append(atoms)
        seen.add(name)
    return [_bare(atoms) for atoms in [*first, *rest][:count]]


def _bare(atoms: Atoms) -> Atoms:
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.set_array(keys.MAGMOM_IN, atoms.arrays[keys.MAGMOM_IN])
    bare.set_initial_magnetic_moments(atoms.arrays[keys.MAGMOM_IN])
    bare.info = {k: v for k, v in atoms.info.items() if k == keys.MOMENT_ROLE}
    return bare


def _symmetry(members: Sequence[SpinMultiNet], frames: Sequence[Atoms], options: PromoteOptions, tell: Tell) -> Finding:
    if not __debug__:
        return Finding("symmetry", False, "Python runs with -O, which switches the asserts of the check off")
    total = len(members) * len(frames)
    for k, member in enumerate(members):
        for n, atoms in enumerate(frames):
            tell((k * len(frames) + n) / total, f"symmetries of member {k}")
            try:
                predict = _relative(predictor(_exact(member)), atoms)
                check_all(predict, atoms, np.random.default_rng(n), options.symmetry, spin_orbit=member.options.soc)
            except AssertionError as error:
                return Finding("symmetry", False, f"member {k}, {atoms.symbols}: {error}")
            except SpinMultiNetError as error:
                return Finding("symmetry", False, f"member {k} cannot predict {atoms.symbols}: {error}")
    names = "rotation, inversion, translation, permutation, time reversal, supercell, derivatives"
    return Finding("symmetry", True, f"{names}: within {options.symmetry:g} on {len(frames)} structures, all members")


def _exact(member: SpinMultiNet) -> SpinMultiNet:
    """The same weights in float64: finite differences would otherwise measure rounding."""
    content = to_content(member)
    return from_content({**content, "model_options": {**content["model_options"], "dtype": "float64"}}, "float64")


def _relative(predict: Predict, reference: Atoms) -> Predict:
    """Energies relative to that of ``reference`` per atom: tolerances grow with the size of what is compared."""
    zero = float(predict(reference)["energy"]) / len(reference)

    def relative(atoms: Atoms) -> dict[str, Any]:
        found = dict(predict(atoms))
        return found | {"energy": found["energy"] - zero * len(atoms)}

    return relative


def _dynamics(members: Sequence[SpinMultiNet], atoms: Atoms, options: PromoteOptions, tell: Tell) -> Finding:
    """Molecular dynamics at constant energy: forces stay bounded and the total energy stays what it is."""
    energies: list[float] = []

    def watch(step: int, now: Atoms) -> None:
        energies.append(float(now.get_total_energy()) / len(now))
        tell(step / options.md_steps, "molecular dynamics")

    wanted = MDOptions(
        ensemble="nve",
        temperature=options.md_temperature,
        steps=options.md_steps,
        interval=options.md_steps,
        max_force=options.md_force,
    )
    calculator = SpinMultiNetCalculator(list(members), members[0].metadata.get(keys.MOMENT_ROLE))
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = run_md(atoms, calculator, wanted, Path(folder) / "smoke.extxyz", watch)
        except SpinMultiNetError as error:
            return Finding("dynamics", False, str(error))
    drift = float(np.ptp(energies)) if np.all(np.isfinite(energies)) else float("nan")
    text = f"{result.steps} steps of 1 fs at {options.md_temperature:g} K, energy kept to {1e3 * drift:.2g} meV/atom"
    if result.reason:
        return Finding("dynamics", False, f"{result.reason} at step {result.steps}")
    return Finding("dynamics", bool(drift <= MAX_DRIFT), text)
