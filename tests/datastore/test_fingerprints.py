import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.fingerprints import CUTOFF, NEIGHBOURS, Geometry, environments, fingerprint, reach
from tests.datastore.crystals import SPECIES, crystal, rewritten

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 3))
def test_the_way_of_writing_does_not_matter(seed, repeat):
    rng = np.random.default_rng(seed)
    original = crystal(rng)
    np.testing.assert_allclose(fingerprint(rewritten(original, rng, repeat=repeat)), fingerprint(original), atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0.001, 0.05))
def test_small_displacements_stay_within_reach(seed, size):
    rng = np.random.default_rng(seed)
    original = crystal(rng)
    moved = rewritten(original, rng, noise=size)
    rms = 3 * size  # a draw may be larger than its standard deviation
    assert np.linalg.norm(fingerprint(moved) - fingerprint(original)) <= reach(len(set(SPECIES)), rms)


def test_distances_of_rocksalt():
    a = 4.2
    half = a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    geometry = Geometry("MgO", ("Ni", "O"), half, np.array([[0.0, 0, 0], [a / 2, 0, 0]]))
    near_ni, near_o = environments(geometry)[0].reshape(2, NEIGHBOURS)
    np.testing.assert_allclose(near_ni, a / np.sqrt(2))
    np.testing.assert_allclose(near_o[:6], a / 2)
    np.testing.assert_allclose(near_o[6:], a * np.sqrt(3) / 2)
    assert fingerprint(geometry)[0] == pytest.approx(a / 2)


def test_far_atoms_count_as_far_as_the_cutoff():
    alone = Geometry("He", ("Ni",), 9.0 * np.eye(3), np.zeros((1, 3)))
    assert np.all(environments(alone) == CUTOFF)


@pytest.mark.parametrize(
    ("species", "composition"),
    [(("O", "Ni"), (("Ni", 1), ("O", 1))), (("Ni",) * 4 + ("O",) * 6, (("Ni", 2), ("O", 3)))],
)
def test_composition_is_reduced(species, composition):
    assert Geometry("", species, np.eye(3), np.zeros((len(species), 3))).composition == composition
