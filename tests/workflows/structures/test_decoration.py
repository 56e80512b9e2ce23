"""Decorations: who is next to whom, exact counts, quality of the quasirandom ones, and clear refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.structures import StructureError, rocksalt
from workflows.structures.decoration import ORDERED, SQS_CUTOFFS

HALF = {"Ni": 0.5, "Mn": 0.5}


def unlike(structure, symbol, low, high):
    """Unlike and all metal neighbours of every site of one element between two distances in units of a."""
    a = structure.properties["lattice_constant"]
    found = set()
    for site in structure:
        if site.specie.symbol == symbol:
            near = [n for n in structure.get_neighbors(site, high * a) if n.nn_distance > low * a]
            metals = [n.specie.symbol for n in near if n.specie.symbol != "O"]
            found.add((sum(s != symbol for s in metals), len(metals)))
    return found


@pytest.mark.parametrize(
    ("name", "cell", "nearest", "second"),
    [("L1_0", "conventional", 8, 0), ("L1_0", "all8", 8, 0), ("L1_1", "all8", 6, 6), ("L1_1", "rhombohedral4", 6, 6)],
)
def test_layers_of_two_cations(name, cell, nearest, second):
    s = rocksalt(HALF, 4.2, cell, decoration=name)
    assert unlike(s, "Ni", 0.6, 0.8) == unlike(s, "Mn", 0.6, 0.8) == {(nearest, 12)}
    assert unlike(s, "Ni", 0.9, 1.1) == {(second, 6)}


def test_corners_and_faces():
    s = rocksalt({"Ni": 0.75, "Mn": 0.25}, 4.2, "conventional_2x2x2", decoration="L1_2")
    assert unlike(s, "Mn", 0.6, 0.8) == {(12, 12)}
    assert unlike(s, "Ni", 0.6, 0.8) == {(4, 12)}


def test_listed_cations_sit_where_the_pure_oxide_has_its_sites():
    symbols = ["Ni", "Mn", "Mn", "Ni"]
    pure, s = rocksalt("Ni", 4.2, "all8"), rocksalt(HALF, 4.2, "all8", decoration=symbols)
    where = {tuple(site.properties["grid_index"]): site.specie.symbol for site in s}
    assert [where[tuple(site.properties["grid_index"])] for site in pure[:4]] == symbols
    assert [site.specie.symbol for site in s] == ["Mn", "Mn", "Ni", "Ni", "O", "O", "O", "O"]


def test_quasirandom_cells_are_closer_to_random_than_a_random_one_and_reproducible():
    first, again = (rocksalt(HALF, 4.2, "conventional_2x2x2", seed=3, decoration="sqs") for _ in range(2))
    assert first == again
    assert [site.specie.symbol for site in first].count("Ni") == 16
    quality = first.properties["sqs"]
    assert quality["cutoffs"] == list(SQS_CUTOFFS)
    assert quality["sqs"]["rms"] < 0.5 * quality["random"]["rms"]
    other = rocksalt(HALF, 4.2, "conventional_2x2x2", seed=4, decoration="sqs")
    assert other.properties["parent"] != first.properties["parent"]
    three = rocksalt({"Ni": 0.5, "Mn": 0.25, "Co": 0.25}, 4.2, "conventional_2x2x2", decoration="sqs")
    assert [site.specie.symbol for site in three].count("Co") == 8


def test_the_quality_reported_is_that_of_the_structure():
    s = rocksalt(HALF, 4.2, "conventional_2x2x2", seed=3, decoration="sqs")
    spins = np.array([1 if site.specie.symbol == "Ni" else -1 for site in s[:32]])
    first, second, _, distance = s.get_neighbor_list(SQS_CUTOFFS[0] * 4.2)
    metal = (first < 32) & (second < 32)
    shells = {round(d, 3) for d in distance[metal]}
    pairs = [np.mean((spins[first[metal]] * spins[second[metal]])[np.abs(distance[metal] - d) < 1e-3]) for d in shells]
    assert len(pairs) == 5
    assert max(map(abs, pairs)) <= s.properties["sqs"]["sqs"]["max"] + 1e-9


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 100), name=st.sampled_from(["random", *ORDERED]))
def test_counts_are_exact(seed, name):
    fractions = {"Ni": 0.75, "Mn": 0.25} if name == "L1_2" else HALF
    s = rocksalt(fractions, 4.2, "conventional_2x2x2", seed=seed, decoration=name)
    assert [site.specie.symbol for site in s].count("Ni") == 32 * fractions["Ni"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoration": "L2_1"}, "'L2_1' is unknown; use random, sqs, L1_0"),
        ({"decoration": "L1_2"}, "L1_2 is for two cations, one of them on 1/4"),
        ({"decoration": "L1_1", "cell": "tetragonal4"}, "use cell rhombohedral4 or all8 or conventional_2x2x2"),
        ({"decoration": ["Ni", "Ni", "Ni", "Mn"]}, "lists {'Mn': 1, 'Ni': 3}"),
        ({"decoration": "sqs", "species": "Ni"}, "sqs is for mixed cations, and Ni is one"),
        ({"decoration": "sqs", "cell": "all8"}, "on 4 cations are off the random alloy's by 0.5[0-9] .* larger cell"),
        ({"decoration": "L1_0", "species": {"Ni": 0.5, "Mn": 0.25, "Co": 0.25}}, "for two cations"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(StructureError, match=message):
        rocksalt(**{"species": HALF, "cell": "all8", "lattice_constant": 4.2, **arguments})
