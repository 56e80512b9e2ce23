import json

import numpy as np
import pytest
from ase import units
from pydantic import ValidationError

from datastore.mapping import ALIASES, LAYOUTS, ImportMapping, RefusedError, converted, propose

KEYS = {
    "moment_role": "guess",
    "energy": "E",
    "forces": "F",
    "stress": "S",
    "magmoms_in": "m0",
    "magmoms_out": "m1",
}
LATTICE = np.diag([4.0, 4.0, 2.0])


def frame(**changes):
    values = {
        "species": ["Ni", "O"],
        "lattice": LATTICE,
        "positions": [[0.0, 0, 0], [2.0, 0, 0]],
        "pbc": [True, True, True],
        "E": -12.5,
        "F": [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]],
        "S": [0.01, 0.02, 0.03, 0.04, 0.05, 0.06],
        "m0": [2.0, 0.0],
        "m1": [-1.8, 0.1],
    }
    values |= changes
    return {key: value for key, value in values.items() if value is not None}


def mapping(**changes):
    return ImportMapping(**{**KEYS, **changes})


def test_numbers_and_signs_are_kept():
    fields = converted(frame(), mapping())
    assert fields["species"] == ["Ni", "O"]
    assert fields["energy"] == fields["free_energy"] == -12.5
    np.testing.assert_array_equal(fields["magmoms_out"], [-1.8, 0.1])
    np.testing.assert_array_equal(fields["forces"], frame()["F"])
    assert fields["stress"].tolist() == [[0.01, 0.06, 0.05], [0.06, 0.02, 0.04], [0.05, 0.04, 0.03]]
    assert fields["magnetic_forces"] is None


@pytest.mark.parametrize(
    ("unit", "factor"), [("eV", 1.0), ("meV", 1e-3), ("Hartree", 27.211386), ("Ry", 13.605693), ("eV/atom", 2.0)]
)
def test_energy_units(unit, factor):
    fields = converted(frame(), mapping(units={"energy": unit, "force": "eV/Angstrom"}))
    assert fields["energy"] == pytest.approx(-12.5 * factor, rel=1e-7)


@pytest.mark.parametrize(
    ("unit", "factor"), [("eV/Angstrom", 1.0), ("meV/Angstrom", 1e-3), ("Hartree/Bohr", 51.422067), ("Ry/Bohr", 25.711)]
)
def test_force_units(unit, factor):
    fields = converted(frame(), mapping(units={"force": unit}))
    np.testing.assert_allclose(fields["forces"], np.array(frame()["F"]) * factor, rtol=1e-5)


def test_length_units():
    lengths = {"length": "Bohr", "force": "eV/Angstrom"}
    inside = frame(lattice=LATTICE / units.Bohr, positions=np.array([[0.0, 0, 0], [2.0, 0, 0]]) / units.Bohr)
    fields = converted(inside, mapping(units=lengths))
    np.testing.assert_allclose(fields["lattice"], LATTICE)
    np.testing.assert_allclose(fields["positions"][1], [2, 0, 0])


@pytest.mark.parametrize(("unit", "factor"), [("GPa", 1 / 160.21766), ("kB", 1 / 1602.1766), ("kbar", 1 / 1602.1766)])
def test_stress_units(unit, factor):
    fields = converted(frame(), mapping(units={"stress": unit}))
    assert fields["stress"][0, 0] == pytest.approx(0.01 * factor, rel=1e-6)


def test_stress_of_vasp():
    """OUTCAR's 'in kB': pressure is positive; XX YY ZZ XY YZ ZX."""
    fields = converted(frame(), mapping(units={"stress": "kB"}, stress_sign="vasp", stress_order="vasp"))
    in_kb = -fields["stress"] / (0.1 * units.GPa)
    np.testing.assert_allclose(in_kb, [[0.01, 0.04, 0.06], [0.04, 0.02, 0.05], [0.06, 0.05, 0.03]])


def test_a_full_tensor_has_no_order():
    tensor = np.arange(9).reshape(3, 3) / 100
    symmetric = (tensor + tensor.T) / 2
    fields = converted(frame(S=symmetric), mapping(stress_order="vasp"))
    np.testing.assert_array_equal(fields["stress"], symmetric)
    np.testing.assert_array_equal(converted(frame(S=tensor), mapping())["stress"], tensor)


def test_virial_is_minus_stress_times_volume():
    volume = 32.0
    values = frame(V=-volume * np.diag([0.01, 0.02, 0.03]), S=None)
    fields = converted(values, mapping(stress=None, virial="V"))
    np.testing.assert_allclose(fields["stress"], np.diag([0.01, 0.02, 0.03]))
    implied = ImportMapping(**{**KEYS, "virial": "V"} | {"stress": None})
    assert implied.key("stress") is None


def test_texts_parent_and_cost():
    values = frame(o="AFM-I", p=json.dumps({"strain": 0.01}), a=json.dumps(LATTICE.tolist()), t=36.5)
    named = {"ordering": "o", "deformation_parameters": "p", "parent_lattice": "a", "wall_seconds": "t"}
    fields = converted(values, mapping(**named, fixed={"cell": "tetragonal4"}))
    assert fields["ordering"] == "AFM-I"
    assert fields["cell"] == "tetragonal4"
    assert fields["deformation_parameters"] == {"strain": 0.01}
    assert fields["timings"] == {"wall": 36.5}
    np.testing.assert_array_equal(fields["parent_lattice"], LATTICE)


def test_tables_name_their_structure_and_may_number_the_elements():
    values = frame(Z=[28, 8], h=LATTICE.ravel(), species=None, lattice=None, pbc=None)
    fields = converted(values, mapping(species="Z", lattice="h"))
    assert fields["species"] == ["Ni", "O"]
    np.testing.assert_array_equal(fields["lattice"], LATTICE)


def test_columns_of_one_component_are_scalars():
    assert converted(frame(m0=[[2.0], [0.0]]), mapping())["magmoms_in"].shape == (2,)
    vectors = converted(frame(m0=np.ones((2, 3)), m1=np.ones((2, 3))), mapping())
    assert vectors["magmoms_in"].shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "reason", "part"),
    [
        ({"F": None}, "no forces", "'F'"),
        ({"m1": None}, "no magmoms_out", "'m1'"),
        ({"m0": None}, "no magmoms_in", "'m0'"),
        ({"E": None}, "no energy", "'E'"),
        ({"S": None}, "no stress", "'S'"),
        ({"lattice": None}, "no structure", "'lattice'"),
        ({"pbc": [True, True, False]}, "not periodic", "three directions"),
        ({"pbc": "T T F"}, "not periodic", "three directions"),
        ({"lattice": np.zeros((3, 3))}, "not periodic", "three directions"),
        ({"lattice": [1, 2]}, "wrong shape", "lattice"),
        ({"E": float("nan")}, "not finite", "energy"),
        ({"F": [[np.nan, 0, 0], [0, 0, 0]]}, "not finite", "forces"),
        ({"m1": [np.inf, 0]}, "not finite", "magmoms_out"),
        ({"F": [[0.1, 0, 0]]}, "wrong shape", "forces"),
        ({"m0": [1, 2, 3]}, "wrong shape", "magmoms_in"),
        ({"S": [1, 2]}, "wrong shape", "stress"),
        ({"E": [1, 2]}, "wrong shape", "energy"),
        ({"E": "many"}, "not numbers", "'many'"),
        ({"species": ["Ni", "Q"]}, "unknown species", "'Q'"),
        ({"species": "NiO"}, "unknown species", "'NiO'"),
        ({"E": -3e5}, "implausible energy", "units.energy"),
        ({"F": [[2e3, 0, 0], [0, 0, 0]]}, "implausible forces", "units.force"),
        ({"S": [40.0, 41, 42, 0, 0, 0]}, "implausible stress", "GPa or kB"),
        ({"m1": [18.0, 0]}, "implausible magmoms_out", "muB"),
        ({"lattice": LATTICE * 10}, "implausible volume", "units.length"),
        ({"lattice": LATTICE / 3}, "implausible volume", "units.length"),
    ],
)
def test_refusals_say_why(changes, reason, part):
    with pytest.raises(RefusedError, match=part) as caught:
        converted(frame(**changes), mapping())
    assert caught.value.reason == reason


def test_what_only_the_layout_names_may_be_missing():
    ours = {"magmom_in": [2.0, 0.0], "magmom_out": [1.8, 0.1], "energy": -12.5, "forces": frame()["F"]}
    fields = converted(frame(**ours), ImportMapping(layout="spinmultinet", moment_role="guess"))
    assert fields["stress"] is None
    assert "ordering" not in fields
    with pytest.raises(RefusedError, match="no ordering"):
        converted(frame(**ours), ImportMapping(layout="spinmultinet", moment_role="guess", ordering="ordering"))
    with pytest.raises(RefusedError, match="no forces"):
        converted(frame(**{**ours, "forces": None}), ImportMapping(layout="spinmultinet", moment_role="guess"))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"moment_role": None}, "moment_role"),
        ({"moment_role": "kept"}, "moment_role"),
        ({"energy": None, "layout": "mace", "free_energy": None}, "energy, free_energy or both"),
        ({"magmoms_out": None, "layout": "mace"}, "magmoms_out has no key"),
        ({"virial": "V"}, "stress and virial"),
        ({"magmoms_out": "m0"}, "needs moment_role: constraint"),
        ({"band_gap": "gap"}, "band_gap needs total_moment"),
        ({"units": {"energy": "Hartree"}}, "state force as well, such as Hartree/Bohr"),
        ({"ordering": "o", "fixed": {"ordering": "FM"}}, "both named and fixed"),
        ({"forcs": "F"}, "forcs"),
    ],
)
def test_mappings_that_are_no_good(changes, part):
    with pytest.raises(ValidationError, match=part):
        mapping(**changes)


@pytest.mark.parametrize("layout", ["ase", "spinmultinet", "mace", "deepspin"])
def test_layouts_use_names_that_a_proposal_knows(layout):
    proposed = propose(LAYOUTS[layout].values())
    for name, key in LAYOUTS[layout].items():
        if name in proposed and name in ALIASES and (layout, name) != ("deepspin", "magmoms_out"):
            assert proposed[name] == key


def test_a_proposal_names_no_key_twice_for_relaxed_moments():
    assert propose(["REF_energy", "REF_forces", "REF_stress", "REF_virial", "spin", "band_gap"]) == {
        "energy": "REF_energy",
        "forces": "REF_forces",
        "stress": "REF_stress",
        "magmoms_in": "spin",
        "magmoms_out": "spin",
    }
