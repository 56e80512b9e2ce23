"""What every engine promises. A new engine is added to ENGINES and to CHEAP, and has to pass this file.

GPAW runs real PBE+U here, at settings cheap enough for a test. Where GPAW is absent its part is skipped with the
reason, and fails instead when SPINMULTINET_REQUIRE_GPAW=1, as in continuous integration. The vasp engine runs the test
program of tests/support/vasp_std through custodian, whose physics are those of the spin-lattice engine.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache

import numpy as np
import pytest
from monty.json import MontyDecoder, MontyEncoder

from datastore.schema import SpinConfig, SpinFailure, SpinPoint
from workflows.engines import ENGINES, Engine, LabelError, get_engine
from workflows.structures import apply_ordering, rocksalt

CHEAP = {
    "gpaw": {
        "type": "gpaw",
        "ecut": 400,
        "kpts": {"rhombohedral4": [2, 2, 2], "primitive": [2, 2, 2]},
        "convergence": {"density": 3e-5, "energy": 2e-5, "eigenstates": 4e-7},
    },
    "spin-lattice": {"type": "spin-lattice"},
    "vasp": {"type": "vasp", "kppvol": 5, "run": {"poll_seconds": 0.05}},
}
STEP = {"gpaw": 0.02, "spin-lattice": 1e-4, "vasp": 1e-2}
"""Displacement for the finite difference, Angstrom."""
TOLERANCE = {"gpaw": 0.01, "spin-lattice": 1e-6, "vasp": 5e-3}
"""Allowed error of a force component, eV/Angstrom."""

VECTORS = ("spin-lattice",)
"""Engines that relax vector moments."""

PARAMETERS = [pytest.param(name, marks=pytest.mark.first_principles if name == "gpaw" else ()) for name in ENGINES]
pytestmark = pytest.mark.parametrize("name", PARAMETERS)


@pytest.fixture(autouse=True)
def _vasp(name, request):
    if name == "vasp":
        request.getfixturevalue("vasp_on_path")


def engine_or_skip(name: str) -> Engine:
    engine = get_engine(CHEAP[name])
    missing = engine.missing()
    if missing and os.environ.get("SPINMULTINET_REQUIRE_GPAW") == "1":
        pytest.fail(f"{name} is required here: {missing[0]}")
    if missing:
        pytest.skip(missing[0])
    return engine


def config(ordering: str = "FM", cell: str = "rhombohedral4", species: object = "Ni") -> SpinConfig:
    """NiO near its own lattice constant with the first sites off their places: no force is zero."""
    structure = apply_ordering(rocksalt(species, lattice_constant=4.25, cell=cell), ordering)
    plain = SpinConfig.from_structure(structure, ordering)
    positions = plain.positions.copy()
    positions[0] += (0.06, 0.03, -0.02)
    return changed(plain, positions=positions)


def changed(base: SpinConfig, **fields: object) -> SpinConfig:
    return SpinConfig(**{**base.model_dump(), **fields})


@lru_cache
def label(name: str, ordering: str = "FM") -> SpinPoint:
    return engine_or_skip(name).label(config(ordering))


def test_every_engine_has_a_cheap_case(name):
    assert name in CHEAP, f"add {name} to CHEAP in this file"


def test_label_holds_its_config_and_right_shapes(name):
    point = label(name, "FM")
    n = len(point.species)
    assert point.config() == config("FM")
    assert point.forces.shape == (n, 3)
    assert point.stress.shape == (3, 3)
    assert point.magmoms_out.shape == (n,)
    assert point.timings["wall"] > 0
    assert np.abs(point.stress - point.stress.T).max() < 1e-6
    # The scale of a displaced oxide: a wrong unit (Hartree, Bohr, kB) leaves these windows.
    assert 0.1 < np.abs(point.forces).max() < 5
    assert np.abs(point.forces.sum(axis=0)).max() < 0.05
    assert 1e-4 < np.abs(point.stress).max() < 0.5


def test_signs_of_moments_are_kept(name):
    for ordering, signs in {"FM": [1, 1], "AFM-II": [1, -1]}.items():
        point = label(name, ordering)
        assert np.sign(point.magmoms_out[:2]).tolist() == signs
        assert np.abs(point.magmoms_out[:2]) == pytest.approx([1.75, 1.75], abs=0.2)
        assert np.abs(point.magmoms_out[2:]).max() < 0.3
        assert (point.verdict, point.ordering_found) == ("accepted", ordering), point.verdict_reasons


def test_total_moment_has_its_sign(name):
    assert label(name, "FM").total_moment == pytest.approx(4.0, abs=0.5)
    assert label(name, "AFM-II").total_moment == pytest.approx(0.0, abs=0.1)


def test_nickel_oxide_prefers_the_second_antiferromagnetic_ordering(name):
    gap = (label(name, "FM").energy - label(name, "AFM-II").energy) / 4 * 1e3
    assert 20 < gap < 70, f"{gap:.1f} meV/atom"


def test_free_energy_is_what_forces_derive_from(name):
    engine = engine_or_skip(name)
    base = config("FM", "primitive")
    step, energies = STEP[name], []
    for sign in (1, -1):
        positions = base.positions.copy()
        positions[0, 0] += sign * step
        energies.append(engine.label(changed(base, positions=positions)).free_energy)
    difference = -(energies[0] - energies[1]) / (2 * step)
    force = engine.label(base).forces[0, 0]
    assert abs(force) > 0.1
    assert force == pytest.approx(difference, abs=TOLERANCE[name])


def test_reversing_all_input_moments_reverses_the_result(name):
    engine, up = engine_or_skip(name), label(name, "FM")
    down = engine.label(changed(config("FM"), magmoms_in=-config("FM").magmoms_in))
    assert down.energy == pytest.approx(up.energy, abs=2e-4)
    assert down.magmoms_out == pytest.approx(-up.magmoms_out, abs=2e-3)
    assert down.total_moment == pytest.approx(-up.total_moment, abs=2e-3)
    assert down.forces == pytest.approx(up.forces, abs=2e-3)
    assert down.verdict == "accepted"


def test_results_follow_the_callers_site_order(name):
    """O, Mn, O, Ni for Ni, Mn, O, O: an engine that sorts by species has to sort back."""
    engine = engine_or_skip(name)
    base = config("AFM-II", species={"Mn": 0.5, "Ni": 0.5})
    order = np.array([3, 0, 2, 1])
    species = [base.species[site] for site in order]
    shuffled = changed(base, species=species, positions=base.positions[order], magmoms_in=base.magmoms_in[order])
    reference, point = engine.label(base), engine.label(shuffled)
    assert point.species == species
    assert point.energy == pytest.approx(reference.energy, abs=2e-4)
    assert point.magmoms_out == pytest.approx(reference.magmoms_out[order], abs=2e-3)
    assert point.forces == pytest.approx(reference.forces[order], abs=3e-3)
    assert 4.2 < abs(point.magmoms_out[species.index("Mn")]) < 4.8


def test_label_survives_json(name):
    point = label(name, "AFM-II")
    assert SpinPoint.from_document(json.loads(json.dumps(point.to_document()))) == point


def test_level_of_theory_is_stable_and_plain(name):
    engine = get_engine(CHEAP[name])
    assert engine.level_id() == get_engine(CHEAP[name]).level_id()
    assert json.loads(json.dumps(engine.level_of_theory())) == engine.level_of_theory()
    assert label(name, "FM").level_id == engine.level_id()


def test_engine_survives_monty(name):
    """jobflow stores the engine inside the job document that way."""
    engine = get_engine(CHEAP[name])
    again = MontyDecoder().decode(json.dumps(engine, cls=MontyEncoder))
    assert type(again) is type(engine)
    assert again == engine
    assert again.level_id() == engine.level_id()


def test_unknown_element_is_refused_and_recorded(name):
    engine = engine_or_skip(name)
    foreign = changed(config("FM"), species=["Ni", "Ni", "O", "Po"])
    with pytest.raises(LabelError, match="Po") as caught:
        engine.label(foreign)
    record = engine.failure(foreign, caught.value)
    assert (record.error_type, record.level_id) == ("refused", engine.level_id())
    assert "\n" not in record.error
    assert SpinFailure.from_document(json.loads(json.dumps(record.to_document()))) == record


def test_unsupported_role_is_refused(name):
    engine = engine_or_skip(name)
    if "constraint" in engine.moment_roles:
        held = engine.label(changed(config("AFM-II"), moment_role="constraint"))
        assert held.magmoms_out.tolist() == held.magmoms_in.tolist()
        return
    with pytest.raises(LabelError, match="constraint") as caught:
        engine.label(changed(config("FM"), moment_role="constraint"))
    assert caught.value.kind == "refused"


def test_vector_guess_is_refused_or_gives_what_collinear_moments_give(name):
    vectors = np.zeros((4, 3))
    vectors[:2, 2] = 2.5
    engine, asked = engine_or_skip(name), changed(config("FM"), magmoms_in=vectors)
    if name in VECTORS:
        point = engine.label(asked)
        assert point.energy == pytest.approx(label(name, "FM").energy, abs=1e-9)
        assert point.magmoms_out[:, 2] == pytest.approx(label(name, "FM").magmoms_out, abs=1e-7)
        return
    with pytest.raises(LabelError, match="collinear") as caught:
        engine.label(asked)
    assert caught.value.kind == "refused"
