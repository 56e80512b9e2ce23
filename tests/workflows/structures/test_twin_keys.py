"""Keys of configurations: equal for what is the same, whatever it is written like, and for nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.schema import SpinConfig
from workflows.structures.twin_keys import twin_keys

ROTATION = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]


def rocksalt_cell(moments=(2.0, -2.0, 0.0, 0.0), seed=0, size=0.05, **fields):
    """Four atoms of NiO in a displaced rhombohedral cell; ``size`` 0: the symmetric one."""
    a = 4.17
    lattice = a / 2 * np.array([[2, 1, 1], [1, 2, 1], [1, 1, 2]])
    positions = np.array([[0, 0, 0], [a, a, a], [a / 2, a / 2, a / 2], [3 * a / 2, 3 * a / 2, 3 * a / 2]])
    positions = positions + np.random.default_rng(seed).normal(scale=size, size=(4, 3)) if size else positions
    values = {"species": ["Ni", "Ni", "O", "O"], "lattice": lattice, "positions": positions, "magmoms_in": moments}
    return SpinConfig(ordering="AFM-II", **{**values, **fields})


def with_fields(config, **fields):
    return config.model_copy(update={name: np.asarray(value) for name, value in fields.items()})


def written_otherwise(config, what):
    lattice, positions, moments = config.lattice, config.positions, np.asarray(config.magmoms_in)
    if what == "reversal":
        return with_fields(config, magmoms_in=-moments)
    if what == "rotation":
        return with_fields(config, lattice=lattice @ ROTATION.T, positions=positions @ ROTATION.T)
    if what == "inversion":
        return with_fields(config, lattice=-lattice, positions=-positions)
    if what == "translation":
        return with_fields(config, positions=positions + np.array([0.7, -3.1, 0.2]))
    if what == "lattice vectors":
        return with_fields(config, lattice=np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]]) @ lattice)
    if what == "images of atoms":
        return with_fields(config, positions=positions + np.array([[1], [0], [-2], [0]]) * lattice[0])
    if what == "noise":
        noise = np.random.default_rng(7).normal(scale=1e-4, size=(4, 3))
        return with_fields(config, positions=positions + noise)
    order = [1, 3, 0, 2]
    permuted = with_fields(config, positions=positions[order], magmoms_in=moments[order])
    return permuted.model_copy(update={"species": [config.species[k] for k in order]})


WAYS = [
    "reversal",
    "rotation",
    "inversion",
    "translation",
    "lattice vectors",
    "images of atoms",
    "noise",
    "permutation",
]
FERRI = (2.0, -1.0, 0.0, 0.0)
SIDEWAYS = ((0.0, 0.0, 2.0), (1.2, 0.0, 1.6), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


@pytest.mark.parametrize("moments", [(2.0, -2.0, 0.0, 0.0), FERRI, SIDEWAYS], ids=["AFM", "ferri", "non-collinear"])
@pytest.mark.parametrize("what", WAYS)
def test_one_key_however_it_is_written(what, moments):
    config = rocksalt_cell(moments)
    keys = twin_keys([config, written_otherwise(config, what), rocksalt_cell(moments, seed=5)])
    assert keys[0] == keys[1] != keys[2]


@given(st.lists(st.sampled_from(WAYS), min_size=2, max_size=6), st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_one_key_after_any_chain_of_these(chain, seed):
    config = other = rocksalt_cell(seed=seed)
    for what in chain:
        other = written_otherwise(other, what)
    assert len(set(twin_keys([config, other]))) == 1


def test_supercell_of_the_same():
    config = rocksalt_cell()
    twice = SpinConfig(
        species=config.species * 2,
        lattice=config.lattice * np.array([[1], [2], [1]]),
        positions=np.concatenate([config.positions, config.positions + config.lattice[1]]),
        magmoms_in=np.tile(config.magmoms_in, 2),
        ordering="AFM-II",
    )
    flipped = with_fields(twice, magmoms_in=np.concatenate([config.magmoms_in, -config.magmoms_in]))
    keys = twin_keys([config, twice, flipped])
    assert keys[0] == keys[1] != keys[2]


def test_symmetry_of_the_geometry_joins_orderings():
    up_down = rocksalt_cell((2.0, 0.0, 0.0, 0.0), size=0.0)
    down_up = rocksalt_cell((0.0, -2.0, 0.0, 0.0), size=0.0)
    both = rocksalt_cell((2.0, 2.0, 0.0, 0.0), size=0.0)
    keys = twin_keys([up_down, down_up, both])
    assert keys[0] == keys[1] != keys[2]
    bent = [rocksalt_cell(c.magmoms_in) for c in (up_down, down_up)]
    assert len(set(twin_keys(bent))) == 2


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(rocksalt_cell((2.0, 2.0, 0.0, 0.0)), id="other ordering"),
        pytest.param(rocksalt_cell((2.0, -2.3, 0.0, 0.0)), id="other magnitude"),
        pytest.param(rocksalt_cell(seed=2), id="other geometry"),
        pytest.param(rocksalt_cell(species=["Ni", "Co", "O", "O"]), id="other species"),
        pytest.param(rocksalt_cell(moment_role="constraint"), id="other role of the moments"),
        pytest.param(rocksalt_cell(SIDEWAYS), id="turned moments"),
    ],
)
def test_different_things_have_different_keys(other):
    assert len(set(twin_keys([rocksalt_cell(), other]))) == 2


def test_collinear_vectors_are_the_same_along_any_axis_unless_spins_feel_the_lattice():
    numbers = np.array([2.0, -2.0, 0.0, 0.0])
    along = [rocksalt_cell(np.outer(numbers, axis)) for axis in ((0, 0, 1), (0.6, 0.8, 0))]
    assert len(set(twin_keys([rocksalt_cell(numbers), *along]))) == 1
    assert len(set(twin_keys(along, spin_orbit=True))) == 2
    turned = [
        along[0],
        with_fields(written_otherwise(along[0], "rotation"), magmoms_in=along[0].magmoms_in @ ROTATION.T),
    ]
    assert len(set(twin_keys(turned, spin_orbit=True))) == 1


def test_labelled_ones_are_not_compared_with_each_other_but_with_the_rest():
    config = rocksalt_cell()
    copies = [config, *(written_otherwise(config, what) for what in ("noise", "translation", "rotation"))]
    keys = twin_keys(copies[1:], labelled=[0, 1, 2])
    assert len(set(keys)) == 3
    keys = twin_keys(copies, labelled=[1, 2, 3])
    assert keys[0] in keys[1:]
    done = []
    twin_keys(copies, progress=lambda k, n: done.append((k, n)))
    assert done[-1][0] == done[-1][1]
    assert twin_keys([]) == []


def test_a_chain_of_close_geometries_is_not_one():
    start, end = rocksalt_cell(), rocksalt_cell(seed=3)
    way = end.positions - start.positions
    step = 6e-4 / np.sqrt(np.mean(np.sum(way**2, axis=1)))
    chain = [with_fields(start, positions=start.positions + k * step * way) for k in range(40)]
    keys = twin_keys(chain)
    assert 15 <= len(set(keys)) < 40
    for key in set(keys):
        members = [k for k, other in enumerate(keys) if other == key]
        assert members[-1] - members[0] <= 4


def test_a_twin_of_a_label_has_the_key_of_the_label():
    config = rocksalt_cell()
    label = written_otherwise(config, "rotation")
    for configs, labelled in (([config, label], [1]), ([label, config], [0])):
        assert set(twin_keys(configs, labelled)) == {label.config_id}
