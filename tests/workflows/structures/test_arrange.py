"""Arrangements: every kind gives what it says, reproducibly, and goes through a configuration unchanged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore.atoms import config_to_atoms
from datastore.quality import name_ordering
from datastore.schema import SpinConfig
from workflows.structures import StructureError, StructureOptions, generate, rocksalt
from workflows.structures.arrange import SpinSites, arrange
from workflows.structures.options import EnumerateOptions, ParentOptions

HALF = {"Ni": 0.5, "Mn": 0.5}


def arranged(structure, *entries, magmoms=None, signs=None):
    parsed = ParentOptions.model_validate({"species": "Ni", "orderings": list(entries)}).orderings
    return list(arrange(SpinSites.of(structure, magmoms or {}, signs or {}), parsed))


def test_enumerated_orderings_carry_the_known_names_and_moments():
    s = rocksalt("Ni", cell="all8")
    found = dict(arranged(s, {"kind": "enumerate"}))
    assert list(found) == ["FM", "AFM-I", "AFM-II", "FiM[+-++]"]
    named = dict(arranged(s, "FM", "AFM-I", "AFM-II"))
    assert all(found[name].tolist() == moments.tolist() for name, moments in named.items())


def test_names_are_those_of_the_labels():
    s = rocksalt(HALF, 4.2, "all8", seed=1)
    config = SpinConfig.from_structure(s.copy(site_properties={"magmom": [0.0] * 8}), "asked")
    for name, moments in arranged(s, {"kind": "enumerate"}):
        if "[" in name:
            assert name_ordering(config, moments) == name


@pytest.mark.parametrize(("net", "count"), [(0, 2), (5, 1), (-5, 1), (10, 1), (None, 4)])
def test_enumeration_filtered_by_net_moment(net, count):
    found = arranged(rocksalt("Ni", cell="all8"), {"kind": "enumerate", "net_moment": net})
    assert len(found) == count
    assert all(net is None or abs(m.sum()) == abs(net) for _, m in found)


def test_enumeration_with_a_limit_is_the_beginning():
    s = rocksalt("Ni", cell="conventional_2x2x2")
    everything = [name for name, _ in arranged(s, {"kind": "enumerate"})]
    assert [name for name, _ in arranged(s, {"kind": "enumerate", "max_count": 3})] == everything[:3]


def test_a_sign_per_element():
    s = rocksalt(HALF, 4.2, "conventional_2x2x2")
    ((name, moments),) = arranged(s, {"kind": "ferrimagnetic", "signs": {"Mn": 1, "Ni": -1}})
    assert name == "FiM[Mn+,Ni-]"
    assert moments.tolist() == [3.0] * 16 + [-2.5] * 16 + [0.0] * 32
    equal = {"Mn": 2.0, "Ni": 2.0}
    ((name, moments),) = arranged(s, {"kind": "ferrimagnetic", "signs": {"Mn": 1, "Ni": -1}}, magmoms=equal)
    assert name == "FiM[Mn+,Ni-]"  # moments of two elements that cancel by their choice
    assert moments.sum() == 0
    ((name, _),) = arranged(s, {"kind": "ferrimagnetic", "signs": {"Mn": 1, "Ni": 1}})
    assert name == "FM[Mn+,Ni+]"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), up=st.integers(0, 16), mixed=st.booleans())
def test_random_signs_have_the_net_moment(seed, up, mixed):
    s = rocksalt(HALF if mixed else "Ni", 4.2, "conventional_2x2x2")
    net = (2 * up - 16) * (3.0 + 2.5) if mixed else (2 * up - 32) * 2.5
    found = arranged(s, {"kind": "random", "net_moment": net, "seed": seed})
    assert [m.sum() for _, m in found] == pytest.approx([net])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), few=st.integers(1, 4), more=st.integers(1, 4))
def test_seeds_reproduce_and_a_larger_count_only_adds(seed, few, more):
    s = rocksalt(HALF, 4.2, "conventional_2x2x2")
    for kind in ("random", "random_directions"):
        first = arranged(s, {"kind": kind, "count": few, "seed": seed})
        longer = arranged(s, {"kind": kind, "count": few + more, "seed": seed})
        assert [(n, m.tolist()) for n, m in first] == [(n, m.tolist()) for n, m in longer][:few]
        assert len({m.tobytes() for _, m in longer}) == few + more


def test_random_orderings_are_as_many_as_asked_for_when_symmetry_is_used():
    options = {
        "parents": [{"species": "Ni", "cell": "all8"}],
        "orderings": [{"kind": "random", "count": 4}],
        "deformations": [{"kind": "none"}],
    }
    assert len(list(generate(StructureOptions.model_validate(options)))) == 4


def test_random_and_enumerated_orderings_know_the_symmetry_of_a_noisy_structure():
    s = rocksalt("Ni", cell="conventional")
    s.perturb(0.003, seed=0)
    assert [name for name, _ in arranged(s, {"kind": "enumerate"})] == ["FM", "AFM-I", "FiM[+-++]"]
    exact = arrange(SpinSites.of(s, {}, {}, symprec=1e-4), [EnumerateOptions(kind="enumerate")])
    assert len(list(exact)) == 8


def test_names_are_those_of_the_moments():
    magmoms = {"Ni": 2.0, "Mn": 0.0}
    s = rocksalt(HALF, 4.2, "all8", decoration="L1_1")
    found = dict(arranged(s, {"kind": "enumerate"}, magmoms=magmoms))
    assert list(found) == ["FM", "AFM-I"]
    assert found["FM"].tolist() == [0, 0, 2, 2, 0, 0, 0, 0]
    for name, moments in arranged(rocksalt(HALF, 4.2, "conventional_2x2x2"), {"kind": "random", "count": 20}):
        assert name.startswith("AFM") == (moments.sum() == 0)
    for name, moments in arranged(rocksalt(HALF, 4.2, "conventional", seed=2), {"kind": "enumerate"}):
        assert name.startswith("AFM") == (moments.sum() == 0)
    # However small: a moment is one.
    small = arranged(rocksalt("Ni", cell="all8"), {"kind": "random", "count": 3}, magmoms={"Ni": 0.2})
    assert "NM" not in dict(small)


def test_two_orderings_of_one_name_are_refused():
    cones = [{"kind": "cone", "q": [0, 0, 0.5], "angle": angle} for angle in (30.00001, 30.00002)]
    with pytest.raises(StructureError, match=r"called cone\[q=0,0,0.5 axis=0,0,1 angle=30\]"):
        arranged(rocksalt("Ni", cell="conventional_2x2x2"), *cones)
    s, entries = rocksalt("Ni", cell="all8"), ["FiM[+-++]", {"kind": "enumerate"}]
    assert len(arranged(s, *entries, signs={"FiM[+-++]": [-1, 1, -1, -1]})) == 5  # the same one, reversed
    with pytest.raises(StructureError, match=r"two different orderings of NiO are called FiM\[\+-\+\+\]"):
        arranged(s, *entries, signs={"FiM[+-++]": [1, 1, -1, 1]})


def test_random_signs_with_a_net_moment_are_even_over_the_possible_ones():
    s = rocksalt("Ni", cell="conventional")
    counts = {}
    for seed in range(600):
        ((_, moments),) = arranged(s, {"kind": "random", "net_moment": 0, "seed": seed})
        counts[tuple(moments[:4])] = counts.get(tuple(moments[:4]), 0) + 1
    assert len(counts) == 6
    assert min(counts.values()) > 60  # expected 100, standard deviation 9


EVERY = [
    "FM",
    "AFM-II",
    "mine",
    {"kind": "enumerate", "max_count": 4},
    {"kind": "ferrimagnetic", "signs": {"Mn": 1, "Ni": -1}},
    {"kind": "random", "count": 2, "net_moment": 0},
    {"kind": "spiral", "q": [0, 0, "1/2"], "axis": [1, 1, 0]},
    {"kind": "cone", "q": [0.5, 0, 0], "angle": 30},
    {"kind": "canted", "base": "AFM-II", "angle": 5},
    {"kind": "random_directions", "count": 2},
]


def test_every_kind_survives_the_way_to_labels_and_back():
    options = StructureOptions.model_validate(
        {
            "parents": [{"species": HALF, "cell": "conventional_2x2x2"}],
            "orderings": EVERY,
            "signs": {"mine": [1] * 31 + [-1]},
            "moment_role": "constraint",
            "deformations": [{"kind": "displacement", "amplitude": [0.02, 0.03]}],
        }
    )
    configs = list(generate(options))
    assert len(configs) == 14 - 1  # FM is enumerated as well; AFM-II only along other diagonals
    assert sum(config.magmoms_in.ndim == 2 for config in configs) == 5
    for config in configs:
        assert config.moment_role == "constraint"
        assert SpinConfig.from_document(config.to_document()) == config
        assert config_to_atoms(config).arrays["magmom_in"].tolist() == config.magmoms_in.tolist()
        structure = config.to_structure()
        assert SpinConfig.from_structure(structure, config.ordering).magmoms_in == pytest.approx(config.magmoms_in)


def test_moments_of_anions_belong_to_the_ferromagnet_only():
    s = rocksalt("Ni", cell="all8")
    ((_, moments),) = arranged(s, "FM", magmoms={"O": 0.2})
    assert moments[-1] == 0.2
    with pytest.raises(StructureError, match="set O to 0"):
        arranged(s, {"kind": "enumerate"}, magmoms={"O": 0.2})


@pytest.mark.parametrize(
    ("entry", "magmoms", "message"),
    [
        ({"kind": "enumerate"}, {"Ni": 0.0}, "no element of NiO has a moment"),
        ({"kind": "random", "net_moment": 1.0}, {}, "no signs give 1 muB per cell of NiO; near are 0, 5, 10"),
        ({"kind": "random", "count": 99}, {}, "no more than 4 orderings of NiO .* set count to 4"),
        ({"kind": "ferrimagnetic", "signs": {"Mn": 1}}, {}, "the magnetic elements of NiO are Ni"),
        ({"kind": "spiral", "q": [0, 0, 0.5]}, {}, "does not fit the cell"),
        ("file", {}, "for parents with a file"),
    ],
)
def test_refusals(entry, magmoms, message):
    with pytest.raises(StructureError, match=message):
        arranged(rocksalt("Ni", cell="all8"), entry, magmoms=magmoms)


def test_zero_moments_make_an_element_silent():
    s = rocksalt({"Ni": 0.5, "Mg": 0.5}, 4.2, "all8", seed=1)
    found = arranged(s, {"kind": "enumerate"}, magmoms={"Mg": 0.0})
    assert all(np.count_nonzero(moments) == 2 for _, moments in found)
    assert len(found) == 2
