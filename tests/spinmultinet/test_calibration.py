"""A calibrated committee covers errors on labels it has not seen; its file is found again, checked, and refused."""

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from datastore.atoms import atoms_to_point, point_to_atoms, write_points
from spinmultinet import SpinMultiNetCalculator, SpinMultiNetError, build_model
from spinmultinet.calibration import LEAST, calibration_file, read_calibration
from spinmultinet.committee import Committee
from spinmultinet.evaluate import evaluate
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.train import train
from workflows.engines.spin_lattice.engine import SpinLatticeEngine
from workflows.structures import StructureOptions, generate

TASKS = {"energy", "forces", "moments"}
STRUCTURES = StructureOptions.model_validate(
    {
        "parents": [{"species": "Ni", "lattice_constant": 4.17, "cell": "rhombohedral4"}],
        "orderings": ["FM", "AFM-II"],
        "deformations": [
            {"kind": "displacement", "count": 40, "amplitude": [0.02, 0.15]},
            {"kind": "volume", "count": 30, "amplitude": [0.9, 1.08], "displacement": 0.03},
        ],
    }
)


@pytest.fixture(scope="module")
def sets():
    """Labels of the spin-lattice model: 20 to train on, 60 to calibrate on, 60 to test on."""
    engine = SpinLatticeEngine()
    frames = [point_to_atoms(engine.label(config)) for config in generate(STRUCTURES)]
    order = np.random.default_rng(0).permutation(len(frames))
    shuffled = [frames[k] for k in order]
    return shuffled[:20], shuffled[20:80], shuffled[80:]


@pytest.fixture(scope="module")
def checkpoints(sets, tmp_path_factory):
    """Three members, hardly trained."""
    model = ModelOptions(layers=1, channels=4, l_max=1, cutoff=3.5, radial_hidden=[8])
    options = TrainOptions(epochs=25, batch_structures=5, learning_rate=0.02)
    folder = tmp_path_factory.mktemp("models")
    return [train(options, model, sets[0], [], folder / f"member_{s}", s).checkpoint for s in range(3)]


@pytest.fixture
def committee(checkpoints):
    """A committee whose folder holds no calibration."""
    for file in checkpoints[0].parents[1].glob("calibration_*.json"):
        file.unlink()
    return Committee(checkpoints)


def test_calibration_improves_coverage_on_other_labels(committee, sets):
    before = evaluate(committee, sets[2])["uncertainty"]
    committee.calibrate(sets[1])
    after = evaluate(committee, sets[2])["uncertainty"]

    def misses(which):
        return [abs(u["within"][which][0] - u["within"]["expected"][0]) for u in after.values()]

    assert set(after) == TASKS
    assert np.mean(misses("sigma")) < 0.5 * np.mean(misses("spread"))
    assert max(misses("sigma")) < 0.2
    for task, found in after.items():  # spreads themselves stay what they were
        assert found["within"]["spread"] == before[task]["within"]["spread"]
        assert found["rank_correlation"] == before[task]["rank_correlation"]


def test_it_is_found_beside_the_members_and_used(committee, checkpoints, sets):
    assert committee.calibration is None
    made = committee.calibrate(sets[1])
    path = committee.save_calibration()
    assert path.parent == checkpoints[0].parents[1]
    assert set(made.factors) == TASKS
    assert made.n_structures == 60
    again = Committee([str(p) for p in reversed(checkpoints)])
    assert again.calibration.factors == made.factors
    assert again.calibration.level_id == sets[1][0].info["level_id"]
    (p,) = again.predict(sets[2][:1])
    assert p["energy_sigma"] == pytest.approx(made.factors["energy"].factor * p["energy_std"])
    np.testing.assert_allclose(p["magmoms_sigma"], made.factors["moments"].factor * p["magmoms_std"])
    atoms = sets[2][0].copy()
    atoms.calc = SpinMultiNetCalculator([str(c) for c in checkpoints])
    atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.calc.results["forces_sigma"], p["forces_sigma"], rtol=1e-5)
    assert Committee(checkpoints[:2]).calibration is None  # other members
    assert Committee(checkpoints, iterate=3).calibration is None  # other predictions
    with pytest.raises(SpinMultiNetError, match="of other members"):
        Committee(checkpoints[:2], calibration=path)


def test_bad_files(committee, checkpoints, sets):
    committee.calibrate(sets[1])
    path = committee.save_calibration()
    good = json.loads(path.read_text())
    wrong = {
        "was changed": good | {"n_structures": 61},
        "update spinmultinet": good | {"version": 2},
        "no spinmultinet-calibration file": good | {"format": "other"},
    }
    for message, content in wrong.items():
        path.write_text(json.dumps(content))
        with pytest.raises(SpinMultiNetError, match=message):
            Committee(checkpoints)
    path.write_text("{")
    with pytest.raises(SpinMultiNetError, match="calibrate again"):
        read_calibration(path)
    path.unlink()
    with pytest.raises(SpinMultiNetError, match="cannot be read"):
        Committee(checkpoints, calibration=path)


def test_what_cannot_be_calibrated(committee, checkpoints, sets):
    with pytest.raises(SpinMultiNetError, match="needs two members"):
        Committee(checkpoints[:1]).calibrate(sets[1])
    with pytest.raises(SpinMultiNetError, match="nothing to save"):
        committee.save_calibration()
    with pytest.raises(SpinMultiNetError, match="too few"):  # however many atoms they have
        committee.calibrate(sets[1][: LEAST - 1])
    assert set(committee.calibrate(sets[1][:LEAST]).factors) == TASKS
    with pytest.raises(SpinMultiNetError, match="no labels"):
        committee.calibrate([atoms_without_labels(a) for a in sets[1]])


def atoms_without_labels(atoms):
    bare = atoms.copy()
    del bare.arrays["magmom_out"]
    return bare


def test_a_task_that_few_structures_have_labels_of_has_no_factor(committee, sets):
    committee.calibrate(sets[1])
    frames = [atoms.copy() for atoms in sets[1]]
    for k, (atoms, original) in enumerate(zip(frames, sets[1], strict=True)):
        atoms.calc = SinglePointCalculator(atoms, **original.calc.results)
        if k >= LEAST - 1:
            atoms.calc.results.pop("forces")
    assert set(committee.calibrate(frames).factors) == {"energy", "moments"}
    assert "forces_sigma" not in committee.predict(sets[2][:1])[0]


def test_the_calibration_in_use_outlives_a_failure(committee, sets):
    made = committee.calibrate(sets[1])
    with pytest.raises(SpinMultiNetError, match="too few"):
        committee.calibrate(sets[1][:2])
    assert committee.calibration == made


def test_predictions_at_hand_give_the_same_calibration(committee, sets):
    predictions = committee.predict(sets[1])
    made = committee.calibrate(sets[1], predictions)
    assert committee.calibrate(sets[1], committee.predict(sets[1])) == made
    assert committee.calibrate(sets[1]) == made


def test_labels_of_the_training_are_refused_wherever_they_come_from(committee, sets, tmp_path):
    with pytest.raises(SpinMultiNetError, match="was trained on these labels"):
        committee.calibrate(sets[0])
    write_points(tmp_path / "train.extxyz", [atoms_to_point(atoms) for atoms in sets[0]], "train")  # as a snapshot does
    again = ase.io.read(tmp_path / "train.extxyz", ":")
    assert committee.trained_on(again)
    assert not committee.trained_on(again[1:])


def test_it_is_kept_in_a_folder_of_the_members_only(tmp_path, monkeypatch):
    def folder(*paths):
        return calibration_file([tmp_path / path for path in paths], ["a", "b"], 0).parent

    assert folder("nio/member_0/model.pt", "nio/member_1/model.pt") == tmp_path / "nio"
    assert folder("nio/first.pt", "nio/second.pt") == tmp_path / "nio"
    assert folder("nio/model.pt", "nio/member_1/model.pt") == tmp_path / "nio"
    for apart in (("a/b/c/model.pt", "a/d/e/model.pt"), ("a/model.pt", "c/d/e/model.pt")):
        with pytest.raises(SpinMultiNetError, match="share no folder"):
            folder(*apart)
    with pytest.raises(SpinMultiNetError, match="share no folder"):
        calibration_file([Path("/first/model.pt"), Path("/second/model.pt")], ["a", "b"], 0)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SpinMultiNetError, match="share no folder"):
        folder("first/model.pt", "second/model.pt")


def test_models_in_memory_are_calibrated_but_not_saved(nio, tiny_options):
    committee = Committee([build_model(tiny_options, ["O", "Ni"], k) for k in range(2)])
    made = committee.calibrate(nio)
    assert "energy_sigma" in Committee(committee.members[::-1], calibration=made).predict(nio[:1])[0]
    others = [build_model(tiny_options, ["O", "Ni"], k) for k in (7, 8)]
    for members, iterate in ((others, 0), (committee.members, 3), (committee.members[:1], 0)):
        with pytest.raises(SpinMultiNetError, match="of other members"):
            Committee(members, iterate, made)
    with pytest.raises(SpinMultiNetError, match="paths of checkpoints"):
        committee.save_calibration()
