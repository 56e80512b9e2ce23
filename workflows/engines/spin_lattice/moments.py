"""Moments that follow the energy downhill from an initial estimate: deterministic, reversed by reversed input."""

from __future__ import annotations

import numpy as np

from datastore.schema import FloatArray
from workflows.engines.interface import LabelError
from workflows.engines.spin_lattice.hamiltonian import Hamiltonian

TOLERANCE = 1e-9
"""Largest |dE/dm| at convergence, eV / muB."""
FIRST_STEP = 0.05
"""First time step of the flow, muB^2 / eV: small against 1 / curvature, so that the start decides the branch."""
GROWTH = 1.5
LARGEST_CHANGE = 0.15
"""muB per step: on a plateau of the energy a long step would leap over the branch that the flow ends in."""
MAX_STEPS = 1000
MAX_MOMENT = 10.0
"""No 3d ion carries more, muB; beyond it the model has left its range."""
FLAT = 1e-6
"""eV / muB^2. A minimum curves upwards by more."""


def relax_moments(h: Hamiltonian, start: FloatArray) -> tuple[FloatArray, int]:
    """Moments at the minimum that the flow dm/dt = -dE/dm reaches from ``start``, and the number of steps.

    ``start``: (N,) or (N, 3), muB; the result has its shape. Implicit Euler steps linearised once
    (m -= (H + 1/dt)^-1 dE/dm) whose time step grows while the moments change little, so that the flow ends as Newton's
    method. Raises LabelError: ``not-converged``, or ``branch-lost`` where the end is no minimum in the lengths.
    """
    m = np.array(start, dtype=float)
    inverse_step = 1 / FIRST_STEP
    for step in range(MAX_STEPS):
        gradient = h.moment_gradient(m)
        hessian = h.moment_hessian(m)
        if np.abs(gradient).max() < TOLERANCE:
            _require_minimum(hessian, m)
            return m, step
        # Common rotations get a curvature: the gradient has no component along them, and Newton's method needs one.
        change, inverse_step = _change(hessian + _rotations(m), gradient, inverse_step)
        m = m - change
        if _longest(m) > MAX_MOMENT:
            raise LabelError(f"moments ran away beyond {MAX_MOMENT} muB after {step + 1} steps", "not-converged")
        inverse_step /= GROWTH
    worst = np.abs(h.moment_gradient(m)).max()
    raise LabelError(f"moments not converged after {MAX_STEPS} steps: |dE/dm| = {worst:.1e} eV/muB", "not-converged")


def _change(hessian: FloatArray, gradient: FloatArray, inverse_step: float) -> tuple[FloatArray, float]:
    """One step of at most LARGEST_CHANGE, and the inverse time step it was taken with."""
    curvature, modes = np.linalg.eigh(hessian)
    along = modes.T @ gradient.ravel()
    # Where the energy curves downwards only a step shorter than that curvature follows the flow.
    inverse_step = max(inverse_step, FLAT - curvature[0], -4 * curvature[0])
    while True:
        change: FloatArray = (modes @ (along / (curvature + inverse_step))).reshape(gradient.shape)
        if _longest(change) <= LARGEST_CHANGE:
            return change, inverse_step
        inverse_step *= 2


def _longest(moments: FloatArray) -> float:
    return float(np.linalg.norm(moments.reshape(len(moments), -1), axis=1).max())


def _require_minimum(hessian: FloatArray, m: FloatArray) -> None:
    lengths = _lengths(m)
    lowest = float(np.linalg.eigvalsh(lengths.T @ hessian @ lengths)[0])
    if lowest <= FLAT:
        raise LabelError(
            f"the moments rest on no minimum (lowest curvature {lowest:.2e} eV/muB^2): this spin state does not exist "
            "here, start from larger moments",
            "branch-lost",
        )


def _lengths(m: FloatArray) -> FloatArray:
    """Columns along which a length changes: that of each moment, all directions where there is none.

    Directions of vectors may rest on a saddle, as those of a ferromagnet do where an antiferromagnet is lower: a
    calculation that starts there stays there, with vectors as with collinear moments.
    """
    vectors = m.reshape(len(m), -1)
    k = vectors.shape[1]
    length = np.linalg.norm(vectors, axis=1)
    columns = np.zeros((len(m), k, len(m), k))
    for site, (vector, size) in enumerate(zip(vectors, length, strict=True)):
        columns[site, :, site] = np.eye(k) if size < FLAT else np.outer(vector / size, np.eye(k)[0])
    flat = columns.reshape(len(m) * k, len(m) * k)
    return flat[:, np.any(flat != 0, axis=0)]


def _rotations(m: FloatArray) -> FloatArray:
    """Projector on common rotations of all vector moments, which cost no energy; zero for collinear ones."""
    if m.ndim == 1:
        return np.zeros((len(m), len(m)))
    turned = np.stack([np.cross(axis, m).ravel() for axis in np.eye(3)], axis=1)
    q, values, _ = np.linalg.svd(turned, full_matrices=False)
    q = q[:, values > 1e-6]
    projector: FloatArray = q @ q.T
    return projector
