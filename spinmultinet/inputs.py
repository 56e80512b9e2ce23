"""What a model takes from a structure: which moments, as signed scalars or as vectors."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms

from . import keys
from .data import Graph, input_moments, label_moments, name_of, to_graph
from .errors import SpinMultiNetError
from .model import SpinMultiNet

_PARALLEL = 1e-6  # sine of the largest angle between moments that still count as collinear


class NoncollinearWarning(UserWarning):
    """A model of collinear data is asked about moments that are not parallel."""


def spin_axes(frames: Iterable[Atoms]) -> int:
    """3 if any structure has vector moments [N, 3] as input or label, else 1."""
    for atoms in frames:
        results = atoms.calc.results if atoms.calc is not None else {}
        arrays = (keys.MAGMOM_IN, "initial_magmoms", keys.MAGMOM_OUT, keys.MAGNETIC_FORCES)
        found = [atoms.arrays.get(k) for k in arrays] + [results.get(k) for k in ("magmoms", keys.MAGMOM_OUT)]
        if any(np.ndim(x) == 2 and np.shape(x)[1] == 3 for x in found):
            return 3
    return 1


def graph_of(
    model: SpinMultiNet, atoms: Atoms, where: str = "structure", axes: int | None = None, labelled: bool = True
) -> Graph:
    """The structure as the model wants it. Its moments stay scalars or vectors unless `axes` = 3 says vectors.

    Without `labelled` its labels are left out, right or wrong (see `to_graph`).
    Scalars become vectors along z, which without spin-orbit coupling is as good as any axis. Raises SpinMultiNetError
    as `to_graph` does, for scalars given to a model with spin-orbit coupling, and for vectors where the model predicts
    moments without direction.
    """
    o = model.options
    if o.input_moments == "converged":
        atoms = _with_converged_moments(atoms, where)
    found = spin_axes([atoms])
    if o.soc and found == 1 and input_moments(atoms, where).any():
        raise SpinMultiNetError(
            f"{where}: the moments are signed scalars, but the model has spin-orbit coupling and must know where they "
            f"point; give vectors [N, 3] in '{keys.MAGMOM_IN}'"
        )
    axes = 3 if o.soc else axes or found
    if axes == 3 and model.moment_kind == "even":
        raise SpinMultiNetError(
            f"{where}: the moments are vectors, but a model with time_reversal: invariant predicts numbers without "
            "direction; use time_reversal: equivariant, or moments: false"
        )
    return to_graph(atoms, model.species, o.cutoff, axes, where=where, need_moments=o.spin, labelled=labelled)


def graphs_of(model: SpinMultiNet, frames: Sequence[Atoms], what: str = "", labelled: bool = True) -> list[Graph]:
    """`graph_of` for each structure; all have vectors if one has. `what` begins the names used in errors."""
    axes = spin_axes(frames)
    return [graph_of(model, a, f"{what} {name_of(a, k)}".strip(), axes, labelled) for k, a in enumerate(frames)]


def _with_converged_moments(atoms: Atoms, where: str) -> Atoms:
    """A copy whose input moments are those of its label, if it has any; else the structure as it is."""
    moments = label_moments(atoms, 3, where)
    if not np.all(np.isfinite(moments)):
        return atoms
    work = atoms.copy()
    work.calc = atoms.calc
    work.arrays.pop(keys.MAGMOM_IN, None)
    work.set_array(keys.MAGMOM_IN, moments if spin_axes([atoms]) == 3 else moments[:, 2])
    return work


def warn_of_angles(model: SpinMultiNet, graphs: Sequence[Graph]) -> None:
    """Warn, once per model, if it was trained on collinear moments and these are not parallel.

    Parallel ones, along any axis, give what scalars give. What the angle between two moments does beyond their scalar
    product (biquadratic exchange, for one) cannot be learnt from collinear data.
    """
    if model.metadata.get(keys.SPIN_AXES) != 1 or model.warned_of_angles:
        return
    if any(_angles(g.moments.numpy()) for g in graphs):
        model.warned_of_angles = True
        warnings.warn(
            "the model was trained on collinear moments and these are not parallel: such data fix neither biquadratic "
            "nor higher non-collinear terms, so energies between parallel states are extrapolated",
            NoncollinearWarning,
            stacklevel=3,
        )


def _angles(moments: np.ndarray) -> bool:
    """Whether moments [N, s] are not all parallel or antiparallel."""
    if moments.shape[1] == 1:
        return False
    sizes = np.linalg.svd(moments, compute_uv=False)
    return bool(len(sizes) > 1 and sizes[1] > _PARALLEL * max(sizes[0], 1e-12))
