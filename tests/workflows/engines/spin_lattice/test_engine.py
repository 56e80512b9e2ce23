"""The engine around the oxide model: what it refuses, what it reports."""

from __future__ import annotations

import numpy as np
import pytest

from tests.workflows.engines.spin_lattice.oxides import ENGINE, MIXED, changed, oxide
from workflows.engines import LabelError


def test_result_is_the_same_to_the_last_bit():
    first, second = ENGINE.label(MIXED), ENGINE.label(MIXED)
    assert first.energy == second.energy
    assert np.array_equal(first.forces, second.forces)


def test_far_too_close_atoms_are_refused():
    positions = MIXED.positions.copy()
    positions[1] = positions[0] + [0.4, 0, 0]
    with pytest.raises(LabelError, match=r"0\.40 Angstrom apart") as caught:
        ENGINE.label(changed(MIXED, positions=positions))
    assert caught.value.kind == "refused"


def test_unbalanced_charges_are_refused():
    base = oxide()
    species = [*base.species[:-1], "Ni"]
    with pytest.raises(LabelError, match="as many metals as O") as caught:
        ENGINE.label(changed(base, species=species))
    assert caught.value.kind == "refused"


def test_vector_guess_is_labelled_with_the_moments_it_relaxes_to():
    base = oxide(ordering="AFM-II")
    start = np.outer(base.magmoms_in, [0.0, 0.6, 0.8])
    point, collinear = ENGINE.label(changed(base, magmoms_in=start)), ENGINE.label(base)
    assert point.energy == pytest.approx(collinear.energy, abs=1e-9)
    assert point.magmoms_out == pytest.approx(np.outer(collinear.magmoms_out, [0.0, 0.6, 0.8]), abs=1e-7)
    assert point.ordering_found == "AFM-II"
    assert point.timings["iterations"] > 0
