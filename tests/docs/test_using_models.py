"""The commands and the Python of docs/using-models.md run, in their order, with models of the spin-lattice engine."""

import json
import re
import shlex
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk

from datastore import SpinConfig
from datastore.atoms import point_to_atoms
from spinmultinet.hypers import ModelOptions, TrainOptions
from spinmultinet.train import train
from tests.support.cli import in_this_process
from workflows.engines.calculator import EngineCalculator
from workflows.engines.spin_lattice.engine import SpinLatticeEngine
from workflows.spin_orderings import RelaxSettings, exchange_constants, ordered_atoms, rank_orderings
from workflows.structures import StructureOptions, apply_ordering, generate, rocksalt

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "using-models.md").read_text()
COMMANDS = re.findall(r"^ {4}spinmultinet (.+)$", PAGE, re.MULTILINE)
PYTHON = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
STRUCTURES = StructureOptions.model_validate(
    {
        "parents": [{"species": "Ni", "lattice_constant": 4.17, "cell": "all8"}],
        "orderings": [{"kind": "enumerate"}],
        "deformations": [
            {"kind": "none"},
            {"kind": "displacement", "count": 3, "amplitude": [0.02, 0.06]},
            {"kind": "volume", "count": 3, "amplitude": [0.93, 1.05]},
        ],
    }
)


CELL = rocksalt("Ni", lattice_constant=4.17, cell="all8")


def engine():
    return EngineCalculator(SpinLatticeEngine(), SpinConfig.from_structure(apply_ordering(CELL, "FM"), "FM"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the page speaks of: nio.cif and models/nio, a committee trained on 28 labels."""
    folder = tmp_path_factory.mktemp("page")
    ase.io.write(folder / "nio.cif", bulk("NiO", "rocksalt", a=4.17))
    frames = [point_to_atoms(SpinLatticeEngine().label(config)) for config in generate(STRUCTURES)]
    for name, seed in {"val": 1, "test": 2}.items():
        others = generate(STRUCTURES.model_copy(update={"seed": seed}))
        ase.io.write(folder / f"{name}.extxyz", [point_to_atoms(SpinLatticeEngine().label(c)) for c in others])
    model = ModelOptions(layers=1, channels=8, l_max=1, cutoff=4.5, radial_hidden=[16])
    options = TrainOptions(epochs=60, batch_structures=4, learning_rate=0.02)
    for seed in range(2):
        train(options, model, frames, [], folder / "models" / "nio" / f"member_{seed}", seed)
    return folder


@pytest.fixture(scope="module")
def outputs(place):
    """Command -> what it printed; searches and runs are shortened."""
    short = [re.sub(r"--steps \d+", "--steps 30", line) for line in COMMANDS]
    done = {line: in_this_process(place, *shlex.split(run)) for line, run in zip(COMMANDS, short, strict=True)}
    failed = {line: result.stderr for line, result in done.items() if result.returncode}
    assert not failed
    return {line: result.stdout for line, result in done.items()}


def only(outputs, part):
    (found,) = [text for line, text in outputs.items() if part in line]
    return found


def test_the_committee_is_calibrated(outputs, place):
    assert "spread to error: energy x" in only(outputs, "--calibrate")
    assert "calibrated" in only(outputs, "--plots")
    assert "## Spread of the committee" in (place / "test.md").read_text()
    assert {path.name for path in (place / "test_plots").iterdir()} == {"parity.png", "reliability.png"}


def test_the_ranking_of_the_model_is_that_of_its_labels(outputs, place):
    frames = ase.io.read(place / "ranked.extxyz", ":")
    wanted = rank_orderings(ordered_atoms(CELL), engine(), RelaxSettings())
    assert all(f.info["converged"] for f in frames)
    assert (
        [f.info["ordering"] for f in frames[:2]] == [row["ordering"] for row in wanted[:2]] == ["AFM-II", "FiM[+-++]"]
    )
    above = {f.info["ordering"]: f.info["above"] for f in frames}
    for row in wanted:
        assert above[row["ordering"]] == pytest.approx(row["above"], abs=7)  # meV/atom, of 16 to 35
    assert "AFM-II" in only(outputs, "--relax")
    assert (place / "ranked.png").exists()
    assert (place / "ranked.extxyz.finished.jsonl").exists()


def test_exchange_constants_are_near_those_of_the_engine(outputs):
    content = json.loads(only(outputs, "exchange"))
    j1, j2 = (shell["J_meV"] for shell in content["shells"])
    exact = 1e3 * exchange_constants(ordered_atoms(CELL), engine()).fit.constants
    assert [j1, j2] == pytest.approx(exact.tolist(), abs=2)  # meV; J2 is -14
    assert content["convention"].startswith("E = E0 - sum over pairs i<j of J_ij e_i.e_j")


def test_searches_and_dynamics_say_what_they_did(outputs, place):
    assert re.search(r"found by \d of 4 restarts", only(outputs, "ground-state"))
    assert "AFM-III" not in only(outputs, "ground-state")  # does not fit this cell
    assert "30 steps, 30 fs; 4 frames in md.extxyz" in only(outputs, "md nio.cif")
    assert len(ase.io.read(place / "md.extxyz", ":")) == 4


def test_the_python_runs(place, outputs, monkeypatch, capsys):
    monkeypatch.chdir(place)
    (code,) = PYTHON
    exec(code, {})  # our own page
    assert len(capsys.readouterr().out.splitlines()) >= 3
    assert ase.io.read(place / "short.extxyz", "-1").info["step"] == 20


def test_numbers_of_the_page():
    from spinmultinet.heisenberg import exchange_shells, mean_field_temperature

    atoms = bulk("NiO", "rocksalt", a=4.17, cubic=True).repeat(2)
    sites = [k for k, s in enumerate(atoms.get_chemical_symbols()) if s == "Ni"]
    found = mean_field_temperature(exchange_shells(atoms, sites, 2), [0.00137, -0.01901])
    assert f"give {found:.0f} K in it" in PAGE.replace("\n", " ")
