"""From what a search found to a candidate: the start's provenance goes on, the search's own is added."""

from __future__ import annotations

from typing import Any

from ase import Atoms

from datastore.schema import FloatArray, SpinConfig, content_hash
from workflows.structures.identity import canonical

PREPARED = "parent"
"""Parameter that says where a computed lattice came from; splits read it (datastore.snapshot)."""


def at_geometry(start: SpinConfig, atoms: Atoms, deformation: str, parameters: dict[str, Any]) -> SpinConfig:
    """``start`` at the lattice and positions (Angstrom) of ``atoms``; moments and ordering are those asked for."""
    geometry = canonical(start.species, atoms.cell.array, atoms.positions)
    return start.model_copy(
        update={
            # As any other document has them: read-only copies.
            **_arrays(lattice=atoms.cell.array, positions=atoms.positions),
            "deformation": deformation,
            "deformation_parameters": parameters | _before(start),
            "pair_id": content_hash(geometry, 16),
        }
    )


def with_state(start: SpinConfig, moments: FloatArray, ordering: str, parameters: dict[str, Any]) -> SpinConfig:
    """``start`` with other signs of its moments (N,), muB, called ``ordering``: a spin move in the same geometry."""
    return start.model_copy(
        update={
            **_arrays(magmoms_in=moments),
            "ordering": ordering,
            "deformation": "spin-move",
            "deformation_parameters": parameters | _before(start),
        }
    )


def _arrays(**arrays: FloatArray) -> dict[str, FloatArray]:
    copies = {name: array.copy() for name, array in arrays.items()}
    for array in copies.values():
        array.setflags(write=False)
    return copies


def _before(start: SpinConfig) -> dict[str, Any]:
    """What the start remembers: the lattice computed for its parent, and how it was deformed."""
    known = dict(start.deformation_parameters)
    kept = {PREPARED: known.pop(PREPARED)} if PREPARED in known else {}
    return kept if start.deformation == "none" else {**kept, "before": {"deformation": start.deformation, **known}}


def evenly(total: int, wanted: int) -> list[int]:
    """At most ``wanted`` of the numbers 1 to ``total``, evenly over them, the last included."""
    return sorted({max(1, round((number + 1) * total / wanted)) for number in range(wanted)}) if total else []
