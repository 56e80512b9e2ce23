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
MAX_STEPS = 200
MAX_MOMENT = 10.0
"""No 3d ion carries more, muB; beyond it the model has left its range."""


def relax_moments(h: Hamiltonian, start: FloatArray) -> tuple[FloatArray, int]:
    """Moments (N,) at the minimum that the flow dm/dt = -dE/dm reaches from ``start``, and the number of steps.

    Implicit Euler steps linearised once (m -= (H + 1/dt)^-1 dE/dm) whose time step grows, so that the flow ends as
    Newton's method. Raises LabelError: ``not-converged``, or ``branch-lost`` where the end is no minimum.
    """
    m = np.array(start, dtype=float)
    inverse_step = 1 / FIRST_STEP
    for step in range(MAX_STEPS):
        gradient = h.moment_gradient(m)
        hessian = h.moment_hessian(m)
        if np.abs(gradient).max() < TOLERANCE:
            _require_minimum(hessian)
            return m, step
        lowest = float(np.linalg.eigvalsh(hessian)[0])
        # Where the energy curves downwards only a step shorter than that curvature follows the flow.
        shift = max(inverse_step, 1e-3 - lowest, -4 * lowest)
        m = m - np.linalg.solve(hessian + shift * np.eye(h.n), gradient)
        if np.abs(m).max() > MAX_MOMENT:
            raise LabelError(f"moments ran away beyond {MAX_MOMENT} muB after {step + 1} steps", "not-converged")
        inverse_step /= GROWTH
    worst = np.abs(h.moment_gradient(m)).max()
    raise LabelError(f"moments not converged after {MAX_STEPS} steps: |dE/dm| = {worst:.1e} eV/muB", "not-converged")


def _require_minimum(hessian: FloatArray) -> None:
    lowest = float(np.linalg.eigvalsh(hessian)[0])
    if lowest <= 1e-6:
        raise LabelError(
            f"the moments rest on no minimum (lowest curvature {lowest:.2e} eV/muB^2): this spin state does not exist "
            "here, start from larger moments",
            "branch-lost",
        )
